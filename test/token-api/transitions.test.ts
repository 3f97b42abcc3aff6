import { describe, expect, test } from 'vitest';
import { type KeyRing, mintingKey, type RingKey, secondsOf, timestamp } from '../../token-api/key-ring/key-ring.ts';
import {
  activatesAt,
  advanceRing,
  nextKey,
  retiresAt,
  withNextKey,
  withoutKey,
} from '../../token-api/key-ring/transitions.ts';
import { NOW, TEST_RING } from '../harness/minting.ts';

const TIMES = { bakeSeconds: 600, maxStaleSeconds: 900, maxTokenLifetimeSeconds: 86400, leewaySeconds: 30 };
const [K1] = TEST_RING.keys;
const SECRETS = [7, 8, 9].map((byte) => Buffer.alloc(32, byte).toString('base64url'));
const key = (kid: string, state: RingKey['state'], more: Partial<RingKey> = {}): RingKey => ({
  ...{ kid, state, secret: SECRETS[Number(kid.slice(1)) % 3] ?? '', createdAt: timestamp(NOW) },
  ...more,
});
const ring = (...keys: RingKey[]): KeyRing => ({ version: 1, keys });
const states = ({ keys }: KeyRing) => Object.fromEntries(keys.map(({ kid, state }) => [kid, state]));

describe('a ring in the course of time', () => {
  test('from making a key to its end: each step only when it is due', () => {
    let now = NOW;
    let present = withNextKey(ring({ ...K1 }), 'run', now);
    const made = nextKey(present)?.kid ?? '';
    expect(states(present)).toEqual({ k1: 'current', [made]: 'next' });
    present = advanceRing(present, now, TIMES);
    expect(activatesAt(nextKey(present) as RingKey, TIMES)).toBe(NOW + 600);
    expect(advanceRing(present, NOW + 599, TIMES)).toBe(present);
    now = NOW + 600;
    present = advanceRing(present, now, TIMES);
    expect(states(present)).toEqual({ k1: 'previous', [made]: 'current' });
    expect(mintingKey(present).kid).toBe(made);
    // Demoted only now, but that is known only to whoever reads the ring again.
    expect(present.keys[0]?.demotedAt).toBeUndefined();
    now += 100;
    present = advanceRing(present, now, TIMES);
    const end = retiresAt(now, TIMES);
    expect(end).toBe(NOW + 700 + 900 + 86400 + 30);
    expect(advanceRing(present, end - 1, TIMES)).toBe(present);
    present = advanceRing(present, end, TIMES);
    expect(states(present)).toEqual({ k1: 'retired', [made]: 'current' });
    expect(present.keys[0]).toMatchObject({ secret: '', retiredAt: timestamp(end) });
    expect(advanceRing(present, end + 1e6, TIMES)).toBe(present);
  });

  test('a key that had to be published again bakes again', () => {
    const baked = ring({ ...K1 }, key('k2', 'next', { publishedAt: timestamp(NOW - 5000) }));
    const again = advanceRing(baked, NOW, TIMES, ['k2']);
    expect(states(again)).toEqual({ k1: 'current', k2: 'next' });
    expect(secondsOf(nextKey(again)?.publishedAt ?? 0)).toBe(NOW);
    expect(states(advanceRing(baked, NOW, TIMES, ['k1']))).toEqual({ k1: 'previous', k2: 'current' });
  });

  test('keys of the AWS solution stay as they are', () => {
    const compat = { ...key('k3', 'previous'), secret: '0'.repeat(128), use: 'compat' };
    const stamped = advanceRing(ring({ ...K1 }, compat, key('k2', 'next')), NOW, TIMES);
    expect(stamped.keys[1]).toBe(compat);
  });

  test('the latest ten retired keys are remembered', () => {
    const retired = Array.from({ length: 12 }, (_, i) => ({ ...key(`r${i}`, 'retired'), secret: '' }));
    const kept = advanceRing(ring(...retired, { ...K1 }), NOW, TIMES);
    expect(kept.keys.map(({ kid }) => kid)).toEqual([...retired.slice(2).map(({ kid }) => kid), 'k1']);
  });

  test('a clock that is behind what the ring says changes nothing', () => {
    const baked = ring({ ...K1 }, key('k2', 'next', { publishedAt: timestamp(NOW) }));
    expect(() => advanceRing(baked, NOW - 61, TIMES)).toThrow(expect.objectContaining({ code: 'ERR_RING_CLOCK' }));
    expect(advanceRing(baked, NOW - 59, TIMES)).toBe(baked);
  });
});

describe('a further key', () => {
  test('is made for a placeholder too, and nothing of that is in it', () => {
    const made = withNextKey(null, 'run', NOW);
    expect(made.keys).toHaveLength(1);
    expect(made.keys[0]).toMatchObject({ state: 'next', run: 'run', createdAt: timestamp(NOW) });
    expect(Buffer.from(made.keys[0]?.secret ?? '', 'base64url')).toHaveLength(32);
    expect(() => mintingKey(made)).toThrow(expect.objectContaining({ code: 'ERR_RING_PAUSED' }));
  });

  test('waits for the one before', () => {
    const waiting = ring({ ...K1 }, key('k2', 'next'));
    expect(() => withNextKey(waiting, 'run', NOW)).toThrow(expect.objectContaining({ code: 'ERR_RING_CONFLICT' }));
  });
});

describe('a compromised key', () => {
  test('that was current: minting waits for the next', () => {
    const dropped = withoutKey(ring({ ...K1 }, key('k2', 'next')), 'k1', 'run', NOW);
    expect(states(dropped)).toEqual({ k1: 'retired', k2: 'next' });
    expect(dropped.keys[0]).toMatchObject({ secret: '', compromised: true });
    expect(() => mintingKey(dropped)).toThrow(expect.objectContaining({ code: 'ERR_RING_PAUSED' }));
  });

  test('that was the only one: another is made', () => {
    const dropped = withoutKey(ring({ ...K1 }), 'k1', 'run', NOW);
    expect(Object.values(states(dropped))).toEqual(['retired', 'next']);
  });

  test('that was previous or next: minting goes on', () => {
    const present = ring({ ...K1 }, key('k2', 'next'), key('k3', 'previous'));
    expect(states(withoutKey(present, 'k3', 'run', NOW))).toEqual({ k1: 'current', k2: 'next', k3: 'retired' });
    expect(states(withoutKey(present, 'k2', 'run', NOW))).toEqual({ k1: 'current', k2: 'retired', k3: 'previous' });
  });

  test('that has retired long since is marked: sessions that it was renewed into may go on', () => {
    const long = { ...key('k4', 'retired', { retiredAt: timestamp(NOW - 1000) }), secret: '' };
    const marked = withoutKey(ring({ ...K1 }, long), 'k4', 'run', NOW);
    expect(marked.keys[1]).toEqual({ ...long, compromised: true });
    expect(marked.keys).toHaveLength(2);
  });

  test.each(['k9', 'k5'])('%s is none of ours', (kid) => {
    const present = ring({ ...K1 }, { ...key('k5', 'current'), secret: '0'.repeat(128), use: 'compat' });
    expect(() => withoutKey(present, kid, 'run', NOW)).toThrow(expect.objectContaining({ code: 'ERR_KEY_UNKNOWN' }));
  });
});
