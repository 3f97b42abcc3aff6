import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VENDING_TABLES } from '../../api/vending.ts';
import { openDataDirectory } from '../../local/data-directory.ts';
import { type LocalDynamoDb, startDynamoDb } from '../../local/dynamodb.ts';
import { dynamoDbAssets } from '../../token-api/assets/dynamodb.ts';
import { dynamoDbConcurrencyLimit } from '../../token-api/concurrency/dynamodb.ts';
import { ANSWERS_TABLE, dynamoDbAnswers } from '../../token-api/idempotency/dynamodb.ts';
import type { Page, PageRequest } from '../../token-api/pages/page.ts';
import { dynamoDbPolicies } from '../../token-api/policies/dynamodb.ts';
import { dynamoDbRequestCounts, REQUEST_COUNTS_TABLE } from '../../token-api/rate-limits/dynamodb.ts';
import { dynamoDbSessions } from '../../token-api/sessions/dynamodb.ts';
import { openDatabase } from '../harness/database.ts';
import { NOW } from '../harness/minting.ts';

let database: LocalDynamoDb;
beforeAll(async () => {
  database = await openDatabase([...VENDING_TABLES, REQUEST_COUNTS_TABLE, ANSWERS_TABLE]);
});
afterAll(() => database.close());

const ALL: PageRequest = { limit: 1000 };

test('a table that another version made is refused, and left as it is', async () => {
  const data = await openDataDirectory(undefined);
  const table = {
    TableName: 'portcullis-test',
    BillingMode: 'PAY_PER_REQUEST' as const,
    AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' as const }],
    KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' as const }],
  };
  await (await startDynamoDb(data, [table])).close();
  await (await startDynamoDb(data, [table])).close();
  const other = {
    ...table,
    AttributeDefinitions: [{ AttributeName: 'key', AttributeType: 'S' as const }],
    KeySchema: [{ AttributeName: 'key', KeyType: 'HASH' as const }],
  };
  await expect(startDynamoDb(data, [other])).rejects.toThrow(
    expect.objectContaining({ code: 'ERR_STACK_DATA', message: expect.stringMatching(/move the folder away/) }),
  );
  await (await startDynamoDb(data, [table])).close();
  await data.close();
});

/** All of a list, read in pages of `limit`. */
async function pages<Item>(page: (request: PageRequest) => Promise<Page<Item>>, limit: number): Promise<Item[][]> {
  const all: Item[][] = [];
  let cursor: string | undefined;
  do {
    const { items, next } = await page({ limit, cursor });
    all.push(items);
    cursor = next;
  } while (cursor !== undefined);
  return all;
}

describe('AssetCatalogue', () => {
  const asset = { id: 'b', title: 'B', path: '/b/master.m3u8', policy: 'vod-2h' };

  test('keeps assets, replaces them, removes them, and says whether they were there', async () => {
    const assets = dynamoDbAssets(database.client);
    expect(await assets.put(asset)).toBe(true);
    expect(await assets.put({ ...asset, id: 'a', policy: 'live' })).toBe(true);
    expect(await assets.put({ ...asset, title: 'Second' })).toBe(false);
    expect(await assets.get('b')).toEqual({ ...asset, title: 'Second' });
    expect(await assets.get('none')).toBeUndefined();
    expect((await assets.page({ limit: 100 })).items.map(({ id }) => id)).toEqual(['a', 'b']);
    expect([await assets.remove('b'), await assets.remove('b')]).toEqual([true, false]);
    expect([await assets.remove('a'), await assets.get('a')]).toEqual([true, undefined]);
  });

  test('finds those that refer to a policy, as many as asked for', async () => {
    const assets = dynamoDbAssets(database.client);
    for (const id of ['p1', 'p2', 'p3']) await assets.put({ ...asset, id, policy: 'shared' });
    await assets.put({ ...asset, id: 'p4', policy: 'other' });
    await assets.put({ ...asset, id: 'p3', policy: 'other' });
    expect(await assets.withPolicy('shared', 10)).toEqual(['p1', 'p2']);
    expect(await assets.withPolicy('other', 1)).toHaveLength(1);
    expect(await assets.withPolicy('none', 10)).toEqual([]);
    for (const id of ['p1', 'p2', 'p3', 'p4']) await assets.remove(id);
  });
});

describe('PolicyCatalogue', () => {
  test('keeps policies, replaces them, removes them, and says whether they were there', async () => {
    const policies = dynamoDbPolicies(database.client);
    const policy = { lifetime: 'PT1H', bindings: ['country'] };
    expect(await policies.put({ id: 'a', policy })).toBe(true);
    expect(await policies.put({ id: 'a', policy: { ...policy, lifetime: 'PT2H' } })).toBe(false);
    expect(await policies.get('a')).toEqual({ ...policy, lifetime: 'PT2H' });
    expect((await policies.page({ limit: 10 })).items).toEqual([{ id: 'a', policy: { ...policy, lifetime: 'PT2H' } }]);
    expect([await policies.remove('a'), await policies.remove('a'), await policies.get('a')]).toEqual([
      true,
      false,
      undefined,
    ]);
  });
});

describe('lists in pages', () => {
  const seven = Array.from({ length: 7 }, (_, i) => `page-${i}`);
  // Long before the sessions of other tests, so that none of them is live then.
  const then = NOW - 100_000;
  const session = { asset: 'a', startedAt: then, expiresAt: then + 3600 };
  const lists = [
    {
      name: 'assets',
      async fill() {
        const assets = dynamoDbAssets(database.client);
        for (const id of seven) await assets.put({ id, title: id, path: '/a/x', policy: 'p' });
      },
      page: (request: PageRequest) => dynamoDbAssets(database.client).page(request),
    },
    {
      name: 'policies',
      async fill() {
        const policies = dynamoDbPolicies(database.client);
        for (const id of seven) await policies.put({ id, policy: { lifetime: 'PT1H' } });
      },
      page: (request: PageRequest) => dynamoDbPolicies(database.client).page(request),
    },
    {
      name: 'sessions',
      async fill() {
        const sessions = dynamoDbSessions(database.client);
        for (const [i] of seven.entries()) {
          await sessions.seen({ ...session, sessionId: `PagedSession${i}` }, then + 1000 + (i % 3));
        }
      },
      page: (request: PageRequest) => dynamoDbSessions(database.client).live(then + 1010, request),
    },
  ];

  test.each(lists)('$name: every entry once, whatever the size of a page', async ({ fill, page }) => {
    await fill();
    for (const limit of [1, 2, 3, 7, 8, 1000]) {
      const read = await pages<object>(page, limit);
      expect(read.every((items) => items.length <= limit)).toBe(true);
      const all = read.flat().map((item) => JSON.stringify(item));
      expect([limit, all.length, new Set(all).size]).toEqual([limit, 7, 7]);
    }
    expect((await page({ limit: 1000 })).next).toBeUndefined();
  });

  test.each(lists)('$name: a cursor of another list, or none, is refused', async ({ name, page }) => {
    const encode = (content: unknown) => Buffer.from(JSON.stringify(content)).toString('base64url');
    const foreign: (string | undefined)[] = [];
    for (const list of lists) if (list.name !== name) foreign.push((await list.page({ limit: 1 })).next);
    expect(foreign.every((cursor) => cursor !== undefined)).toBe(true);
    const damaged = ['', 'x', '!', encode(null), encode([name]), encode([name, null]), encode([name, {}]), encode({})];
    const wrong = [encode([name, { id: 7 }]), encode([name, { id: '' }]), encode([name, { id: 'a', b: 'c' }])];
    const shard = (value: unknown) => encode([name, { sessionId: 'AbCdEf012345', lastSeenAt: NOW, shard: value }]);
    // JSON has no infinity, but a number that becomes one.
    const infinite = Buffer.from(`["${name}",{"sessionId":"AbCdEf012345","lastSeenAt":1e999,"shard":0}]`);
    const numbers = [shard(-1), shard(0.5), shard('0'), shard(1e300), infinite.toString('base64url')];
    for (const cursor of [...foreign, ...damaged, ...wrong, ...numbers]) {
      await expect(page({ limit: 10, cursor })).rejects.toThrow(
        expect.objectContaining({ code: 'ERR_CURSOR_INVALID' }),
      );
    }
  });

  test('a cursor of sessions that has become old leads to nothing that is no longer live', async () => {
    const sessions = dynamoDbSessions(database.client);
    const { next } = await sessions.live(then + 1010, { limit: 1 });
    expect((await sessions.live(then + 1100, { limit: 10, cursor: next })).items).toEqual([]);
  });
});

describe('Sessions', () => {
  const session = { sessionId: 'AbCdEf012345', asset: 'a', subject: 's', startedAt: NOW, expiresAt: NOW + 3600 };

  test('a session is live from its first request until a minute after its last, or its expiry', async () => {
    const sessions = dynamoDbSessions(database.client);
    const live = async (now: number) => (await sessions.live(now, ALL)).items.map(({ sessionId }) => sessionId);
    await sessions.record(session, ['k1']);
    expect(await live(NOW)).toEqual([]);
    await sessions.seen(session, NOW + 10);
    expect(await live(NOW + 70)).toEqual(['AbCdEf012345']);
    expect(await live(NOW + 71)).toEqual([]);
    await sessions.seen(session, NOW + 3590);
    expect(await live(NOW + 3599)).toEqual(['AbCdEf012345']);
    expect(await live(NOW + 3600)).toEqual([]);
  });

  test('one is found by its id, whether or not it was seen, and as it was recorded', async () => {
    const sessions = dynamoDbSessions(database.client);
    const known = { ...session, sessionId: 'ById00000000' };
    expect(await sessions.get('ById00000000')).toBeUndefined();
    await sessions.record(known, ['k1']);
    expect(await sessions.get('ById00000000')).toEqual(known);
    await sessions.seen(known, NOW + 10);
    expect(await sessions.get('ById00000000')).toEqual({ ...known, lastSeenAt: NOW + 10 });
  });

  test('a renewal makes its expiry later, a shorter token for another device does not make it earlier', async () => {
    const sessions = dynamoDbSessions(database.client);
    await sessions.record({ ...session, expiresAt: NOW + 7200 }, ['k1']);
    await sessions.record({ ...session, expiresAt: NOW + 3700 }, ['k1']);
    expect((await sessions.live(NOW + 3600, ALL)).items).toEqual([
      { ...session, expiresAt: NOW + 7200, lastSeenAt: NOW + 3590 },
    ]);
  });

  test('one that was minted elsewhere is known once it is seen, and the latest comes first', async () => {
    const sessions = dynamoDbSessions(database.client);
    const foreign = { sessionId: 'Foreign01234', asset: 'a', startedAt: NOW, expiresAt: NOW + 9000 };
    await sessions.seen({ ...session, expiresAt: NOW + 9000 }, NOW + 5000);
    await sessions.seen(foreign, NOW + 5001);
    expect((await sessions.live(NOW + 5001, ALL)).items).toEqual([
      { ...foreign, lastSeenAt: NOW + 5001 },
      { ...session, expiresAt: NOW + 9000, lastSeenAt: NOW + 5000 },
    ]);
  });
});

describe('the sessions of a key', () => {
  const then = NOW - 200_000;
  const session = (sessionId: string) => ({ sessionId, asset: 'a', startedAt: then, expiresAt: then + 600 });
  const found = async (kid: string, now = then) => {
    const all = await dynamoDbSessions(database.client).withKey(kid, now);
    return Object.fromEntries(all.map(({ sessionId, kids }) => [sessionId, kids.toSorted()]));
  };

  test('are those that ever had a token of it: presented, given out, or seen', async () => {
    const sessions = dynamoDbSessions(database.client);
    await sessions.record(session('KeysVended01'), ['first']);
    await sessions.record(session('KeysRenewed1'), ['first']);
    await sessions.record(session('KeysRenewed1'), ['first', 'second']);
    await sessions.record(session('KeysRenewed1'), ['second', 'third']);
    await sessions.seen({ ...session('KeysForeign1'), kid: 'first' }, then + 10);
    await sessions.seen({ ...session('KeysForeign1'), kid: 'second' }, then + 20);
    expect(await found('first')).toEqual({
      KeysVended01: ['first'],
      KeysRenewed1: ['first', 'second', 'third'],
      KeysForeign1: ['first', 'second'],
    });
    expect(Object.keys(await found('third'))).toEqual(['KeysRenewed1']);
    expect(await found('firs')).toEqual({});
    const { items } = await sessions.live(then + 20, ALL);
    expect(items).toContainEqual({ ...session('KeysForeign1'), kid: 'second', lastSeenAt: then + 20 });
  });

  test('keep a key that comes with a token which expires before the latest one', async () => {
    const sessions = dynamoDbSessions(database.client);
    await sessions.record({ ...session('KeysShorter1'), expiresAt: then + 900 }, ['latest']);
    await sessions.record({ ...session('KeysShorter1'), expiresAt: then + 100 }, ['early']);
    await sessions.seen({ ...session('KeysShorter1'), expiresAt: then + 50, kid: 'earlier' }, then + 10);
    const kids = ['earlier', 'early', 'latest'];
    for (const kid of kids) expect(await found(kid, then + 899)).toEqual({ KeysShorter1: kids });
    expect(await found('latest', then + 900)).toEqual({});
  });

  test('are found however many items the table has', async () => {
    const sessions = dynamoDbSessions(database.client);
    // Two pages of a scan: DynamoDB ends one at 1 MB.
    const asset = 'a'.repeat(20_000);
    const ids = Array.from({ length: 60 }, (_, i) => `KeysMany${String(i).padStart(4, '0')}`);
    for (const id of ids) await sessions.record({ ...session(id), asset }, ['many']);
    expect(Object.keys(await found('many')).toSorted()).toEqual(ids);
  });
});

describe('ConcurrencyLimit', () => {
  const revokedIds = new Set<string>();
  const limitOf = (limit: number) =>
    dynamoDbConcurrencyLimit(database.client, limit, async (ids) => new Set(ids.filter((id) => revokedIds.has(id))));
  const ids = Array.from({ length: 30 }, (_, i) => `Concurrent${String(i).padStart(2, '0')}`);

  test('of many who ask at once exactly as many get a place as there are', async () => {
    const limit = limitOf(3);
    const admitted = await Promise.all(ids.map((id) => limit.admit('crowd', id, NOW + 100, NOW)));
    expect(admitted.filter(Boolean)).toHaveLength(3);
    const again = await Promise.all(ids.map((id) => limit.admit('crowd', id, NOW + 200, NOW + 50)));
    expect(again).toEqual(admitted);
  });

  test('a place is free when its latest token has expired', async () => {
    const limit = limitOf(1);
    expect(await limit.admit('one', 'First', NOW + 100, NOW)).toBe(true);
    expect(await limit.admit('one', 'First', NOW + 200, NOW + 50)).toBe(true);
    // A shorter token of the same session does not give the place up.
    expect(await limit.admit('one', 'First', NOW + 150, NOW + 60)).toBe(true);
    expect(await limit.admit('one', 'Second', NOW + 300, NOW + 199)).toBe(false);
    expect(await limit.admit('one', 'Second', NOW + 300, NOW + 200)).toBe(true);
    expect(await limit.admit('one', 'First', NOW + 300, NOW + 200)).toBe(false);
    expect(await limit.admit('other', 'Third', NOW + 300, NOW + 200)).toBe(true);
  });

  test('a revoked session holds no place', async () => {
    const limit = limitOf(1);
    expect(await limit.admit('caught', 'Revoked1', NOW + 100, NOW)).toBe(true);
    expect(await limit.admit('caught', 'Next', NOW + 100, NOW)).toBe(false);
    revokedIds.add('Revoked1');
    expect(await limit.admit('caught', 'Next', NOW + 100, NOW)).toBe(true);
    expect(await limit.admit('caught', 'Third', NOW + 100, NOW)).toBe(false);
  });

  test('0 is no limit', async () => {
    const limit = limitOf(0);
    const admitted = await Promise.all(ids.map((id) => limit.admit('free', id, NOW + 100, NOW)));
    expect(admitted.every(Boolean)).toBe(true);
  });
});

describe('RequestCounts', () => {
  test('numbers the requests of a bucket, also those that come at once', async () => {
    const counts = dynamoDbRequestCounts(database.client);
    const numbers = await Promise.all(Array.from({ length: 25 }, () => counts.add('one', NOW + 60)));
    expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 25 }, (_, i) => i + 1));
    expect(await counts.add('other', NOW + 60)).toBe(1);
  });
});

describe('Answers', () => {
  const entry = (id: string, run: string, expiresAt = NOW + 60) => ({
    id,
    run,
    expiresAt,
    fingerprint: Uint8Array.of(1, 2, 3),
  });
  const sealed = Uint8Array.of(9, 8, 7);

  test('of many that begin at once one gets the id', async () => {
    const answers = dynamoDbAnswers(database.client);
    const runs = Array.from({ length: 25 }, (_, i) => answers.begin(entry('Answer1', `run-${i}`), NOW));
    const held = await Promise.all(runs);
    expect(held.filter((holder) => holder === undefined)).toHaveLength(1);
    expect(new Set(held.map((holder) => holder?.run)).size).toBe(2);
  });

  test('an answer is found until it expires', async () => {
    const answers = dynamoDbAnswers(database.client);
    expect(await answers.begin(entry('Answer2', 'a'), NOW)).toBeUndefined();
    await answers.finish({ ...entry('Answer2', 'a', NOW + 100), sealed });
    expect(await answers.begin(entry('Answer2', 'b'), NOW + 99)).toEqual({
      ...entry('Answer2', 'a', NOW + 100),
      sealed,
    });
    expect(await answers.begin(entry('Answer2', 'b'), NOW + 100)).toBeUndefined();
  });

  test('an id that was given back, or whose run took too long, is free; a late run changes nothing', async () => {
    const answers = dynamoDbAnswers(database.client);
    await answers.begin(entry('Answer3', 'a'), NOW);
    await answers.abandon('Answer3', 'a');
    expect(await answers.begin(entry('Answer3', 'b'), NOW)).toBeUndefined();
    expect(await answers.begin(entry('Answer3', 'c', NOW + 120), NOW + 60)).toBeUndefined();
    await answers.finish({ ...entry('Answer3', 'b', NOW + 999), sealed });
    await answers.abandon('Answer3', 'b');
    expect(await answers.begin(entry('Answer3', 'd'), NOW + 61)).toEqual(entry('Answer3', 'c', NOW + 120));
  });
});
