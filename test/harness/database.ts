import { createMiddleware } from 'hono/factory';
import { openDataDirectory } from '../../local/data-directory.ts';
import { type LocalDynamoDb, startDynamoDb } from '../../local/dynamodb.ts';
import type { CallerEnv } from '../../token-api/http/authorize.ts';

/** A DynamoDB for one test file; `close` ends it, and may be called twice. */
export async function openDatabase(tables: Parameters<typeof startDynamoDb>[1]): Promise<LocalDynamoDb> {
  const data = await openDataDirectory(undefined);
  const database = await startDynamoDb(data, tables);
  let closed: Promise<void> | undefined;
  const end = async () => {
    await database.close();
    await data.close();
  };
  return { client: database.client, close: () => (closed ??= end()) };
}

/** Stands where a bearer token is checked: the caller is who two headers say. */
export const callerFromHeaders = createMiddleware<CallerEnv>(async (c, next) => {
  const roles = (c.req.header('test-roles') ?? 'player').split(',');
  c.set('caller', { subject: c.req.header('test-subject') ?? 'viewer', roles });
  await next();
});
