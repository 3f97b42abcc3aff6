import { openDataDirectory } from '../../local/data-directory.ts';
import { type LocalDynamoDb, startDynamoDb } from '../../local/dynamodb.ts';

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
