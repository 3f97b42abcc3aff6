import { rm } from 'node:fs/promises';
import http from 'node:http';
import { relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import {
  CreateTableCommand,
  type CreateTableCommandInput,
  DescribeTableCommand,
  DynamoDBClient,
  ResourceInUseException,
  type TableDescription,
} from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import dynalite from 'dynalite';
import { Level } from 'level';
import type { DataDirectory } from './data-directory.ts';
import { StackError } from './errors.ts';

/** DynamoDB on this machine, and how to end it. */
export interface LocalDynamoDb {
  client: DynamoDBDocumentClient;
  close(): Promise<void>;
}

/** Longest path of a Unix domain socket (unix(7)), in bytes. */
const SOCKET_PATH_BYTES = 107;

/** For how long nobody must have asked anything, and how long that may take at most, in milliseconds. */
const IDLE_MS = 50;
const PATIENCE_MS = 5000;

/**
 * Waits until nobody asks the database any more: requests whose connection was closed still run to their end, and asked
 * after its own, dynalite throws where nobody can catch it.
 */
async function idle(agent: http.Agent): Promise<void> {
  const end = Date.now() + PATIENCE_MS;
  let since = Date.now();
  while (Date.now() - since < IDLE_MS && Date.now() < end) {
    await sleep(5);
    if (Object.keys(agent.sockets).length > 0) since = Date.now();
  }
}

/** Opens the database once by itself: dynalite throws where nobody can catch it when it is damaged. */
async function checkDatabase(path: string): Promise<void> {
  const database = new Level(path, { valueEncoding: 'json' });
  try {
    await database.open();
  } catch (error) {
    const { cause } = error as { cause?: { message?: string } };
    const message = `cannot open the database in ${path}: ${cause?.message ?? error}; repair it or move it away`;
    throw new StackError('ERR_STACK_DATA', message);
  } finally {
    await database.close();
  }
}

/**
 * Starts dynalite in a data directory and creates the tables that are missing. It listens on a socket in a folder that
 * only its owner may enter: it checks no credentials, and whoever reaches it could lift a revocation.
 */
export async function startDynamoDb(data: DataDirectory, tables: CreateTableCommandInput[]): Promise<LocalDynamoDb> {
  const path = data.path('dynamodb');
  await checkDatabase(path);
  const absolute = data.path('dynamodb.sock');
  const socketPath = Buffer.byteLength(absolute) > SOCKET_PATH_BYTES ? relative(process.cwd(), absolute) : absolute;
  // Left behind by a stack that was killed; the directory is locked, so nobody else listens there.
  await rm(socketPath, { force: true });
  const server = dynalite({ path, createTableMs: 0 });
  // The SDK tells everyone on Node 20 that releases of 2027 will not run there; ours is pinned to one that does.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  const agent = new http.Agent({ socketPath, keepAlive: true } as http.AgentOptions);
  const client = new DynamoDBClient({
    endpoint: 'http://localhost',
    region: 'local',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    requestHandler: { httpAgent: agent },
  });
  const close = async () => {
    await idle(agent);
    client.destroy();
    agent.destroy();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  };
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(socketPath, resolve);
    });
    for (const table of tables) await createTable(client, table, path);
  } catch (error) {
    await close();
    throw error;
  }
  const marshallOptions = { removeUndefinedValues: true };
  return { client: DynamoDBDocumentClient.from(client, { marshallOptions }), close };
}

/** How long a table may take until it can be used, in milliseconds. */
const TABLE_READY_MS = 10_000;

/** Creates a table unless it is there, and waits until it can be used. */
async function createTable(client: DynamoDBClient, table: CreateTableCommandInput, path: string): Promise<void> {
  const { TableName } = table;
  await client.send(new CreateTableCommand(table)).catch((error: Error) => {
    if (!(error instanceof ResourceInUseException)) throw error;
  });
  for (const deadline = Date.now() + TABLE_READY_MS; ; await sleep(5)) {
    const { Table } = await client.send(new DescribeTableCommand({ TableName }));
    if (!isDeepStrictEqual(keysOf(Table), keysOf(table))) {
      // Not replaced: a revocation must not be lifted by a newer version.
      const message = `${TableName} in ${path} was made by another version; move the folder away to start afresh`;
      throw new StackError('ERR_STACK_DATA', message);
    }
    if (Table?.TableStatus === 'ACTIVE') return;
    if (Date.now() > deadline) {
      const message = `${TableName} in ${path} does not become ready; move the folder away to start afresh`;
      throw new StackError('ERR_STACK_DATA', message);
    }
  }
}

/** The keys of a table and its indexes, in an order of their own. */
function keysOf(table: TableDescription | CreateTableCommandInput | undefined): string[] {
  const indexes = table?.GlobalSecondaryIndexes ?? [];
  return [table, ...indexes].flatMap((keyed) => (keyed?.KeySchema ?? []).map((key) => JSON.stringify(key))).sort();
}
