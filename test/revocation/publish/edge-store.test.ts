import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { EdgeStore } from '../../../edge-functions/store/edge-store.ts';
import { type KeyValueStore, STORE_LIMITS, StoreError } from '../../../edge-functions/store/key-value-store.ts';
import { AwsKeyValueStore } from '../../../edge-functions/store/key-value-store-aws.ts';
import type { LocalDynamoDb } from '../../../local/dynamodb.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES } from '../../../revocation/list/dynamodb.ts';
import type { RevocationEntry, RevocationKey, RevocationList } from '../../../revocation/list/revocation-list.ts';
import { edgePublisher } from '../../../revocation/publish/edge-store.ts';
import { keepPublished } from '../../../revocation/publish/publication.ts';
import { openDatabase } from '../../harness/database.ts';
import { KeyValueStoreService, STORE_ARN } from '../../harness/key-value-store-service.ts';
import { NOW } from '../../harness/minting.ts';

let database: LocalDynamoDb;
let list: RevocationList;
beforeAll(async () => {
  database = await openDatabase(REVOCATION_TABLES);
  list = dynamoDbRevocationList(database.client);
});
afterAll(() => database.close());

/** Tests share a list: each begins long after all entries of the one before have expired or were taken back. */
let now = NOW;
beforeEach(() => {
  now += 10_000;
});

const ignore = () => undefined;
const key = (id: string, kind: RevocationKey['kind'] = 'session'): RevocationKey => ({ kind, id });
const add = (id: string, more: Partial<RevocationEntry> = {}) => {
  const times = { revokedAt: now, expiresAt: now + 1000 };
  return list.add({ kind: 'session', id, source: 'manual', reasons: [], by: 'tester', ...times, ...more });
};
const revokedAt = async (store: KeyValueStore) =>
  [...(await store.list()).entries.keys()].filter((name) => /^[ra]\/|^before$/.test(name)).sort();

/** A publisher in a process of its own, on the store that `service` keeps. */
function open(service = new KeyValueStoreService()) {
  const keyValueStore = new AwsKeyValueStore(service.client, STORE_ARN);
  const edge = new EdgeStore(keyValueStore);
  return { service, keyValueStore, edge, publisher: edgePublisher(list, edge, () => now) };
}

const throttled = () => Object.assign(new Error('slow down'), { name: 'ThrottlingException', $fault: 'client' });

test('what the list says of a session, an asset and the cut-off goes out with one call, and again when taken back', async () => {
  const { service, keyValueStore, publisher } = open();
  await publisher.reconcile();
  await add('OneSession01');
  await add('aurora', { kind: 'asset' });
  await add('all', { kind: 'sessions-before', before: now - 10 });
  await add('viewer-7', { kind: 'subject' });
  const changed = [
    key('OneSession01'),
    key('aurora', 'asset'),
    key('all', 'sessions-before'),
    key('viewer-7', 'subject'),
  ];
  service.calls.length = 0;
  expect(await publisher.publish(changed)).toEqual({ published: 3, omitted: [] });
  expect(service.calls).toEqual(['Update']);
  expect(await revokedAt(keyValueStore)).toEqual(['a/aurora', 'before', 'r/OneSession01']);
  for (const { kind, id } of changed) await list.remove(kind, id, 'tester', now);
  expect(await publisher.publish(changed)).toEqual({ published: 0, omitted: [] });
  expect(await revokedAt(keyValueStore)).toEqual([]);
});

test('a process that dies between list and publication loses nothing: the next reconciliation makes up for it', async () => {
  const { service } = open();
  await add('NotPublished');
  const { publisher, keyValueStore } = open(service);
  expect(await publisher.reconcile()).toEqual({ published: 1, omitted: [] });
  expect(await revokedAt(keyValueStore)).toEqual(['r/NotPublished']);
  await list.remove('session', 'NotPublished', 'tester', now);
  expect(await open(service).publisher.reconcile()).toEqual({ published: 0, omitted: [] });
  expect(await revokedAt(keyValueStore)).toEqual([]);
});

test('an empty list clears what is revoked, and neither keys nor the blocks of operators', async () => {
  const { service, edge, keyValueStore, publisher } = open();
  await edge.replaceKeys(async () => ({ k1: { sign: 's', bind: 'b' } }));
  await edge.blockAsset('aurora', [{ countries: ['GB'] }]);
  await add('WillExpire01');
  await add('aurora', { kind: 'asset' });
  await add('all', { kind: 'sessions-before', before: now });
  expect(await publisher.reconcile()).toEqual({ published: 3, omitted: [] });
  now += 1000;
  expect(await publisher.reconcile()).toEqual({ published: 0, omitted: [] });
  expect(Object.fromEntries((await keyValueStore.list()).entries)).toEqual({
    'k/k1': '{"sign":"s","bind":"b","before":0,"blocks":true}',
    'a/aurora': '[{"countries":["GB"]}]',
  });
  service.calls.length = 0;
  await publisher.reconcile();
  expect(service.calls).toEqual([]);
});

test('changes that come while an update is in flight go out together in the next', async () => {
  const { service, keyValueStore, publisher } = open();
  const ids = Array.from({ length: 30 }, (_, i) => `Together${String(i).padStart(4, '0')}`);
  await publisher.reconcile();
  for (const id of ids) await add(id);
  service.calls.length = 0;
  await Promise.all(ids.map((id) => publisher.publish([key(id)])));
  expect(service.calls.length).toBeLessThanOrEqual(2);
  expect(await revokedAt(keyValueStore)).toHaveLength(30);
});

test('a change that comes while a reconciliation has read the list already is not lost', async () => {
  const { edge, keyValueStore } = open();
  let publishing: Promise<unknown> | undefined;
  const late: RevocationList = {
    ...list,
    async active(time) {
      const entries = await list.active(time);
      await add('JustLate0001');
      publishing ??= publisher.publish([key('JustLate0001')]);
      return entries;
    },
  };
  const publisher = edgePublisher(late, edge, () => now);
  await publisher.reconcile();
  await publishing;
  expect(await revokedAt(keyValueStore)).toEqual(['r/JustLate0001']);
});

describe('a store that fails', () => {
  test('for a moment: it is tried again until it takes the change', async () => {
    const { service, keyValueStore, publisher } = open();
    await publisher.reconcile();
    let failures = 2;
    service.before = (call) => {
      if (call === 'Update' && failures-- > 0) throw throttled();
    };
    await add('Throttled001');
    expect(await publisher.publish([key('Throttled001')])).toEqual({ published: 1, omitted: [] });
    expect(service.calls.filter((call) => call === 'List')).toHaveLength(1);
    expect(await revokedAt(keyValueStore)).toEqual(['r/Throttled001']);
  });

  test('for longer: that is said, and the change goes out with the next one', async () => {
    const { service, keyValueStore, publisher } = open();
    await publisher.reconcile();
    service.before = () => {
      throw throttled();
    };
    await add('NotTaken0001');
    await expect(publisher.publish([key('NotTaken0001')])).rejects.toMatchObject({ code: 'ERR_STORE_THROTTLED' });
    service.before = () => undefined;
    await add('NotTaken0002');
    await publisher.publish([key('NotTaken0002')]);
    expect(await revokedAt(keyValueStore)).toEqual(['r/NotTaken0001', 'r/NotTaken0002']);
  });

  test('after it took the change: nothing is done twice, and what another writer did stays', async () => {
    const { service, keyValueStore } = open();
    let isLost = true;
    const losing: KeyValueStore = {
      list: () => keyValueStore.list(),
      etag: () => keyValueStore.etag(),
      async update(change, ifMatch) {
        const etag = await keyValueStore.update(change, ifMatch);
        if (!isLost) return etag;
        isLost = false;
        service.put('x/other', '1');
        throw new StoreError('ERR_STORE_UNAVAILABLE', 'no reply');
      },
    };
    const publisher = edgePublisher(list, new EdgeStore(losing), () => now);
    await add('ReplyLost001');
    expect(await publisher.publish([key('ReplyLost001')])).toEqual({ published: 1, omitted: [] });
    expect([...(await keyValueStore.list()).entries.keys()].sort()).toEqual(['r/ReplyLost001', 'x/other']);
  });

  test('because another writer is faster: the list is read again, as that one may have changed it', async () => {
    const { service, keyValueStore, publisher } = open();
    await publisher.reconcile();
    await add('Conflicted01');
    let conflicts = 1;
    service.before = (call) => {
      if (call === 'Update' && conflicts-- > 0) service.put('x/other', '1');
    };
    await publisher.publish([key('Conflicted01')]);
    expect(await revokedAt(keyValueStore)).toEqual(['r/Conflicted01']);
  });
});

test('in a full store what people revoked and the latest stay, the rest is told, and expiry gives room', async () => {
  const { service, keyValueStore, publisher } = open();
  // Room for ten sessions beside the reserve, and a byte.
  const room = STORE_LIMITS.totalBytes - 64 * 1024 - 10 * 15 - 1;
  for (let i = 0; i < Math.floor(room / 1000); i++) service.put(`x/${String(i).padStart(6, '0')}`, 'v'.repeat(992));
  service.put('x/r', 'v'.repeat((room % 1000) - 3));
  const auto = (i: number, expiresAt: number) =>
    add(`Automatic${String(i).padStart(3, '0')}`, { source: 'auto', revokedAt: now + i, expiresAt });
  for (let i = 0; i < 9; i++) await auto(i, now + 1000);
  await auto(9, now + 50);
  expect(await publisher.reconcile()).toEqual({ published: 10, omitted: [] });
  await add('ByHand000001');
  const omitted = [key('Automatic000')];
  expect(await publisher.publish([key('ByHand000001')])).toEqual({ published: 10, omitted });
  expect(await revokedAt(keyValueStore)).toContain('r/ByHand000001');
  expect(await revokedAt(keyValueStore)).not.toContain('r/Automatic000');
  now += 50;
  expect(await publisher.reconcile()).toEqual({ published: 10, omitted: [] });
  expect(await revokedAt(keyValueStore)).toContain('r/Automatic000');
});

describe('publication', () => {
  test('reports a failure, tries again by itself, and closes', async () => {
    const { service, keyValueStore, publisher } = open();
    const lines: string[] = [];
    const publication = keepPublished([{ name: 'edge store', publisher }], (line) => lines.push(line), ignore);
    await publisher.reconcile();
    service.before = () => {
      throw throttled();
    };
    await add('TriedAgain01');
    await expect(publication.publish([key('TriedAgain01')])).rejects.toMatchObject({ code: 'ERR_STORE_THROTTLED' });
    expect(lines).toEqual([
      expect.stringMatching(/^revocations were not published to the edge store, and will be again/),
    ]);
    service.before = () => undefined;
    await expect.poll(() => revokedAt(keyValueStore), { timeout: 20_000 }).toEqual(['r/TriedAgain01']);
    await publication.close();
  });

  test('reconciles every minute, however often something is published meanwhile, and sooner after a failure', async () => {
    vi.useFakeTimers();
    let reconciliations = 0;
    let fails = false;
    const report = { published: 0, omitted: [] };
    const target = {
      publish: async () => (fails ? Promise.reject(new Error('full')) : report),
      reconcile: async () => {
        reconciliations++;
        return fails ? Promise.reject(new Error('full')) : report;
      },
    };
    const publication = keepPublished([{ name: 'target', publisher: target }], ignore, ignore);
    for (let i = 0; i < 18; i++) {
      await publication.publish([]);
      await vi.advanceTimersByTimeAsync(10_000);
    }
    expect(reconciliations).toBe(3);
    fails = true;
    await expect(publication.publish([])).rejects.toThrow('full');
    // After 1, 2, 4, 8 and 16 seconds.
    await vi.advanceTimersByTimeAsync(31_000);
    expect(reconciliations).toBe(8);
    fails = false;
    await vi.advanceTimersByTimeAsync(32_000);
    expect(reconciliations).toBe(9);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(reconciliations).toBe(10);
    await publication.close();
    await vi.advanceTimersByTimeAsync(600_000);
    expect(reconciliations).toBe(10);
    vi.useRealTimers();
  });

  test('waits for the first target alone, and says what has no room', async () => {
    const { keyValueStore, publisher } = open();
    const omitted = Array.from({ length: 7 }, (_, i) => key(`Left${i}`));
    const slow = {
      publish: () => new Promise<never>(() => undefined),
      reconcile: async () => ({ published: 0, omitted }),
    };
    const full = { publish: async () => ({ published: 3, omitted }), reconcile: slow.reconcile };
    const lines: string[] = [];
    const targets = [
      { name: 'edge store', publisher },
      { name: 'slow one', publisher: slow },
      { name: 'full one', publisher: full },
    ] as const;
    const counted: [string, number][] = [];
    const publication = keepPublished(
      [...targets],
      (line) => lines.push(line),
      (...count) => counted.push(count),
    );
    await add('NotWaiting01');
    await publication.publish([key('NotWaiting01')]);
    await publication.publish([key('NotWaiting01')]);
    expect(await revokedAt(keyValueStore)).toEqual(['r/NotWaiting01']);
    await expect.poll(() => lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      /^the full one has no room for 7 revocations, among them session Left0, .*session Left4, …$/,
    );
    // Said once, counted each time: what is counted only once is no alarm for as long as it lasts.
    expect(counted).toEqual([
      ['full one', 7],
      ['full one', 7],
    ]);
    await publication.close();
  });
});
