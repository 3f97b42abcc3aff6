import { randomBytes } from 'node:crypto';
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { handle, type LambdaEvent } from 'hono/aws-lambda';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { EmbeddedKms } from '../../../enclave-render/kms/embedded.ts';
import { contentKeyContext, contentKeysFrom } from '../../../enclave-render/packaging/content-keys.ts';
import { createKeyServer } from '../../../enclave-render/packaging/key-server.ts';
import { type KeyTable, parseKeyTable, type WrappedContentKey } from '../../../enclave-render/packaging/key-table.ts';
import { UnwrappedKeys } from '../../../enclave-render/packaging/unwrapped-keys.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

const ALIAS = 'alias/test';
const keystore = join(scratch, 'keystore.json');
const kms = new EmbeddedKms({ keystore });
/** The content keys of the title `films/aurora`, in clear. */
const clear = new Map<string, Buffer>();
const table: KeyTable = { format: 'portcullis-content-keys/1', keys: [] };

beforeAll(async () => {
  await kms.createKey({ alias: ALIAS });
  const newKey = contentKeysFrom(kms, ALIAS);
  for (const name of ['0f-1', '0f-2', '0f-audio-3']) {
    const { plaintext, wrapped } = await newKey(name);
    clear.set(name, Buffer.from(plaintext));
    table.keys.push(wrapped);
  }
});

/** What KMS was asked to decrypt, by the name of the key, from its audit trail. */
const decrypts = () =>
  readFileSync(`${keystore}.audit.jsonl`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
    .filter(({ operation }) => operation === 'Decrypt')
    .map(({ context }) => context.name);

let reported: string[];
let before: number;
beforeEach(() => {
  reported = [];
  before = decrypts().length;
});
const newDecrypts = () => decrypts().slice(before).sort();

function keyServer(
  titles: Record<string, KeyTable> = { 'films/aurora': table },
  dataKeys: Pick<EmbeddedKms, 'decrypt'> = kms,
) {
  const server = createKeyServer({
    readKeyTable: async (title) => titles[title],
    dataKeys,
    report: (line) => reported.push(line),
  });
  return (path: string, method = 'GET') => server.request(path, { method });
}

async function bodyOf(answer: Response): Promise<Buffer> {
  return Buffer.from(await answer.arrayBuffer());
}

describe('a key server', () => {
  test('answers with the 16 bytes, which nobody may store', async () => {
    const ask = keyServer();
    const answer = await ask('/films/aurora/keys/0f-1.key');
    expect(answer.status).toBe(200);
    const headers = ['cache-control', 'content-length', 'content-type'].map((name) => answer.headers.get(name));
    expect(headers).toEqual(['no-store', '16', 'application/octet-stream']);
    expect(await bodyOf(answer)).toEqual(clear.get('0f-1'));
    const head = await ask('/films/aurora/keys/0f-1.key', 'HEAD');
    expect([head.status, head.headers.get('content-length'), (await bodyOf(head)).length]).toEqual([200, '16', 0]);
    expect(reported).toEqual([]);
  });

  test('asks KMS once for each key, however many viewers come at once and after that', async () => {
    const ask = keyServer();
    const viewers = Array.from({ length: 300 }, (_, i) => [...clear.keys()][i % clear.size] as string);
    for (let round = 0; round < 3; round++) {
      const got = await Promise.all(viewers.map(async (name) => bodyOf(await ask(`/films/aurora/keys/${name}.key`))));
      expect(got).toEqual(viewers.map((name) => clear.get(name)));
    }
    expect(newDecrypts()).toEqual([...clear.keys()].sort());
  });

  test.each([
    '/films/aurora/keys/0f-9.key',
    '/films/none/keys/0f-1.key',
    '/films/aurora/keys/0f-1',
    '/films/aurora/keys/0F-1.key',
    '/films/aurora/keys/.key',
    '/films/aurora/keys/keys.json',
    '/films/aurora/keys.json',
    '/films/aurora/keys/',
    '/films/aurora/keys/sub/0f-1.key',
    '/keys/0f-1.key',
    '//films/aurora/keys/0f-1.key',
    '/films//aurora/keys/0f-1.key',
    '/films/.aurora/keys/0f-1.key',
    '/films/aurora/%6beys/0f-1.key',
    '/films/aurora/keys/0f%2d1.key',
    '/films%2faurora/keys/0f-1.key',
    '/films/aurora/keys/0f-1.key%00',
    `/films/aurora/keys/${'a'.repeat(129)}.key`,
    `/${'a/'.repeat(2000)}keys/.key`,
  ])('%s is not there', async (path) => {
    const answer = await keyServer()(path);
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([404, 'no-store']);
    expect(await answer.json()).toMatchObject({ code: 'ERR_KEY_NOT_FOUND' });
    expect(newDecrypts()).toEqual([]);
  });

  test('runs as a Lambda function: the bytes come out of it as base64', async () => {
    const server = createKeyServer({ readKeyTable: async () => table, dataKeys: kms, report: () => {} });
    const requestContext = { domainName: 'keys.example.com', http: { method: 'GET', path: '' } };
    const event = {
      version: '2.0',
      rawPath: '/films/aurora/keys/0f-1.key',
      rawQueryString: '',
      headers: {},
      requestContext,
    };
    const answer = await handle(server)(event as unknown as LambdaEvent);
    expect(answer).toMatchObject({
      ...{ statusCode: 200, isBase64Encoded: true, body: clear.get('0f-1')?.toString('base64') },
      headers: { 'cache-control': 'no-store' },
    });
  });

  test('a key that was made after a viewer asked for it in vain is served', async () => {
    const titles: Record<string, KeyTable> = { live: { ...table, keys: [] } };
    const ask = keyServer(titles);
    expect((await ask('/live/keys/0f-1.key')).status).toBe(404);
    titles.live = table;
    expect(await bodyOf(await ask('/live/keys/0f-1.key'))).toEqual(clear.get('0f-1'));
  });

  test.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('%s is refused', async (method) => {
    const answer = await keyServer()('/films/aurora/keys/0f-1.key', method);
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  });

  test('without KMS it asks players to come again, holds nothing, and serves as soon as KMS is back', async () => {
    const ask = keyServer();
    await kms.disableKey(ALIAS);
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask('/films/aurora/keys/0f-1.key')));
    for (const answer of answers) {
      expect([answer.status, answer.headers.get('retry-after'), answer.headers.get('cache-control')]).toEqual([
        ...[503, '2', 'no-store'],
      ]);
      expect(await answer.json()).toEqual({
        ...{ type: 'about:blank', title: 'Service Unavailable', status: 503, code: 'ERR_KEY_UNAVAILABLE' },
      });
    }
    expect(reported).toEqual([
      expect.stringMatching(/^key 0f-1 of films\/aurora cannot be served: ERR_KMS_DISABLED: /),
    ]);
    await kms.enableKey(ALIAS);
    expect(await bodyOf(await ask('/films/aurora/keys/0f-1.key'))).toEqual(clear.get('0f-1'));
  });

  test('a table that cannot be read is a matter of waiting too', async () => {
    const readKeyTable = () => Promise.reject(new Error('no answer'));
    const server = createKeyServer({ readKeyTable, dataKeys: kms, report: (line) => reported.push(line) });
    expect((await server.request('/aurora/keys/0f-1.key')).status).toBe(503);
    expect(reported).toEqual(['key 0f-1 of aurora cannot be served: ERR_INTERNAL: no answer']);
  });

  describe('whoever can write a table', () => {
    const served = async (entry: Partial<WrappedContentKey>) => {
      const [first] = table.keys;
      const titles = { mine: { ...table, keys: [{ ...(first as WrappedContentKey), ...entry }] } };
      const answer = await keyServer(titles)('/mine/keys/0f-1.key');
      return [answer.status, ((await answer.json()) as { code: string }).code];
    };

    test('gets no key of a master decrypted by it', async () => {
      const context = { purpose: 'master' };
      const { encrypted } = await kms.generate(ALIAS, 128, context);
      const encryptedKey = Buffer.from(encrypted).toString('base64');
      expect(await served({ encryptedKey, context })).toEqual([500, 'ERR_KEY_DAMAGED']);
      expect(await served({ encryptedKey, context: contentKeyContext('0f-1') })).toEqual([500, 'ERR_KEY_DAMAGED']);
      expect(reported.join()).toMatch(/ERR_PACKAGE_KEY_TABLE.*ERR_KMS_INVALID_CIPHERTEXT/);
      expect(newDecrypts()).toEqual(['0f-1']);
    });

    test('puts no key under the name of another', async () => {
      const [, second] = table.keys;
      expect(await served({ encryptedKey: second?.encryptedKey ?? '' })).toEqual([500, 'ERR_KEY_DAMAGED']);
      expect(await served({ ...second, name: '0f-1' })).toEqual([500, 'ERR_KEY_DAMAGED']);
    });

    test('gets no longer secret out of it', async () => {
      const { encrypted } = await kms.encrypt(ALIAS, randomBytes(32), contentKeyContext('0f-1'));
      const encryptedKey = Buffer.from(encrypted).toString('base64');
      expect(await served({ encryptedKey })).toEqual([500, 'ERR_KEY_DAMAGED']);
      expect(reported).toEqual([expect.stringContaining('has 32 bytes')]);
    });
  });

  test('no key is in what it reports', async () => {
    chmodSync(keystore, 0o644);
    expect((await keyServer()('/films/aurora/keys/0f-2.key')).status).toBe(503);
    chmodSync(keystore, 0o600);
    expect(reported).toEqual([expect.stringContaining('ERR_KMS_KEYSTORE')]);
    for (const [name, key] of clear) {
      for (const form of ['hex', 'base64', 'base64url'] as const)
        expect(reported.join()).not.toContain(key.toString(form));
      const wrapped = table.keys.find((entry) => entry.name === name)?.encryptedKey ?? '';
      expect(reported.join()).not.toContain(wrapped);
    }
  });
});

describe('keys in memory', () => {
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const key = (byte: number) => new Uint8Array(16).fill(byte);

  test('are so many at most, and overwritten when they go', async () => {
    const keys = new UnwrappedKeys(2);
    const held = [1, 2, 3].map(key);
    for (const each of held) await keys.get(`${each[0]}`, async () => each);
    await turn();
    expect(held.map(([first]) => first)).toEqual([0, 2, 3]);
    keys.clear();
    await turn();
    expect(held.map(([first]) => first)).toEqual([0, 0, 0]);
  });

  test('those who wait get theirs whole, also when it is pushed out at once', async () => {
    const keys = new UnwrappedKeys(1);
    const all = await Promise.all(
      Array.from({ length: 60 }, (_, i) => keys.get(`${i % 6}`, async () => key((i % 6) + 1))),
    );
    expect(all).toEqual(all.map((_, i) => key((i % 6) + 1)));
  });

  test('go after a time, also when nobody asks again', async () => {
    const keys = new UnwrappedKeys(10, 20);
    const first = key(7);
    await keys.get('a', async () => first);
    await expect.poll(() => first).toEqual(key(0));
    expect(await keys.get('a', async () => key(8))).toEqual(key(8));
  });
});

describe('a key table', () => {
  test('is read as it was written', () => {
    expect(parseKeyTable(JSON.stringify(table))).toEqual(table);
  });

  test.each([
    ['', 'is not JSON'],
    ['{}', 'at format'],
    [JSON.stringify({ format: 'portcullis-content-keys/2', keys: [] }), 'at format'],
    [JSON.stringify({ format: 'portcullis-content-keys/1', keys: [{ name: '../x' }] }), 'at keys.0.name'],
    [
      JSON.stringify({
        format: 'portcullis-content-keys/1',
        keys: [{ name: 'x', encryptedKey: 'SECRET!', keyId: 'k', context: {} }],
      }),
      'at keys.0.encryptedKey',
    ],
  ])('%s is refused', (json, where) => {
    const refusal = () => parseKeyTable(json);
    expect(refusal).toThrow(expect.objectContaining({ code: 'ERR_PACKAGE_KEY_TABLE' }));
    expect(refusal).toThrow(where);
    expect(refusal).not.toThrow('SECRET');
  });
});
