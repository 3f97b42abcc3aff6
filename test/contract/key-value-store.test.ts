import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CloudFrontKeyValueStoreClient } from '@aws-sdk/client-cloudfront-keyvaluestore';
import { afterAll, describe, expect, test } from 'vitest';
import { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import { FileKeyValueStore, readStoreFile } from '../../edge-functions/store/file.ts';
import { type KeyValueStore, STORE_LIMITS } from '../../edge-functions/store/key-value-store.ts';
import { AwsKeyValueStore } from '../../edge-functions/store/key-value-store-aws.ts';
import { KeyValueStoreService, STORE_ARN } from '../harness/key-value-store-service.ts';

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-store-'));
afterAll(() => rmSync(scratch, { recursive: true }));
let files = 0;
const newPath = () => join(scratch, `store-${++files}.json`);

const ADAPTERS: [string, () => Promise<KeyValueStore>][] = [
  ['file', () => FileKeyValueStore.open(newPath())],
  ['AWS', async () => new AwsKeyValueStore(new KeyValueStoreService().client, STORE_ARN)],
];

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

describe.each(ADAPTERS)('EdgeStore on KeyValueStore: %s', (_, open) => {
  const key = { sign: 's', bind: 'b' };
  const replaceKeys = (edge: EdgeStore, ...kids: string[]) =>
    edge.replaceKeys(async () => Object.fromEntries(kids.map((kid) => [kid, key])));
  const setSessions = (edge: EdgeStore, ids: string[], revoked: boolean) =>
    edge.changeRevocations(async () => ({ sessions: new Map(ids.map((id) => [id, revoked])), assets: new Map() }));
  const revoke = (edge: EdgeStore, ids: string[]) => setSessions(edge, ids, true);
  const restore = (edge: EdgeStore, ids: string[]) => setSessions(edge, ids, false);
  const replaceSessions = (edge: EdgeStore, sessions: string[]) =>
    edge.replaceRevocations(async () => ({ sessions, assets: [], before: 0 }));

  /** A store that counts its calls and may be told to fail. */
  async function observed() {
    const inner = await open();
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
    await replaceKeys(edge, 'k1');
    await revoke(edge, ['AbCdEf012345', 'AbCdEf012346']);
    await replaceSessions(edge, []);
    expect([...(await inner.list()).entries]).toEqual([['k/k1', '{"sign":"s","bind":"b","before":0}']]);
  });

  test('many who read at once share one look, and see what another writer did a little later', async () => {
    const { inner, store, calls } = await observed();
    const edge = new EdgeStore(store);
    await Promise.all(Array.from({ length: 50 }, () => edge.modes()));
    expect(calls).toEqual({ list: 1, update: 0 });
    await new EdgeStore(inner).blockAsset('aurora', [{}]);
    await expect.poll(async () => (await edge.blockedAssets()).has('aurora'), { timeout: 10_000 }).toBe(true);
    expect(calls.list).toBe(2);
  });

  test('a change costs one call while the mirror holds, and none when nothing changes', async () => {
    const { store, calls } = await observed();
    const edge = new EdgeStore(store);
    await revoke(edge, ['AbCdEf012345']);
    await revoke(edge, ['AbCdEf012345']);
    await restore(edge, ['AbCdEf012345']);
    await restore(edge, ['AbCdEf012345']);
    expect(calls).toEqual({ list: 1, update: 2 });
  });

  test('large changes go in batches of 50', async () => {
    const { inner, store, calls } = await observed();
    const edge = new EdgeStore(store);
    const sessions = Array.from({ length: 120 }, (_, i) => `Session${String(i).padStart(5, '0')}`);
    await replaceSessions(edge, sessions);
    expect(calls.update).toBe(3);
    expect((await inner.list()).entries.size).toBe(120);
    await replaceSessions(edge, sessions.slice(100).concat('Another00000'));
    expect((await inner.list()).entries.size).toBe(21);
  });

  test('replaced keys are exactly those that are read, and keep their cut-off; revocations stay', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    await replaceKeys(edge, 'k1', 'k2');
    await revoke(edge, ['AbCdEf012345']);
    const { etag } = await inner.list();
    await inner.update({ puts: [{ key: 'before', value: '7' }], deletes: [] }, etag);
    const seen: string[][] = [];
    const added = await edge.replaceKeys(async (published) => {
      seen.push(published);
      return { k2: key, k3: { sign: 's3', bind: 'b3' } };
    });
    expect([added, seen]).toEqual([['k3'], [['k1', 'k2']]]);
    expect(Object.fromEntries((await inner.list()).entries)).toEqual({
      before: '7',
      'k/k2': '{"sign":"s","bind":"b","before":7}',
      'k/k3': '{"sign":"s3","bind":"b3","before":7}',
      'r/AbCdEf012345': '1',
    });
  });

  test('a key that somebody else removed is put back, although the mirror has it', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    await replaceKeys(edge, 'k1');
    const { etag } = await inner.list();
    await inner.update({ puts: [], deletes: ['k/k1'] }, etag);
    expect(await replaceKeys(edge, 'k1')).toEqual(['k1']);
    expect((await inner.list()).entries.has('k/k1')).toBe(true);
  });

  test('keys are read again when somebody else wrote meanwhile', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    let reads = 0;
    await edge.replaceKeys(async () => {
      if (reads++ === 0) await revoke(new EdgeStore(inner), ['AbCdEf012345']);
      return { [`k${reads}`]: key };
    });
    expect([reads, [...(await inner.list()).entries.keys()].sort()]).toEqual([2, ['k/k2', 'r/AbCdEf012345']]);
  });

  test('what another writer did is kept: the change is made again on top of it', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    await replaceKeys(edge, 'k1');
    await revoke(new EdgeStore(inner), ['AbCdEf012345']);
    await revoke(edge, ['AbCdEf012346']);
    expect([...(await inner.list()).entries.keys()].sort()).toEqual(['k/k1', 'r/AbCdEf012345', 'r/AbCdEf012346']);
  });

  test.each(['before', 'after'] as const)(
    'a call that fails %s it took effect is reported, and the next one is right',
    async (when) => {
      const { inner, store, fail } = await observed();
      const edge = new EdgeStore(store);
      await revoke(edge, ['AbCdEf012345']);
      fail(when);
      await expect(revoke(edge, ['AbCdEf012346'])).rejects.toThrow();
      await replaceSessions(edge, ['AbCdEf012347']);
      expect([...(await inner.list()).entries.keys()]).toEqual(['r/AbCdEf012347']);
    },
  );

  test('commands at the same time all take effect', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    const ids = Array.from({ length: 20 }, (_, i) => `Session${String(i).padStart(5, '0')}`);
    await Promise.all(ids.map((id) => revoke(edge, [id])));
    expect((await inner.list()).entries.size).toBe(20);
  });

  test('the cut-off is in every key, also in one that comes later and when the whole ring is another', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    const befores = async () => {
      const { entries } = await inner.list();
      const keys = [...entries].filter(([name]) => name.startsWith('k/'));
      return Object.fromEntries(keys.map(([name, value]) => [name.slice(2), JSON.parse(value).before]));
    };
    const cutOff = (before: number) =>
      edge.changeRevocations(async () => ({ sessions: new Map(), assets: new Map(), before }));
    await replaceKeys(edge, 'k1');
    await cutOff(1795345200);
    expect(await befores()).toEqual({ k1: 1795345200 });
    await replaceKeys(edge, 'k1', 'k2');
    expect(await befores()).toEqual({ k1: 1795345200, k2: 1795345200 });
    await replaceKeys(new EdgeStore(inner), 'k3');
    expect(await befores()).toEqual({ k3: 1795345200 });
    await edge.replaceRevocations(async () => ({ sessions: [], assets: [], before: 0 }));
    expect([...(await inner.list()).entries.keys()]).toEqual(['k/k3']);
    expect(await befores()).toEqual({ k3: 0 });
  });

  test('a cut-off that cannot be read is not taken for none', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    await replaceKeys(edge, 'k1');
    await edge.replaceRevocations(async () => ({ sessions: [], assets: [], before: 7 }));
    const { etag } = await inner.list();
    await inner.update({ puts: [{ key: 'before', value: '{' }], deletes: [] }, etag);
    await revoke(edge, ['AbCdEf012345']);
    expect((await inner.list()).entries.get('k/k1')).toContain('"before":7');
    await replaceKeys(edge, 'k1', 'k2');
    expect((await inner.list()).entries.get('k/k2')).toContain('"before":7');
    await replaceKeys(edge, 'k3');
    expect((await inner.list()).entries.get('k/k3')).toContain('"before":7');
  });

  test('modes that cannot be read stay as the keys know them', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    await replaceKeys(edge, 'k1');
    await edge.setMode('/live/', 'enforce');
    const { etag } = await inner.list();
    await inner.update({ puts: [{ key: 'modes', value: '{' }], deletes: [] }, etag);
    await replaceKeys(edge, 'k2');
    expect((await inner.list()).entries.get('k/k2')).toContain('"modes":[["/live/","enforce"]]');
  });

  test.each(['[{"countries":["GB"]}', '{"countries":["GB"]}'])(
    'a damaged entry of an asset, %s, may be a blackout: no reconciliation opens it',
    async (value) => {
      const { inner, store } = await observed();
      const edge = new EdgeStore(store);
      const { etag } = await inner.list();
      await inner.update({ puts: [{ key: 'a/aurora', value }], deletes: [] }, etag);
      const entry = async () => (await inner.list()).entries.get('a/aurora');
      await edge.replaceRevocations(async () => ({ sessions: [], assets: [], before: 0 }));
      expect(await entry()).toBe(value);
      await edge.changeRevocations(async () => ({ sessions: new Map(), assets: new Map([['aurora', false]]) }));
      expect(await entry()).toBe(value);
      await edge.replaceRevocations(async () => ({ sessions: [], assets: ['aurora'], before: 0 }));
      expect(await entry()).toBe('[{"revoked":true}]');
    },
  );

  test('blocks that operators set and the revocation of the same asset do not touch each other', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    const setAsset = (revoked: boolean) =>
      edge.changeRevocations(async () => ({ sessions: new Map(), assets: new Map([['aurora', revoked]]) }));
    const stored = async () => (await inner.list()).entries.get('a/aurora');
    await edge.blockAsset('aurora', [{ countries: ['GB'] }]);
    await setAsset(true);
    expect(await stored()).toBe('[{"revoked":true},{"countries":["GB"]}]');
    expect(await edge.addBlock('aurora', { countries: ['FR'] })).toEqual([
      { countries: ['GB'] },
      { countries: ['FR'] },
    ]);
    expect(await edge.blockedAssets()).toEqual(new Map([['aurora', [{ countries: ['GB'] }, { countries: ['FR'] }]]]));
    expect(await edge.removeBlocks('aurora')).toBe(true);
    expect([await stored(), await edge.blockedAssets()]).toEqual(['[{"revoked":true}]', new Map()]);
    expect(await edge.removeBlocks('aurora')).toBe(false);
    await edge.blockAsset('aurora', [{ until: 9 }]);
    await edge.replaceRevocations(async () => ({ sessions: [], assets: [], before: 0 }));
    expect(await stored()).toBe('[{"until":9}]');
    await edge.replaceRevocations(async () => ({ sessions: [], assets: ['aurora'], before: 0 }));
    await edge.blockAsset('aurora', []);
    await setAsset(false);
    expect((await inner.list()).entries.size).toBe(0);
  });

  test('blocks leave room for the revocation of their asset', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    const blocks = Array.from({ length: 49 }, (_, i) => ({ countries: [`A${String.fromCharCode(65 + (i % 26))}`] }));
    await expect(edge.blockAsset('aurora', blocks)).rejects.toMatchObject({ code: 'ERR_STORE_LIMIT' });
    await edge.blockAsset('aurora', blocks.slice(0, 45));
    await edge.changeRevocations(async () => ({ sessions: new Map(), assets: new Map([['aurora', true]]) }));
    expect((await inner.list()).entries.get('a/aurora')).toMatch(/^\[{"revoked":true},/);
  });

  test('of blocks that are added at the same time none is lost, and the same is there once', async () => {
    const { store } = await observed();
    const edge = new EdgeStore(store);
    const countries = ['GB', 'FR', 'DE', 'GB'];
    await Promise.all(countries.map((country) => edge.addBlock('aurora', { countries: [country], until: undefined })));
    const blocks = ['GB', 'FR', 'DE'].map((country) => ({ countries: [country] }));
    expect(await edge.blockedAssets()).toEqual(new Map([['aurora', blocks]]));
  });

  test('a call that failed and was not applied costs no listing', async () => {
    const { store, calls, fail } = await observed();
    const edge = new EdgeStore(store);
    await revoke(edge, ['AbCdEf012345']);
    fail('before');
    await expect(revoke(edge, ['AbCdEf012346'])).rejects.toThrow();
    await revoke(edge, ['AbCdEf012346']);
    expect(calls).toEqual({ list: 1, update: 3 });
  });

  test('a large replacement lets others go first, and is then as the list is', async () => {
    const { inner, store, calls } = await observed();
    const edge = new EdgeStore(store);
    const sessions = Array.from({ length: 3000 }, (_, i) => `Session${String(i).padStart(5, '0')}`);
    const list = new Set(sessions);
    const replaced = edge.replaceRevocations(async () => ({ sessions: [...list], assets: [], before: 0 }));
    list.add('Urgent000000');
    await revoke(edge, ['Urgent000000']);
    expect([calls.update, (await inner.list()).entries.has('r/Urgent000000')]).toEqual([21, true]);
    expect(await replaced).toEqual({ published: 3001, omitted: { sessions: [], assets: [] } });
    expect((await inner.list()).entries.size).toBe(3001);
  });

  test('who reads while a change is on its way is not sent to the store', async () => {
    const { store, calls } = await observed();
    const edge = new EdgeStore(store);
    const sessions = Array.from({ length: 1000 }, (_, i) => `Session${String(i).padStart(5, '0')}`);
    const replaced = replaceSessions(edge, sessions);
    await expect.poll(() => calls.update).toBeGreaterThan(0);
    expect(await edge.blockedAssets()).toEqual(new Map());
    await replaced;
    expect(calls).toEqual({ list: 1, update: 20 });
  });

  test('a full store refuses a revocation and keeps its keys', async () => {
    const { inner, store } = await observed();
    const edge = new EdgeStore(store);
    await replaceKeys(edge, 'k1');
    let { etag } = await inner.list();
    const value = 'v'.repeat(1000);
    for (let i = 0; i < STORE_LIMITS.totalBytes / 1010 - 20; i += 50) {
      const puts = Array.from({ length: 50 }, (_, j) => ({ key: `x/${i + j}`, value }));
      etag = await inner.update({ puts, deletes: [] }, etag).catch(() => etag);
    }
    const flood = Array.from({ length: 5000 }, (_, i) => `Session${String(i).padStart(50, '0')}`);
    await expect(revoke(edge, flood)).rejects.toMatchObject({ code: 'ERR_STORE_LIMIT' });
    expect((await inner.list()).entries.has('k/k1')).toBe(true);
  });
});

describe('KeyValueStore: AWS alone', () => {
  test('reads one key in one call, and says nothing where there is none', async () => {
    const service = new KeyValueStoreService();
    service.put('modes', '[]');
    const store = new AwsKeyValueStore(service.client, STORE_ARN);
    expect([await store.get('modes'), await store.get('other')]).toEqual(['[]', undefined]);
    expect(service.calls).toEqual(['Get', 'Get']);
    service.before = () => {
      throw Object.assign(new Error('m'), { name: 'AccessDeniedException', $fault: 'client', $metadata: {} });
    };
    await expect(store.get('modes')).rejects.toMatchObject({ code: 'ERR_STORE_DENIED' });
  });

  const secret = '{"sign":"5ECR3T","bind":"5ECR3T","before":0}';
  const opened = () => {
    const service = new KeyValueStoreService();
    return { service, store: new AwsKeyValueStore(service.client, STORE_ARN) };
  };

  test('lists all pages, 50 entries each, and the ETag before and after them', async () => {
    const { service, store } = opened();
    for (let i = 0; i < 101; i++) service.put(`k${i}`, `${i}`);
    const { entries, etag } = await store.list();
    expect([entries.size, entries.get('k100'), etag]).toEqual([101, '100', 'KV102']);
    expect(service.calls).toEqual(['Describe', 'List', 'List', 'List', 'Describe']);
  });

  test('reads again when the store changed between pages', async () => {
    const { service, store } = opened();
    for (let i = 0; i < 60; i++) service.put(`k${i}`, 'old');
    let changes = 0;
    // The second page and the entry that was on the first: read once, they would be a state that never was.
    service.before = (call) => {
      if (call === 'List' && service.calls.filter((name) => name === 'List').length === 2 && changes++ === 0) {
        service.put('k0', 'new');
        service.put('k59', 'new');
      }
    };
    const { entries, etag } = await store.list();
    expect([entries.get('k0'), entries.get('k59'), etag]).toEqual(['new', 'new', 'KV63']);
    expect(service.calls.filter((name) => name === 'Describe')).toHaveLength(3);
    await store.update({ puts: [{ key: 'a', value: '1' }], deletes: [] }, etag);
  });

  test('gives up on a store that changes all the time', async () => {
    const { service, store } = opened();
    service.before = (call) => {
      if (call === 'List') service.put('k', String(service.calls.length));
    };
    await expect(store.list()).rejects.toMatchObject({
      code: 'ERR_STORE_ETAG',
      message: expect.stringContaining('try again when'),
    });
    expect(service.calls.filter((name) => name === 'List')).toHaveLength(5);
  });

  test('what cannot fit is not sent', async () => {
    const { service, store } = opened();
    const puts = [{ key: 'k', value: 'v'.repeat(1025) }];
    await expect(store.update({ puts, deletes: [] }, 'KV1')).rejects.toMatchObject({ code: 'ERR_STORE_LIMIT' });
    expect(service.calls).toEqual([]);
  });

  test('a store that is not there', async () => {
    const store = new AwsKeyValueStore(new KeyValueStoreService().client, `${STORE_ARN}0`);
    await expect(store.list()).rejects.toMatchObject({
      code: 'ERR_STORE_MISSING',
      message: expect.stringContaining('list-key-value-stores'),
    });
  });

  const about = (name: string, $fault: 'client' | 'server', message = 'No.', httpStatusCode = 400) =>
    Object.assign(new Error(message), { name, $fault, $metadata: { requestId: 'r-1', httpStatusCode } });
  test.each<[string, Error, string, RegExp]>([
    ['an update of another', about('ConflictException', 'client'), 'ERR_STORE_ETAG', /read it again/],
    [
      'a stale ETag told otherwise',
      about('ValidationException', 'client', 'Pre-Condition failed'),
      'ERR_STORE_ETAG',
      /read it again/,
    ],
    ['a full store', about('ServiceQuotaExceededException', 'client'), 'ERR_STORE_LIMIT', /remove entries/],
    [
      'an entry too large',
      about('ValidationException', 'client', `Value '${secret}' has a length above 1024`),
      'ERR_STORE_LIMIT',
      /5242880 bytes in all/,
    ],
    [
      'another validation',
      about('ValidationException', 'client', `Value '${secret}' is wrong`),
      'ERR_STORE_REFUSED',
      /ValidationException, request r-1/,
    ],
    [
      'no permission',
      about('AccessDeniedException', 'client', `not on ${secret}`),
      'ERR_STORE_DENIED',
      /cloudfront-keyvaluestore:UpdateKeys on arn:aws:cloudfront::123456789012:key-value-store/,
    ],
    ['throttling', about('ThrottlingException', 'client'), 'ERR_STORE_THROTTLED', /wait a minute/],
    ['throttling by status', about('UnknownError', 'client', '', 429), 'ERR_STORE_THROTTLED', /wait a minute/],
    ['a fault', about('InternalServerException', 'server'), 'ERR_STORE_UNAVAILABLE', /try again/],
    [
      'no connection',
      Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }),
      'ERR_STORE_UNAVAILABLE',
      /network/,
    ],
    ['expired credentials', about('ExpiredTokenException', 'client'), 'ERR_STORE_CREDENTIALS', /renew/],
    [
      'no credentials',
      Object.assign(new Error('none'), { name: 'CredentialsProviderError' }),
      'ERR_STORE_CREDENTIALS',
      /aws sso login/,
    ],
  ])('%s is told with what to do, and without an entry', async (_, error, code, message) => {
    const { service, store } = opened();
    service.before = () => {
      throw error;
    };
    const change = { puts: [{ key: 'k/k1', value: secret }], deletes: [] };
    const failure = await store.update(change, 'KV1').catch((caught: unknown) => caught);
    expect(failure).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(String((failure as Error).stack)).not.toContain('5ECR3T');
    await expect(store.list()).rejects.toMatchObject({ code });
  });

  test('an error of ours is no error of AWS', async () => {
    const { service, store } = opened();
    service.before = () => {
      throw new RangeError('ours');
    };
    await expect(store.list()).rejects.toThrow(RangeError);
  });

  test('signs with SigV4A, for the host of the account', async () => {
    const sent: { headers: Record<string, string>; hostname: string }[] = [];
    const client = new CloudFrontKeyValueStoreClient({
      region: 'eu-central-1',
      credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' },
      maxAttempts: 1,
      requestHandler: {
        async handle(request: { headers: Record<string, string>; hostname: string }) {
          sent.push(request);
          throw Object.assign(new Error('stopped'), { code: 'ECONNREFUSED' });
        },
      } as never,
    });
    await expect(new AwsKeyValueStore(client, STORE_ARN).list()).rejects.toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
    });
    expect(sent[0]?.headers.authorization).toMatch(/^AWS4-ECDSA-P256-SHA256 /);
    expect(sent[0]?.hostname).toMatch(/^123456789012\..*cloudfront-kvs/);
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
