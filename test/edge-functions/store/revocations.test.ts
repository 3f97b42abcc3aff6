import { describe, expect, test } from 'vitest';
import {
  copyIntoKeys,
  type Entries,
  setBlocks,
  setModes,
  totalBytes,
  updates,
} from '../../../edge-functions/store/entries.ts';
import { checkStoreLimits, STORE_LIMITS } from '../../../edge-functions/store/key-value-store.ts';
import { changeRevocations, countRevocations, replaceRevocations } from '../../../edge-functions/store/revocations.ts';

const key = () => JSON.stringify({ sign: 's'.repeat(43), bind: 'b'.repeat(43), before: 0 });
const ring = (...kids: string[]): Entries => new Map(kids.map((kid) => [`k/${kid}`, key()]));
const sessionIds = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => `Sess${String(i + from).padStart(8, '0')}`);
const change = (ids: string[], revoked = true) => ({
  sessions: new Map(ids.map((id) => [id, revoked])),
  assets: new Map<string, boolean>(),
});

describe('room', () => {
  test('200,000 sessions of 12 characters fit, and a rotation beside them', () => {
    const entries = ring('k1', 'k2');
    const omitted = replaceRevocations(entries, { sessions: sessionIds(200_000), assets: [], before: 1 });
    copyIntoKeys(entries);
    expect([omitted, countRevocations(entries)]).toEqual([{ sessions: [], assets: [] }, 200_001]);
    for (const kid of ['k3', 'k4']) entries.set(`k/${kid}`, key());
    setBlocks(entries, 'aurora', [{ countries: ['GB'] }]);
    copyIntoKeys(entries);
    checkStoreLimits(entries);
  });

  test('what does not fit is told: the last in the order given, and sessions before assets', () => {
    const entries = ring('k1');
    const sessions = sessionIds(350_000);
    const omitted = replaceRevocations(entries, { sessions, assets: ['aurora'], before: 0 });
    copyIntoKeys(entries);
    const fitting = countRevocations(entries) - 1;
    expect(omitted).toEqual({ assets: [], sessions: sessions.slice(fitting) });
    expect([entries.has('a/aurora'), fitting > 200_000]).toEqual([true, true]);
    checkStoreLimits(entries);
    // What is full takes nothing more, but what needs no room; and a rotation fits all the same.
    const full = new Map(entries);
    expect(() => changeRevocations(entries, change(['OneTooMany01']))).toThrow(
      expect.objectContaining({ code: 'ERR_STORE_LIMIT' }),
    );
    expect([...entries]).toEqual([...full]);
    changeRevocations(entries, change(sessions.slice(0, 3), true));
    changeRevocations(entries, { ...change(sessions.slice(0, 2), false), before: 7 });
    changeRevocations(entries, change(['OneTooMany01']));
    for (let i = 0; i < 20; i++) entries.set(`k/new${i}`, key());
    copyIntoKeys(entries);
    checkStoreLimits(entries);
  });

  test('blocks and modes that are there come first', () => {
    const entries = ring('k1');
    const sessions = sessionIds(350_000);
    replaceRevocations(entries, { sessions, assets: [], before: 0 });
    const alone = countRevocations(entries);
    for (let i = 0; i < 500; i++) setBlocks(entries, `asset-${i}`, [{ from: 1, until: 4102444800, countries: ['GB'] }]);
    replaceRevocations(entries, { sessions, assets: [], before: 0 });
    expect(countRevocations(entries)).toBeLessThan(alone);
    expect(totalBytes(entries)).toBeLessThanOrEqual(STORE_LIMITS.totalBytes - 64 * 1024);
  });

  test('what can never be an entry is left out, and keeps nothing else back', () => {
    const entries = ring('k1');
    const assets = ['x'.repeat(600), 'ü'.repeat(300), 'aurora'];
    expect(replaceRevocations(entries, { sessions: sessionIds(1), assets, before: 0 })).toEqual({
      sessions: [],
      assets: assets.slice(0, 2),
    });
    expect([...entries.keys()]).toEqual(['k/k1', 'a/aurora', 'r/Sess00000000']);
  });

  test('modes leave a key room for the cut-off', () => {
    const entries = ring('k1');
    const rules = Array.from({ length: 100 }, (_, i) => [`/${'p'.repeat(i)}/`, 'log'] as [string, 'log']);
    let fitting = 0;
    for (; fitting < rules.length; fitting++) {
      try {
        setModes(new Map(entries), rules.slice(0, fitting + 1));
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_STORE_LIMIT' });
        break;
      }
    }
    setModes(entries, rules.slice(0, fitting));
    replaceRevocations(entries, { sessions: [], assets: ['aurora'], before: 4102444800 });
    copyIntoKeys(entries);
    checkStoreLimits(entries);
    expect(fitting).toBeGreaterThan(10);
  });
});

describe('updates', () => {
  const keysOf = (from: Entries, to: Entries) =>
    updates(from, to).map(({ puts, deletes }) => [...puts.map(({ key }) => key), ...deletes.map((name) => `-${name}`)]);

  test('keys go first, then what denies, then what lets through', () => {
    const from = new Map([...ring('k1'), ...sessionIds(60).map((id) => [`r/${id}`, '1'] as const)]);
    const to = ring('k1');
    replaceRevocations(to, { sessions: sessionIds(60, 60), assets: ['aurora'], before: 7 });
    copyIntoKeys(to);
    const [first = [], second = [], third = []] = keysOf(from, to);
    expect(first[0]).toBe('k/k1');
    expect(
      first
        .concat(second)
        .slice(0, 63)
        .every((name) => !name.startsWith('-')),
    ).toBe(true);
    expect([first.length, second.length, third.every((name) => name.startsWith('-'))]).toEqual([50, 50, true]);
  });

  test('where both do not fit together, deletions make room', () => {
    const sessions = (from: number) => {
      const entries = ring('k1');
      replaceRevocations(entries, { sessions: sessionIds(330_000, from), assets: [], before: 0 });
      return entries;
    };
    const [from, to] = [sessions(0), sessions(200_000)];
    const made = new Map(from);
    for (const { puts, deletes } of updates(from, to)) {
      expect(puts.length + deletes.length).toBeLessThanOrEqual(STORE_LIMITS.keysPerUpdate);
      for (const { key, value } of puts) made.set(key, value);
      for (const name of deletes) made.delete(name);
    }
    expect(made.size).toBe(to.size);
    const [first] = updates(from, to);
    expect(first?.deletes.length).toBe(50);
  });
});
