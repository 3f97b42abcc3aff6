import { PutCommand } from '@aws-sdk/lib-dynamodb';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LocalDynamoDb } from '../../local/dynamodb.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES, REVOCATIONS_TABLE } from '../../revocation/list/dynamodb.ts';
import type {
  RevocationEntry,
  RevocationEvent,
  RevocationKind,
  RevocationList,
} from '../../revocation/list/revocation-list.ts';
import { openDatabase } from '../harness/database.ts';
import { NOW } from '../harness/minting.ts';

let database: LocalDynamoDb;
let list: RevocationList;
beforeAll(async () => {
  database = await openDatabase(REVOCATION_TABLES);
  list = dynamoDbRevocationList(database.client);
});
afterAll(() => database.close());

const manual = (id: string, revokedAt = NOW): RevocationEntry => ({
  kind: 'session',
  id,
  source: 'manual',
  reasons: ['shared'],
  by: 'tester',
  revokedAt,
  expiresAt: revokedAt + 100,
});
const auto = (id: string, revokedAt = NOW): RevocationEntry => ({
  ...manual(id, revokedAt),
  source: 'auto',
  reasons: ['3 viewers fetched in the same minute', '2 countries in the same minute'],
  score: 81.5,
  by: 'detection',
});
const cutoff = (before: number, revokedAt = NOW): RevocationEntry => ({
  ...manual('all', revokedAt),
  kind: 'sessions-before',
  before,
});
/** What happened to an id, the first first: action, who did it, who had revoked it. */
const told = async (kind: RevocationKind, id: string) =>
  (await list.history(kind, id)).reverse().map(({ action, by, entry }) => [action, by, entry.by]);

describe('an entry', () => {
  test('holds until it expires; then a new one takes its place', async () => {
    expect(await list.add(manual('Revoked00001'))).toEqual({ entry: manual('Revoked00001'), outcome: 'added' });
    const again = await list.add({ ...manual('Revoked00001'), reasons: ['other'] });
    expect(again).toEqual({ entry: manual('Revoked00001'), outcome: 'kept' });
    expect(await list.get('session', 'Revoked00001', NOW + 99)).toEqual(manual('Revoked00001'));
    expect(await list.get('session', 'Revoked00001', NOW + 100)).toBeUndefined();
    const later = await list.add(manual('Revoked00001', NOW + 100));
    expect(later).toEqual({ entry: manual('Revoked00001', NOW + 100), outcome: 'added' });
  });

  test('holds for longer when a person asks for it again, and says what it said', async () => {
    await list.add(manual('Revoked00011'));
    const asked = (at: number) => ({ ...manual('Revoked00011', at), reasons: ['other'], by: 'other' });
    const entry = { ...manual('Revoked00011'), expiresAt: NOW + 160 };
    expect(await list.add(asked(NOW + 59))).toEqual({ entry: manual('Revoked00011'), outcome: 'kept' });
    expect(await list.add(asked(NOW + 60))).toEqual({ entry, outcome: 'kept' });
    expect(await list.get('session', 'Revoked00011', NOW + 159)).toEqual(entry);
    expect(await told('session', 'Revoked00011')).toEqual([
      ['revoked', 'tester', 'tester'],
      ['revoked', 'other', 'tester'],
    ]);
    expect((await list.add(auto('Revoked00011', NOW + 130))).entry).toEqual(entry);
  });

  test('that expired revokes nobody, whether or not it was deleted', async () => {
    await list.add(manual('Revoked00002'));
    const ids = ['Revoked00002', 'Unknown00000'];
    expect(await list.revoked('session', ids, NOW + 99)).toEqual(new Set(['Revoked00002']));
    expect(await list.revoked('session', ids, NOW + 100)).toEqual(new Set());
    expect((await list.active(NOW + 100)).map(({ id }) => id)).not.toContain('Revoked00002');
  });

  test('is taken back once, and revoked again by hand', async () => {
    await list.add(manual('Revoked00003'));
    const remove = () => list.remove('session', 'Revoked00003', 'other', NOW + 1);
    expect([await remove(), await remove()]).toEqual([true, false]);
    expect(await list.revoked('session', ['Revoked00003'], NOW + 1)).toEqual(new Set());
    expect((await list.add(manual('Revoked00003', NOW + 1))).outcome).toBe('added');
    expect(await told('session', 'Revoked00003')).toEqual([
      ['revoked', 'tester', 'tester'],
      ['restored', 'other', 'tester'],
      ['revoked', 'tester', 'tester'],
    ]);
  });

  test('of one kind is another than that of the same name, and may stay until it is taken back', async () => {
    const { expiresAt: _, ...forGood } = manual('Revoked00009');
    const subject: RevocationEntry = { ...forGood, kind: 'subject' };
    expect(await list.add(subject)).toEqual({ entry: subject, outcome: 'added' });
    expect((await list.add({ ...subject, revokedAt: NOW + 1e8 })).outcome).toBe('kept');
    const holds = async (kind: RevocationKind) => (await list.revoked(kind, ['Revoked00009'], NOW + 1e8)).size === 1;
    expect([await holds('subject'), await holds('session')]).toEqual([true, false]);
    expect(await list.active(NOW + 1e8)).toEqual([subject]);
    expect(await list.remove('session', 'Revoked00009', 'tester', NOW)).toBe(false);
    expect(await list.remove('subject', 'Revoked00009', 'tester', NOW)).toBe(true);
  });

  test('is found among any number of ids, repeated ones included', async () => {
    const ids = Array.from({ length: 250 }, (_, i) => `Many${String(i).padStart(8, '0')}`);
    for (const id of ids.slice(0, 120)) await list.add(manual(id));
    expect((await list.revoked('session', [...ids, ...ids], NOW)).size).toBe(120);
    expect(await list.revoked('session', [], NOW)).toEqual(new Set());
    expect((await list.active(NOW)).length).toBeGreaterThanOrEqual(120);
    await list.add({ ...manual('Many00000001'), kind: 'asset' });
    const keys = [
      { kind: 'asset', id: 'Many00000001' },
      { kind: 'session', id: 'Many00000001' },
      { kind: 'subject', id: 'Many00000001' },
    ] as const;
    const found = await list.holding([...keys], NOW);
    expect(found.map(({ kind }) => kind).sort()).toEqual(['asset', 'session']);
  });
});

describe('a person and detection', () => {
  test('what a person said is not changed by detection', async () => {
    await list.add(manual('Decided00001'));
    const after = await list.add(auto('Decided00001', NOW + 10));
    expect(after).toEqual({ entry: manual('Decided00001'), outcome: 'kept' });
    expect(await told('session', 'Decided00001')).toHaveLength(1);
  });

  test('what detection said is replaced by a person, and then expires no earlier', async () => {
    const first = { ...auto('Decided00002'), expiresAt: NOW + 500 };
    expect(await list.add(first)).toEqual({ entry: first, outcome: 'added' });
    expect((await list.add(auto('Decided00002', NOW + 1))).outcome).toBe('kept');
    const entry = { ...manual('Decided00002', NOW + 10), expiresAt: NOW + 500 };
    expect(await list.add(manual('Decided00002', NOW + 10))).toEqual({ entry, outcome: 'changed' });
    expect((await list.history('session', 'Decided00002')).map((event) => event.entry)).toEqual([entry, first]);
  });

  test('what a person took back is not revoked by detection for as long as it would have been, but by a person', async () => {
    await list.add(auto('Decided00003'));
    await list.remove('session', 'Decided00003', 'tester', NOW + 1);
    const again = await list.add(auto('Decided00003', NOW + 99));
    expect(again).toEqual({ entry: auto('Decided00003'), outcome: 'restored-by-hand' });
    expect(await list.revoked('session', ['Decided00003'], NOW + 99)).toEqual(new Set());
    expect((await list.add(manual('Decided00003', NOW + 99))).outcome).toBe('added');
    await list.remove('session', 'Decided00003', 'tester', NOW + 99);
    expect((await list.add(auto('Decided00003', NOW + 199))).outcome).toBe('added');
  });
});

test('a cut-off only becomes later', async () => {
  expect((await list.add(cutoff(NOW - 100))).outcome).toBe('added');
  expect(await list.add(cutoff(NOW - 200))).toEqual({ entry: cutoff(NOW - 100), outcome: 'kept' });
  expect((await list.add({ ...cutoff(NOW, NOW + 2), source: 'auto' })).outcome).toBe('kept');
  expect(await list.add(cutoff(NOW - 50, NOW + 3))).toEqual({ entry: cutoff(NOW - 50, NOW + 3), outcome: 'changed' });
  await list.remove('sessions-before', 'all', 'tester', NOW + 4);
  // Taken back, it may be earlier again.
  expect((await list.add(cutoff(NOW - 300, NOW + 5))).outcome).toBe('added');
});

test('events are in order even when the clock stands still or goes back', async () => {
  await list.add(manual('Ordered00001', NOW + 5));
  await list.remove('session', 'Ordered00001', 'a', NOW + 5);
  await list.add(manual('Ordered00001', NOW));
  const events = await list.history('session', 'Ordered00001');
  const start = (NOW + 5) * 1000;
  expect(events.map(({ at, action }) => [at - start, action])).toEqual([
    [2, 'revoked'],
    [1, 'restored'],
    [0, 'revoked'],
  ]);
});

describe('an entry that the version before wrote', () => {
  const put = (id: string, more: object = {}) => {
    const Item = { kind: 'session', id, reason: 'shared', by: 'tester', revokedAt: NOW, expiresAt: NOW + 100, ...more };
    return database.client.send(new PutCommand({ TableName: REVOCATIONS_TABLE.TableName, Item }));
  };

  test('is read as one by hand, and kept', async () => {
    await put('Earlier00001');
    const entry = { ...manual('Earlier00001'), reasons: [] };
    expect(await list.get('session', 'Earlier00001', NOW)).toEqual(entry);
    expect(await list.active(NOW)).toContainEqual(entry);
    expect(await list.revoked('session', ['Earlier00001'], NOW)).toEqual(new Set(['Earlier00001']));
    expect((await list.add(manual('Earlier00001', NOW + 1))).outcome).toBe('kept');
    expect((await list.add(auto('Earlier00001', NOW + 1))).outcome).toBe('kept');
  });

  test('is taken back, and remembered', async () => {
    await put('Earlier00002', { reason: '' });
    expect(await list.remove('session', 'Earlier00002', 'other', NOW + 1)).toBe(true);
    expect((await list.add(auto('Earlier00002', NOW + 2))).outcome).toBe('restored-by-hand');
    expect((await list.history('session', 'Earlier00002')).map(({ entry }) => entry.reasons)).toEqual([[], []]);
    expect(await told('session', 'Earlier00002')).toEqual([
      ['revoked', 'tester', 'tester'],
      ['restored', 'other', 'tester'],
    ]);
  });
});

describe('pages', () => {
  const then = NOW + 1_000_000;
  const ids = Array.from({ length: 7 }, (_, i) => `Paged0000${String(i).padStart(3, '0')}`);
  const all = async (limit: number, kind?: RevocationKind) => {
    const read: RevocationEntry[][] = [];
    let cursor: string | undefined;
    do {
      const { entries, next } = await list.page(then, { limit, cursor, kind });
      read.push(entries);
      cursor = next;
    } while (cursor !== undefined);
    return read;
  };

  beforeAll(async () => {
    for (const id of ids) await list.add(manual(id, then));
    await list.add({ ...manual('aurora', then), kind: 'asset' });
    await list.add(manual('Gone00000001', then));
    await list.remove('session', 'Gone00000001', 'tester', then);
  });

  test('have every entry once, whatever their size', async () => {
    for (const limit of [1, 2, 3, 8, 9, 1000]) {
      const read = await all(limit);
      expect(read.every((entries) => entries.length <= limit)).toBe(true);
      const found = read.flat().map(({ id }) => id);
      expect([limit, found.filter((id) => id !== 'aurora' && !ids.includes(id))]).toEqual([limit, []]);
      expect([found.length, new Set(found).size]).toEqual([8, 8]);
    }
  });

  test('are of one kind when that is asked for', async () => {
    expect((await all(3, 'asset')).flat()).toEqual([{ ...manual('aurora', then), kind: 'asset' }]);
    expect((await all(3, 'subject')).flat()).toEqual([]);
  });

  test('refuse a cursor that is not theirs', async () => {
    const encode = (content: unknown) => Buffer.from(JSON.stringify(content)).toString('base64url');
    const { next } = await list.page(then, { limit: 1 });
    const damaged = ['', 'x', '!', encode(null), encode(['revocations/']), encode(['revocations/', ['a', 'nothing']])];
    const wrong = [['', 'session'], ['a'.repeat(2049), 'session'], [7, 'session'], ['a', 'session', 1], {}];
    const refused = [...damaged, ...wrong.map((place) => encode(['revocations/', place]))];
    const code = { code: 'ERR_CURSOR_INVALID' };
    for (const cursor of refused) await expect(list.page(then, { limit: 1, cursor })).rejects.toMatchObject(code);
    await expect(list.page(then, { limit: 1, kind: 'asset', cursor: next })).rejects.toMatchObject(code);
  });
});

describe('pages of a history', () => {
  test('have every event once, at any length, also while it goes on', async () => {
    for (let i = 0; i < 4; i++) {
      await list.add(manual('Paged0000001', NOW + 2 * i));
      await list.remove('session', 'Paged0000001', 'tester', NOW + 2 * i + 1);
    }
    const all = await list.history('session', 'Paged0000001');
    expect(all).toHaveLength(8);
    for (const limit of [1, 3, 7, 8, 9]) {
      const found: RevocationEvent[] = [];
      let cursor: string | undefined;
      do {
        const page = await list.historyPage('session', 'Paged0000001', { limit, cursor });
        expect(page.events.length).toBeLessThanOrEqual(limit);
        found.push(...page.events);
        cursor = page.next;
      } while (cursor !== undefined);
      expect([limit, found]).toEqual([limit, all]);
    }
    const first = await list.historyPage('session', 'Paged0000001', { limit: 3 });
    await list.add(manual('Paged0000001', NOW + 20));
    const rest = await list.historyPage('session', 'Paged0000001', { limit: 9, cursor: first.next });
    expect([...first.events, ...rest.events]).toEqual(all);
  });

  test('of what was never revoked is empty, and refuses a cursor that is not its own', async () => {
    expect(await list.historyPage('asset', 'Never0000001', { limit: 1 })).toEqual({ events: [], next: undefined });
    const encode = (content: unknown) => Buffer.from(JSON.stringify(content)).toString('base64url');
    const name = 'history/asset/Never0000001';
    const others = [
      encode(['history/asset/Other0000001', 5]),
      encode([name, '5']),
      encode([name, 1e300]),
      encode([name]),
    ];
    for (const cursor of ['', 'x', encode(null), ...others]) {
      await expect(list.historyPage('asset', 'Never0000001', { limit: 1, cursor })).rejects.toMatchObject({
        code: 'ERR_CURSOR_INVALID',
      });
    }
    expect((await list.historyPage('asset', 'Never0000001', { limit: 1, cursor: encode([name, -1]) })).events).toEqual(
      [],
    );
  });
});
