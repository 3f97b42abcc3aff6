import type { Hono } from 'hono';
import { handle, type LambdaContext, type LambdaEvent } from 'hono/aws-lambda';
import { readSettings } from '../settings.ts';
import { openApi } from './open-api.ts';
import { originSecrets, secretClient } from './secrets-manager.ts';
import { ApiHandlerSettings } from './settings.ts';

const settings = readSettings(ApiHandlerSettings);
const report = (line: string) => console.error(line);
const secrets = originSecrets(
  secretClient(settings.originSecret),
  settings.originSecret,
  () => Date.now() / 1000,
  report,
);
let api: Promise<Hono> | undefined;

/** The API behind an HTTP API of API Gateway (payload format 2.0). */
export async function handler(event: Extract<LambdaEvent, { rawPath: string }>, context: LambdaContext) {
  // Not while the module loads: a ring that is not there yet may be at the next request.
  api ??= openApi(settings, secrets.current, report).catch((error) => {
    api = undefined;
    throw error;
  });
  const [app] = await Promise.all([api, secrets.ready()]);
  return handle(app)({ ...event, rawPath: encoded(event.rawPath) }, context);
}

/**
 * The path as it was before the gateway undid its escapes, of which it cuts what follows a `?` and passes no `%2F` on: seen by
 * users (https://github.com/middleapi/standard-server/pull/93), not documented. Else an id `x%41` would be taken for `xA`.
 */
function encoded(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}
