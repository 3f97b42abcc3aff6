import type { DynamoDBDocumentClient, GetCommand } from '@aws-sdk/lib-dynamodb';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { LocalDynamoDb } from '../../local/dynamodb.ts';
import { sendInBatches } from '../../revocation/batches.ts';
import { dynamoDbLedger, LOG_OBJECTS_TABLE } from '../../revocation/detect/dynamodb.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES } from '../../revocation/list/dynamodb.ts';
import { openDatabase } from '../harness/database.ts';
import { NOW } from '../harness/minting.ts';

let database: LocalDynamoDb;
beforeAll(async () => {
  database = await openDatabase([LOG_OBJECTS_TABLE, ...REVOCATION_TABLES]);
});
afterAll(() => database.close());

/** No waiting: what is random about a wait is none of it. */
const withoutWaits = async <Result>(work: () => Promise<Result>) => {
  vi.spyOn(Math, 'random').mockReturnValue(0);
  return work().finally(() => vi.restoreAllMocks());
};

describe('what a batch left unprocessed', () => {
  test('is sent again, the rest is not', async () => {
    const sent: number[][] = [];
    await withoutWaits(() =>
      sendInBatches([1, 2, 3, 4, 5], 3, async (batch) => {
        sent.push(batch);
        return sent.length % 2 === 1 ? batch.slice(1) : [];
      }),
    );
    expect(sent).toEqual([[1, 2, 3], [2, 3], [4, 5], [5]]);
  });

  test('is given up after a while', async () => {
    let calls = 0;
    const send = async (batch: number[]) => {
      calls++;
      return batch;
    };
    const given = withoutWaits(() => sendInBatches([1, 2], 1, send));
    await expect(given).rejects.toThrow(expect.objectContaining({ code: 'ERR_DATABASE_THROTTLED' }));
    expect(calls).toBe(12);
  });

  /** The same database, which leaves all but the first of every batch unprocessed. */
  function reluctant(): DynamoDBDocumentClient {
    const send = async (command: { input: { RequestItems?: Record<string, unknown> } }) => {
      const { RequestItems } = command.input;
      if (!RequestItems) return database.client.send(command as unknown as GetCommand);
      const [[table, request] = ['', []]] = Object.entries(RequestItems);
      const isRead = !Array.isArray(request);
      const items: unknown[] = isRead ? (request as { Keys: unknown[] }).Keys : request;
      const part = (some: unknown[]) => ({ [table]: isRead ? { ...(request as object), Keys: some } : some });
      const rest = items.length > 1 ? part(items.slice(1)) : {};
      const kind = command.constructor as new (input: object) => GetCommand;
      const answer = await database.client.send(new kind({ RequestItems: part(items.slice(0, 1)) }));
      return { ...answer, [isRead ? 'UnprocessedKeys' : 'UnprocessedItems']: rest };
    };
    return Object.assign(Object.create(database.client), { send });
  }

  test('is written into the ledger and read from it in the end, and from the list', async () => {
    const objects = Array.from({ length: 9 }, (_, i) => ({ name: `o${i}`, version: '1', bytes: 1, hour: NOW }));
    const ledger = dynamoDbLedger(reluctant());
    await withoutWaits(() => ledger.commit(objects, NOW));
    expect(await dynamoDbLedger(database.client).unseen(objects)).toEqual([]);
    expect(await withoutWaits(() => ledger.unseen(objects))).toEqual([]);

    const ids = objects.map(({ name }) => `Reluctant${name}1`);
    const list = dynamoDbRevocationList(database.client);
    const entry = { kind: 'session', source: 'manual', reasons: [], by: 'operator-1', revokedAt: NOW } as const;
    for (const id of ids) await list.add({ ...entry, reasons: [], id, expiresAt: NOW + 100 });
    const seen = await withoutWaits(() => dynamoDbRevocationList(reluctant()).revoked('session', ids, NOW));
    expect(seen).toEqual(new Set(ids));
  });
});
