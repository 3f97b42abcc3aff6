import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { request } from 'undici';
import { STACK_FILE } from '../local/data-directory.ts';
import { SESSION_ID } from '../token/index.ts';
import { alignColumns, EXIT_NO, formatTime, InputError, print, readJson } from './command.ts';
import { DEFAULT_DATA } from './up.ts';

interface StackAccess {
  data: string;
  api?: string;
  tokenFile?: string;
  json?: boolean;
}

interface LiveSession {
  sessionId: string;
  asset: string;
  subject?: string;
  startedAt: number;
  lastSeenAt: number;
  expiresAt: number;
  revoked: boolean;
}

interface ApiAnswer {
  status: number;
  body: Record<string, unknown>;
}

export function registerSession(program: Command): void {
  const session = program
    .command('session')
    .description('list, revoke and restore playback sessions of a running stack');
  const add = (name: string, description: string, example: string) =>
    session
      .command(name)
      .description(description)
      .option('--data <dir>', 'data directory of the stack', DEFAULT_DATA)
      .option('--api <url>', 'URL of the API, instead of that of the stack on --data')
      .option('--token-file <file>', 'bearer tokens by role, instead of those of the stack on --data')
      .option('--json', 'print JSON')
      .addHelpText('after', `\nExample:\n  ${example}`);

  add('list', 'list the live sessions', 'portcullis session list').action(async (options: StackAccess) => {
    const { body } = await call(options, 'GET', '/v1/sessions');
    const sessions = body.sessions as LiveSession[];
    const rows = sessions.map(({ sessionId, asset, subject = '-', startedAt, lastSeenAt, expiresAt, revoked }) => [
      ...[sessionId, asset, subject, formatTime(startedAt), formatTime(lastSeenAt), formatTime(expiresAt)],
      revoked ? 'revoked' : 'live',
    ]);
    const header = ['session', 'asset', 'subject', 'started', 'last seen', 'expires', 'state'];
    print(options.json, body, rows.length > 0 ? alignColumns([header, ...rows]) : ['no live sessions']);
  });

  add(
    'revoke',
    'deny every further request of a session',
    'portcullis session revoke AbCdEf123456 --reason "shared link"',
  )
    .argument('<session-id>')
    .option('--reason <text>', 'why, for those who read the list', '')
    .action(async (id: string, options: StackAccess & { reason: string }) => {
      const { status, body } = await call(options, 'POST', revocationPath(id), { reason: options.reason });
      print(options.json, body, [status === 201 ? `revoked ${id}` : `${id} was already revoked`]);
    });

  add('restore', 'take a revocation back; exit 1 when there is none', 'portcullis session restore AbCdEf123456')
    .argument('<session-id>')
    .action(async (id: string, options: StackAccess) => {
      const { status } = await call(options, 'DELETE', revocationPath(id));
      const restored = status === 204;
      print(options.json, { sessionId: id, restored }, [restored ? `restored ${id}` : `${id} is not revoked`]);
      if (!restored) process.exitCode = EXIT_NO;
    });
}

function revocationPath(id: string): string {
  if (!SESSION_ID.test(id)) throw new InputError('a session id is 12–64 letters and digits');
  return `/v1/sessions/${id}/revocation`;
}

/** Where the API is and the bearer token for it: as told, or as the running stack wrote down. */
async function access(options: StackAccess): Promise<{ api: string; bearer: string }> {
  const stackFile = join(options.data, STACK_FILE);
  let { api, tokenFile } = options;
  if (!api || !tokenFile) {
    if (!existsSync(stackFile)) {
      throw new InputError(
        `no stack is running on ${options.data}; start one with npm run up, or give --api and --token-file`,
      );
    }
    const stack = (await readJson(stackFile)) as { api: string; tokenFile: string };
    api ??= stack.api;
    tokenFile ??= stack.tokenFile;
  }
  const { security } = (await readJson(tokenFile)) as { security?: string };
  if (typeof security !== 'string') throw new InputError(`${tokenFile} holds no token for the role security`);
  return { api, bearer: security };
}

/**
 * Calls the API. Only an answer that it gives by its own contract counts: success, or that there is nothing to restore.
 * Anything else is an error; something that is no API answers 404 to everything.
 */
async function call(
  options: StackAccess,
  method: 'GET' | 'POST' | 'DELETE',
  path: string,
  body?: unknown,
): Promise<ApiAnswer> {
  const { api, bearer } = await access(options);
  const headers: Record<string, string> = { authorization: `Bearer ${bearer}` };
  if (body !== undefined) headers['content-type'] = 'application/json';
  const { statusCode: status, body: stream } = await request(new URL(path, api), {
    method,
    headers,
    body: body === undefined ? null : JSON.stringify(body),
    headersTimeout: 10_000,
  }).catch((error: NodeJS.ErrnoException) => {
    throw new InputError(`no API answers at ${api} (${error.code}); is the stack up?`);
  });
  const text = await stream.text();
  let answer: Record<string, unknown>;
  try {
    answer = text === '' ? {} : JSON.parse(text);
  } catch {
    throw new InputError(`what answers at ${api} is not the API of Portcullis (${status})`);
  }
  if (status === 200 || status === 201 || status === 204 || answer.code === 'ERR_NOT_REVOKED')
    return { status, body: answer };
  throw new InputError(`the API at ${api} refused: ${String(answer.detail ?? status)}`);
}
