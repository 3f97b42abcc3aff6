import { expect, test } from 'vitest';
import { openCachedKeyRing } from '../../token-api/key-ring/cached-key-ring.ts';
import { createKeyRing, type KeyRing, KeyRingError } from '../../token-api/key-ring/key-ring.ts';
import { NOW } from '../harness/minting.ts';

/** A cached ring over a store that can be changed and can fail, with both clocks in hand. */
async function opened() {
  const world = { ring: createKeyRing(NOW) as KeyRing | null, fails: false, reads: 0, now: NOW, uptime: 0 };
  const refreshes: [age: number, code: string | undefined][] = [];
  const cached = await openCachedKeyRing({
    read: async () => {
      world.reads++;
      if (world.fails) throw new KeyRingError('ERR_RING_THROTTLED', 'throttled');
      return { ring: world.ring };
    },
    refreshSeconds: 60,
    maxStaleSeconds: 900,
    onRefresh: (age, error) => refreshes.push([age, (error as KeyRingError | undefined)?.code]),
    now: () => world.now,
    uptime: () => world.uptime,
  });
  const pass = (seconds: number) => {
    world.now += seconds;
    world.uptime += seconds;
  };
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return { world, cached, refreshes, pass, settled };
}

test('a ring is read again in the background once it is old, and the new key is used', async () => {
  const { world, cached, pass, settled } = await opened();
  const before = cached.mintingKey().kid;
  world.ring = createKeyRing(NOW + 1);
  pass(60);
  await cached.ready();
  expect([world.reads, cached.mintingKey().kid]).toEqual([1, before]);
  pass(1);
  const ready = cached.ready();
  expect(cached.mintingKey().kid).toBe(before);
  await ready;
  await settled();
  expect(cached.mintingKey().kid).toBe(world.ring.keys[0]?.kid);
  expect(cached.ageSeconds()).toBe(0);
});

test('while it cannot be read the last one is used, up to its bound, and each failure is told with its age', async () => {
  const { world, cached, refreshes, pass, settled } = await opened();
  world.fails = true;
  pass(899);
  await cached.ready();
  await settled();
  expect(cached.mintingKey().kid).toBe(world.ring?.keys[0]?.kid);
  expect(refreshes).toEqual([
    [0, undefined],
    [899, 'ERR_RING_THROTTLED'],
  ]);
  pass(2);
  await expect(cached.ready()).rejects.toMatchObject({ code: 'ERR_RING_STALE' });
  expect(() => cached.mintingKey()).toThrow(expect.objectContaining({ code: 'ERR_RING_STALE' }));
  expect(() => cached.verificationKey('k1')).toThrow(expect.objectContaining({ code: 'ERR_RING_STALE' }));
  world.fails = false;
  await cached.ready();
  expect(cached.mintingKey().kid).toBe(world.ring?.keys[0]?.kid);
});

test('whatever fails is not stormed: many requests, one reading', async () => {
  const { world, cached, pass, settled } = await opened();
  world.fails = true;
  pass(100);
  for (let i = 0; i < 50; i++) {
    await cached.ready();
    await settled();
  }
  expect(world.reads).toBe(2);
});

test.each([
  ['forwards', 5000, 0],
  ['and the process stood still', 0, 5000],
])('a clock that jumps %s makes the ring old, never young', async (_, wall, uptime) => {
  const { world, cached } = await opened();
  world.fails = true;
  world.now += wall;
  world.uptime += uptime;
  await expect(cached.ready()).rejects.toMatchObject({ code: 'ERR_RING_STALE' });
});

test('a clock that jumps back does not keep a ring young', async () => {
  const { world, cached } = await opened();
  world.fails = true;
  world.now -= 5000;
  world.uptime += 901;
  await expect(cached.ready()).rejects.toMatchObject({ code: 'ERR_RING_STALE' });
});

test('who asks for it now gets a reading that began after the question: one at a time, however many ask', async () => {
  const { world, cached } = await opened();
  const before = cached.refresh();
  await Promise.resolve();
  expect(world.reads).toBe(2);
  world.ring = createKeyRing(NOW + 1);
  await Promise.all(Array.from({ length: 50 }, () => cached.refresh()));
  await before;
  expect([world.reads, cached.mintingKey().kid]).toEqual([3, world.ring.keys[0]?.kid]);
  world.fails = true;
  const failing = await Promise.allSettled(Array.from({ length: 50 }, () => cached.refresh()));
  expect(failing.every(({ status }) => status === 'rejected')).toBe(true);
  expect(world.reads).toBe(4);
});

test('a ring that is none, and a secret that was deleted, leave the last good one in use', async () => {
  const { world, cached } = await opened();
  const { kid } = cached.mintingKey();
  world.ring = null;
  await expect(cached.refresh()).rejects.toMatchObject({ code: 'ERR_RING_MISSING' });
  expect(cached.mintingKey().kid).toBe(kid);
});

test('a ring without a current key pauses minting and still verifies', async () => {
  const { world, cached } = await opened();
  const [only] = world.ring?.keys ?? [];
  if (!only) throw new Error('no key');
  world.ring = { version: 1, keys: [{ ...only, state: 'next' }] };
  await cached.refresh();
  expect(() => cached.mintingKey()).toThrow(expect.objectContaining({ code: 'ERR_RING_PAUSED' }));
  expect(cached.verificationKey(only.kid)).toBeDefined();
  expect(cached.verificationKey('constructor')).toBeUndefined();
});

test('without a ring at first there is nothing to mint with', async () => {
  const options = { refreshSeconds: 60, maxStaleSeconds: 900, onRefresh: () => {}, now: () => NOW, uptime: () => 0 };
  await expect(openCachedKeyRing({ ...options, read: async () => ({ ring: null }) })).rejects.toMatchObject({
    code: 'ERR_RING_MISSING',
  });
});
