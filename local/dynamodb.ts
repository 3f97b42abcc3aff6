import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateTableCommand,
  type CreateTableCommandInput,
  DynamoDBClient,
  ResourceInUseException,
} from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import dynalite from 'dynalite';

/** DynamoDB on this machine, and how to end it. */
export interface LocalDynamoDb {
  client: DynamoDBDocumentClient;
  close(): Promise<void>;
}

/**
 * Starts dynalite on the files in `path` and creates the tables that are missing. It listens on a socket in a folder
 * that only this user may enter: it checks no credentials, and whoever reaches it could lift a revocation.
 */
export async function startDynamoDb(path: string, tables: CreateTableCommandInput[]): Promise<LocalDynamoDb> {
  const socketDirectory = await mkdtemp(join(tmpdir(), 'portcullis-db-'));
  const socketPath = join(socketDirectory, 'dynamodb.sock');
  const server = dynalite({ path, createTableMs: 0 });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(socketPath, resolve);
  });
  // The SDK tells everyone on Node 20 that releases of 2027 will not run there; ours is pinned to one that does.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  const agent = new http.Agent({ socketPath, keepAlive: true } as http.AgentOptions);
  const client = new DynamoDBClient({
    endpoint: 'http://localhost',
    region: 'local',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    requestHandler: { httpAgent: agent },
  });
  for (const table of tables) {
    try {
      await client.send(new CreateTableCommand(table));
    } catch (error) {
      if (!(error instanceof ResourceInUseException)) throw error;
    }
  }
  return {
    client: DynamoDBDocumentClient.from(client, { marshallOptions: { removeUndefinedValues: true } }),
    async close() {
      client.destroy();
      agent.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await rm(socketDirectory, { recursive: true, force: true });
    },
  };
}
