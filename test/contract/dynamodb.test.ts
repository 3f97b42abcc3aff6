import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openDataDirectory } from '../../local/data-directory.ts';
import { type LocalDynamoDb, startDynamoDb } from '../../local/dynamodb.ts';
import { dynamoDbRevocationList, REVOCATIONS_TABLE } from '../../revocation/list/dynamodb.ts';
import { ASSETS_TABLE, dynamoDbAssets } from '../../token-api/assets/dynamodb.ts';
import { dynamoDbSessions, SESSIONS_TABLE } from '../../token-api/sessions/dynamodb.ts';
import { NOW } from '../harness/minting.ts';

let database: LocalDynamoDb;
let close: () => Promise<void>;
beforeAll(async () => {
  const data = await openDataDirectory(undefined);
  database = await startDynamoDb(data, [SESSIONS_TABLE, ASSETS_TABLE, REVOCATIONS_TABLE]);
  close = async () => {
    await database.close();
    await data.close();
  };
});
afterAll(() => close());

describe('AssetCatalogue', () => {
  const asset = { id: 'b', title: 'B', path: '/b/master.m3u8', policy: { lifetime: 'PT1H', paths: ['/b/'] } };

  test('keeps assets, replaces them, lists them by id', async () => {
    const assets = dynamoDbAssets(database.client);
    await assets.put(asset);
    await assets.put({ ...asset, id: 'a' });
    await assets.put({ ...asset, title: 'Second' });
    expect(await assets.get('b')).toEqual({ ...asset, title: 'Second' });
    expect(await assets.get('none')).toBeUndefined();
    expect((await assets.list()).map(({ id }) => id)).toEqual(['a', 'b']);
  });
});

describe('Sessions', () => {
  const session = { sessionId: 'AbCdEf012345', asset: 'a', subject: 's', startedAt: NOW, expiresAt: NOW + 3600 };

  test('a session is live from its first request until a minute after its last, or its expiry', async () => {
    const sessions = dynamoDbSessions(database.client);
    const live = async (now: number) => (await sessions.live(now)).map(({ sessionId }) => sessionId);
    await sessions.start(session);
    expect(await live(NOW)).toEqual([]);
    await sessions.seen(session, NOW + 10);
    expect(await live(NOW + 70)).toEqual(['AbCdEf012345']);
    expect(await live(NOW + 71)).toEqual([]);
    await sessions.seen(session, NOW + 3590);
    expect(await live(NOW + 3599)).toEqual(['AbCdEf012345']);
    expect(await live(NOW + 3600)).toEqual([]);
  });

  test('one that was minted elsewhere is known once it is seen, and the latest comes first', async () => {
    const sessions = dynamoDbSessions(database.client);
    const foreign = { sessionId: 'Foreign01234', asset: 'a', startedAt: NOW, expiresAt: NOW + 9000 };
    await sessions.seen({ ...session, expiresAt: NOW + 9000 }, NOW + 5000);
    await sessions.seen(foreign, NOW + 5001);
    expect(await sessions.live(NOW + 5001)).toEqual([
      { ...foreign, lastSeenAt: NOW + 5001 },
      { ...session, expiresAt: NOW + 9000, lastSeenAt: NOW + 5000 },
    ]);
  });
});

describe('RevocationList', () => {
  const entry = (sessionId: string, revokedAt = NOW) => ({
    sessionId,
    reason: 'shared',
    by: 'tester',
    revokedAt,
    expiresAt: revokedAt + 100,
  });

  test('the first entry holds until it expires; then a new one takes its place', async () => {
    const list = dynamoDbRevocationList(database.client);
    expect(await list.add(entry('Revoked00001'))).toEqual({ entry: entry('Revoked00001'), added: true });
    const again = await list.add({ ...entry('Revoked00001', NOW + 50), reason: 'other' });
    expect(again).toEqual({ entry: entry('Revoked00001'), added: false });
    const later = await list.add(entry('Revoked00001', NOW + 100));
    expect(later).toEqual({ entry: entry('Revoked00001', NOW + 100), added: true });
  });

  test('an expired entry revokes nobody, whether or not it was deleted', async () => {
    const list = dynamoDbRevocationList(database.client);
    await list.add(entry('Revoked00002'));
    expect(await list.revoked(['Revoked00002', 'Unknown00000'], NOW + 99)).toEqual(new Set(['Revoked00002']));
    expect(await list.revoked(['Revoked00002'], NOW + 100)).toEqual(new Set());
    expect((await list.active(NOW + 100)).map(({ sessionId }) => sessionId)).not.toContain('Revoked00002');
  });

  test('removing says whether there was something to remove', async () => {
    const list = dynamoDbRevocationList(database.client);
    await list.add(entry('Revoked00003'));
    expect([await list.remove('Revoked00003'), await list.remove('Revoked00003')]).toEqual([true, false]);
  });

  test('asks about any number of sessions, repeated ones included', async () => {
    const list = dynamoDbRevocationList(database.client);
    const ids = Array.from({ length: 250 }, (_, i) => `Many${String(i).padStart(8, '0')}`);
    for (const id of ids.slice(0, 120)) await list.add(entry(id));
    expect((await list.revoked([...ids, ...ids], NOW)).size).toBe(120);
    expect(await list.revoked([], NOW)).toEqual(new Set());
    expect((await list.active(NOW)).length).toBeGreaterThanOrEqual(120);
  });
});
