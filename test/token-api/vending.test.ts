import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VENDING_TABLES } from '../../api/vending.ts';
import type { LocalDynamoDb } from '../../local/dynamodb.ts';
import { dynamoDbAssets } from '../../token-api/assets/dynamodb.ts';
import { dynamoDbConcurrencyLimit } from '../../token-api/concurrency/dynamodb.ts';
import { openCachedKeyRing } from '../../token-api/key-ring/cached-key-ring.ts';
import { createKeyRing, currentKey, type KeyRing, KeyRingError } from '../../token-api/key-ring/key-ring.ts';
import { advanceRing, withNextKey, withoutKey } from '../../token-api/key-ring/transitions.ts';
import { createMinter } from '../../token-api/minting/minter.ts';
import type { Policy } from '../../token-api/minting/policy.ts';
import { createRenewer } from '../../token-api/minting/renewal.ts';
import { dynamoDbPolicies } from '../../token-api/policies/dynamodb.ts';
import { dynamoDbSessions, SESSIONS_TABLE } from '../../token-api/sessions/dynamodb.ts';
import { createVending } from '../../token-api/vending/vending.ts';
import { openDatabase } from '../harness/database.ts';
import { NOW } from '../harness/minting.ts';

let database: LocalDynamoDb;
let withoutSessions: LocalDynamoDb;
beforeAll(async () => {
  database = await openDatabase(VENDING_TABLES);
  withoutSessions = await openDatabase(VENDING_TABLES.filter((table) => table !== SESSIONS_TABLE));
});
afterAll(async () => {
  await database.close();
  await withoutSessions.close();
});

const TIMES = { bakeSeconds: 0, maxStaleSeconds: 900, maxTokenLifetimeSeconds: 86400, leewaySeconds: 0 };
const EDGE = 'https://media.example.com';

/** A ring of two keys: the first was minted with, the second is now. */
function rotated(): { stolen: KeyRing; ring: KeyRing } {
  const stolen = createKeyRing(NOW - 1000);
  const published = advanceRing(withNextKey(stolen, 'run', NOW - 100), NOW - 100, TIMES);
  return { stolen, ring: advanceRing(published, NOW - 50, TIMES) };
}

/** Vending over a database, and a key ring whose readings can be watched, changed and made to fail. */
async function opened(client = database.client, tokenPrefix = '/', ring = createKeyRing(NOW - 1000)) {
  const world = { ring, onRead: async () => {}, now: NOW };
  const limits = { maxLifetimeSeconds: 86400, tokenPrefix, now: () => world.now };
  const keyRing = await openCachedKeyRing({
    read: async () => {
      await world.onRead();
      return { ring: world.ring };
    },
    refreshSeconds: 60,
    maxStaleSeconds: 900,
    onRefresh: () => {},
    now: limits.now,
    uptime: () => 0,
  });
  const key = () => keyRing.mintingKey();
  const catalogue = { assets: dynamoDbAssets(database.client), policies: dynamoDbPolicies(database.client) };
  const sessions = dynamoDbSessions(client);
  const vending = createVending({
    ...catalogue,
    sessions,
    concurrency: dynamoDbConcurrencyLimit(client, 1, async () => new Set()),
    minter: createMinter({ key, ...limits }),
    renewer: createRenewer({
      key,
      verificationKey: (kid) => keyRing.verificationKey(kid),
      leewaySeconds: 0,
      maxSessionSeconds: 86400,
      handoffSeconds: 3600,
      ...limits,
    }),
    ready: () => keyRing.ready(),
    refreshKeys: () => keyRing.refresh(),
    edgeUrl: EDGE,
    tokenPrefix,
    refusalOf: async () => undefined,
    now: limits.now,
  });
  const store = async (path: string, policy: Policy) => {
    await catalogue.policies.put({ id: 'p', policy });
    await catalogue.assets.put({ id: 'a', title: 'A', path, policy: 'p' });
  };
  await store('/aurora/master.m3u8', { lifetime: 'PT1H' });
  return { world, keyRing, vending, sessions, store };
}

describe('a token of a key that is no longer minted with', () => {
  const forged = (stolen: KeyRing, subject: string) =>
    createMinter({ key: () => currentKey(stolen), maxLifetimeSeconds: 86400, now: () => NOW - 60 }).mint({
      policy: { lifetime: 'PT12H', paths: ['/'] },
      viewer: { subject },
      url: `${EDGE}/aurora/master.m3u8`,
    });
  const kidsOf = (ring: KeyRing) => ring.keys.map(({ kid }) => kid);

  test('is exchanged when the ring still has the key, and its session is on record with both', async () => {
    const { stolen, ring } = rotated();
    const { vending, sessions } = await opened(database.client, '/', ring);
    const [old = '', current = ''] = kidsOf(ring);
    const { url, sessionId } = forged(stolen, 'exchanging');
    const renewed = await vending.renew(url, {}, 'exchanging');
    expect(renewed.sessionId).toBe(sessionId);
    const expected = [{ sessionId, kids: [old, current].toSorted() }];
    for (const kid of [old, current]) {
      const found = await sessions.withKey(kid, NOW);
      expect(found.map(({ kids, ...rest }) => ({ ...rest, kids: kids.toSorted() }))).toEqual(expected);
    }
  });

  test('is refused when the key is dropped meanwhile: before the ring is read, or after its session could be found', async () => {
    const { stolen, ring } = rotated();
    const { world, keyRing, vending, sessions } = await opened(database.client, '/', ring);
    const [old = ''] = kidsOf(ring);
    const { url, sessionId } = forged(stolen, 'racing');
    // The process still believes in the key; the ring does not have it any more.
    world.ring = withoutKey(ring, old, 'run', NOW);
    expect(keyRing.verificationKey(old)).toBeDefined();
    const refused = expect.objectContaining({ code: 'ERR_TOKEN_REFUSED', reason: 'token-key-unknown' });
    await expect(vending.renew(url, {}, 'racing')).rejects.toThrow(refused);

    // Dropped at the very moment the ring is read: whoever looks for the sessions then finds this one.
    const late = await opened(database.client, '/', ring);
    let found: string[] = [];
    late.world.onRead = async () => {
      found = (await sessions.withKey(old, NOW)).map((session) => session.sessionId);
    };
    await late.vending.handOff(url, {}, {}, 'racing');
    expect(found).toContain(sessionId);
  });

  test('is not exchanged when the ring cannot be read, and takes no place', async () => {
    const { stolen, ring } = rotated();
    const { world, vending } = await opened(database.client, '/', ring);
    const { url } = forged(stolen, 'unread');
    world.onRead = () => Promise.reject(new KeyRingError('ERR_RING_UNREACHABLE', 'not there'));
    await expect(vending.renew(url, {}, 'unread')).rejects.toMatchObject({ code: 'ERR_RING_UNREACHABLE' });
    world.onRead = async () => {};
    await vending.start('a', { subject: 'unread' });
  });

  test('a token of the key that is minted with is exchanged without reading the ring', async () => {
    const { world, vending } = await opened();
    const { playbackUrl = '' } = await vending.start('a', { subject: 'plain' });
    world.now += 10;
    world.onRead = () => Promise.reject(new KeyRingError('ERR_RING_UNREACHABLE', 'not there'));
    expect((await vending.renew(playbackUrl, {}, 'plain')).expiresAt).toBe(NOW + 3610);
  });
});

test('an asset right behind the place of the token has no scope by itself, whatever URL is asked for', async () => {
  const { vending, store } = await opened(database.client, '/live/');
  const asset = { id: 'a', title: 'A', path: '/live/master.m3u8', policy: 'p' };
  const refused = expect.objectContaining({ code: 'ERR_POLICY_FIELD_MISSING' });
  await store(asset.path, { lifetime: 'PT1H' });
  await expect(vending.check(asset)).rejects.toThrow(refused);
  await expect(vending.start('a', {})).rejects.toThrow(refused);
  await expect(vending.start('a', {}, `${EDGE}/live/other/master.m3u8`)).rejects.toThrow(refused);
  await store(asset.path, { lifetime: 'PT1H', files: [asset.path] });
  await vending.check(asset);
  await store('/live/aurora/master.m3u8', { lifetime: 'PT1H' });
  expect((await vending.start('a', {})).playbackUrl).toMatch(/\/aurora\/master\.m3u8$/);
  const elsewhere = vending.start('a', {}, `${EDGE}/live/other/master.m3u8`);
  await expect(elsewhere).rejects.toMatchObject({ code: 'ERR_URL_OUT_OF_SCOPE' });
});

test('a session that cannot be recorded holds no place', async () => {
  const broken = await opened(withoutSessions.client);
  await expect(broken.vending.start('a', { subject: 'unlucky' })).rejects.toMatchObject({
    name: 'ResourceNotFoundException',
  });
  const limit = dynamoDbConcurrencyLimit(withoutSessions.client, 1, async () => new Set());
  expect(await limit.admit('unlucky', 'Another00001', NOW + 100, NOW)).toBe(true);
});

test('a session that gets no place is on record and in no list', async () => {
  const { vending, sessions } = await opened();
  const { sessionId } = await vending.start('a', { subject: 'crowded' });
  await expect(vending.start('a', { subject: 'crowded' })).rejects.toMatchObject({ code: 'ERR_SESSION_LIMIT' });
  expect((await sessions.live(NOW, { limit: 1000 })).items).toEqual([]);
  expect(sessionId).toHaveLength(12);
});
