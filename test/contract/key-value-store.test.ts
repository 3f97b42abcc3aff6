import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import { FileKeyValueStore, readStoreFile } from '../../edge-functions/store/file.ts';
import { type KeyValueStore, STORE_LIMITS } from '../../edge-functions/store/key-value-store.ts';

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-store-'));
afterAll(() => rmSync(scratch, { recursive: true }));
let files = 0;
const newPath = () => join(scratch, `store-${++files}.json`);

const ADAPTERS: [string, () => Promise<KeyValueStore>][] = [['file', () => FileKeyValueStore.open(newPath())]];

describe.each(ADAPTERS)('KeyValueStore: %s', (_, open) => {
  test('starts empty, keeps what is put, forgets what is deleted', async () => {
    const store = await open();
    const { entries, etag } = await store.list();
    expect(entries.size).toBe(0);
    const next = await store.update(
      {
        puts: [
          { key: 'a', value: '1' },
          { key: 'b', value: '2' },
        ],
        deletes: [],
      },
      etag,
    );
    await store.update({ puts: [], deletes: ['a', 'never-there'] }, next);
    expect([...(await store.list()).entries]).toEqual([['b', '2']]);
  });

  test('refuses an ETag that is not the latest', async () => {
    const store = await open();
    const { etag } = await store.list();
    await store.update({ puts: [{ key: 'a', value: '1' }], deletes: [] }, etag);
    const late = store.update({ puts: [{ key: 'a', value: '2' }], deletes: [] }, etag);
    await expect(late).rejects.toMatchObject({ code: 'ERR_STORE_ETAG' });
    expect((await store.list()).entries.get('a')).toBe('1');
  });

  test('lets one of two writers through', async () => {
    const store = await open();
    const { etag } = await store.list();
    const writes = ['1', '2'].map((value) => store.update({ puts: [{ key: 'a', value }], deletes: [] }, etag));
    const outcomes = (await Promise.allSettled(writes)).map(({ status }) => status).sort();
    expect(outcomes).toEqual(['fulfilled', 'rejected']);
  });

  test.each([
    ['a key over 512 bytes', [{ key: 'k'.repeat(513), value: '' }]],
    ['a value over 1 KB', [{ key: 'k', value: 'v'.repeat(1025) }]],
    ['more than 50 keys at once', Array.from({ length: 51 }, (_, i) => ({ key: `${i}`, value: '' }))],
  ])('refuses %s and changes nothing', async (_, puts) => {
    const store = await open();
    const { etag } = await store.list();
    await expect(store.update({ puts, deletes: [] }, etag)).rejects.toMatchObject({ code: 'ERR_STORE_LIMIT' });
    expect(await store.list()).toEqual({ entries: new Map(), etag });
  });
});

describe('EdgeStore', () => {
  const key = { sign: 's', bind: 'b' };

  /** A store that counts its calls and may be told to fail. */
  async function observed() {
    const inner = await FileKeyValueStore.open(newPath());
    const calls = { list: 0, update: 0 };
    let failure: 'before' | 'after' | undefined;
    const fail = (when: 'before' | 'after') => {
      failure = when;
    };
    const store: KeyValueStore = {
      etag: () => inner.etag(),
      list: () => {
        calls.list++;
        return inner.list();
      },
      async update(change, ifMatch) {
        calls.update++;
        const failing = failure;
        failure = undefined;
        if (failing === 'before') throw new Error('throttled');
        const etag = await inner.update(change, ifMatch);
        if (failing === 'after') throw new Error('reply lost');
        return etag;
      },
    };
    return { inner, store, calls, fail };
  }

  test('an empty revocation list clears r/ and never k/', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    await edge.putKey('k1', key);
    await edge.revoke(['AbCdEf012345', 'AbCdEf012346']);
    await edge.replaceRevocations(async () => []);
    expect([...(await inner.list()).entries]).toEqual([['k/k1', '{"sign":"s","bind":"b","before":0}']]);
  });

  test('a change costs one call while the mirror holds, and none when nothing changes', async () => {
    const { store, calls } = await observed();
    const edge = new EdgeStore(store);
    await edge.revoke(['AbCdEf012345']);
    await edge.revoke(['AbCdEf012345']);
    await edge.restore(['AbCdEf012345']);
    await edge.restore(['AbCdEf012345']);
    expect(calls).toEqual({ list: 1, update: 2 });
  });

  test('large changes go in batches of 50', async () => {
    const { inner, store, calls } = await observed();
    const edge = new EdgeStore(store);
    const sessions = Array.from({ length: 120 }, (_, i) => `Session${String(i).padStart(5, '0')}`);
    await edge.replaceRevocations(async () => sessions);
    expect(calls.update).toBe(3);
    expect((await inner.list()).entries.size).toBe(120);
    await edge.replaceRevocations(async () => sessions.slice(100).concat('Another00000'));
    expect((await inner.list()).entries.size).toBe(21);
  });

  test('what another writer did is kept: the change is made again on top of it', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    await edge.putKey('k1', key);
    const other = new EdgeStore(inner);
    await other.revoke(['AbCdEf012345']);
    await edge.putKey('k2', key);
    expect([...(await inner.list()).entries.keys()].sort()).toEqual(['k/k1', 'k/k2', 'r/AbCdEf012345']);
  });

  test.each(['before', 'after'] as const)(
    'a call that fails %s it took effect is reported, and the next one is right',
    async (when) => {
      const { inner, store, fail } = await observed();
      const edge = new EdgeStore(store);
      await edge.revoke(['AbCdEf012345']);
      fail(when);
      await expect(edge.revoke(['AbCdEf012346'])).rejects.toThrow();
      await edge.replaceRevocations(async () => ['AbCdEf012347']);
      expect([...(await inner.list()).entries.keys()]).toEqual(['r/AbCdEf012347']);
    },
  );

  test('commands at the same time all take effect', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    const ids = Array.from({ length: 20 }, (_, i) => `Session${String(i).padStart(5, '0')}`);
    await Promise.all(ids.map((id) => edge.revoke([id])));
    expect((await inner.list()).entries.size).toBe(20);
  });

  test('a full store refuses a revocation and keeps its keys', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    await edge.putKey('k1', key);
    let { etag } = await inner.list();
    const value = 'v'.repeat(1000);
    for (let i = 0; i < STORE_LIMITS.totalBytes / 1010 - 20; i += 50) {
      const puts = Array.from({ length: 50 }, (_, j) => ({ key: `x/${i + j}`, value }));
      etag = await inner.update({ puts, deletes: [] }, etag).catch(() => etag);
    }
    const flood = Array.from({ length: 5000 }, (_, i) => `Session${String(i).padStart(50, '0')}`);
    await expect(edge.revoke(flood)).rejects.toMatchObject({ code: 'ERR_STORE_LIMIT' });
    expect((await inner.list()).entries.has('k/k1')).toBe(true);
  });
});

describe('store file', () => {
  test('is in CloudFront’s import format, private, and read back', async () => {
    const path = newPath();
    const store = await FileKeyValueStore.open(path);
    await store.update({ puts: [{ key: 'a', value: '1' }], deletes: [] }, (await store.list()).etag);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({ data: [{ key: 'a', value: '1' }] });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect([...(await readStoreFile(path))]).toEqual([['a', '1']]);
    expect((await FileKeyValueStore.open(path)).get('a')).toBe('1');
  });

  test.each(['{', '[]', '{"data":[{"key":"a"}]}', '{"a":"b"}'])('%s is refused', async (text) => {
    const path = newPath();
    writeFileSync(path, text);
    await expect(readStoreFile(path)).rejects.toMatchObject({ code: 'ERR_STORE_FILE' });
    expect(readFileSync(path, 'utf8')).toBe(text);
  });
});
