import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { ListMultipartUploadsCommand, type S3Client } from '@aws-sdk/client-s3';
import { afterAll, describe, expect, test } from 'vitest';
import { fileObjectStore } from '../../enclave-render/storage/files.ts';
import { type ObjectStore, StorageError } from '../../enclave-render/storage/object-store.ts';
import { s3Client, s3ObjectStore } from '../../enclave-render/storage/s3.ts';
import { isOnPath, LONG } from '../harness/programs.ts';
import { type MotoS3, startMotoS3 } from '../harness/s3.ts';

const MIB = 1 << 20;
const scratch = mkdtempSync(join(tmpdir(), 'portcullis-objects-'));

interface Opened {
  store: ObjectStore;
  /** How many uploads have been begun and neither completed nor aborted. */
  uploadsUnderWay(): Promise<number>;
}

let folders = 0;
async function openFolder(): Promise<Opened> {
  return { store: fileObjectStore(join(scratch, `store-${++folders}`)), uploadsUnderWay: async () => 0 };
}

let moto: Promise<MotoS3> | undefined;
const underWay = (client: S3Client, bucket: string, prefix: string) => async () =>
  (await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix }))).Uploads?.length ?? 0;

async function openMoto(): Promise<Opened> {
  moto ??= startMotoS3();
  const { client, makeBucket } = await moto;
  const bucket = `bucket-${randomUUID()}`;
  await makeBucket(bucket);
  return { store: s3ObjectStore(client, bucket), uploadsUnderWay: underWay(client, bucket, '') };
}

const awsBucket = process.env.PORTCULLIS_TEST_BUCKET;
const awsPrefix = `portcullis-test-${randomUUID()}/`;
/** The bucket of an account, below a prefix of this run. */
async function openAws(): Promise<Opened> {
  const client = s3Client(false);
  const prefix = `${awsPrefix}${randomUUID()}/`;
  const whole = s3ObjectStore(client, awsBucket ?? '');
  const own = <Info extends { key: string }>(info: Info) => ({ ...info, key: info.key.slice(prefix.length) });
  const store: ObjectStore = {
    put: async (key, source, options) => own(await whole.put(prefix + key, source, options)),
    async get(key, options) {
      const { info, body } = await whole.get(prefix + key, options);
      return { info: own(info), body };
    },
    head: async (key, options) => own(await whole.head(prefix + key, options)),
    async *list(within) {
      for await (const info of whole.list(prefix + within)) yield own(info);
    },
    delete: (key) => whole.delete(prefix + key),
  };
  return { store, uploadsUnderWay: underWay(client, awsBucket ?? '', prefix) };
}

afterAll(async () => {
  (await moto)?.stop();
  rmSync(scratch, { recursive: true });
  if (!awsBucket) return;
  const whole = s3ObjectStore(s3Client(false), awsBucket);
  for await (const { key } of whole.list(awsPrefix)) await whole.delete(key);
});

/** What an adapter, or what stands in for its service, does otherwise. */
interface Deviations {
  /** Has no content types. */
  contentTypes?: false;
  /** Encrypts nothing, and refuses to pretend. */
  encryption?: false;
  /** Takes `a` and `a/b` side by side. */
  nesting?: false;
  /** Knows nothing of SSE-C, stores in clear what asks for it, and does not say that it was encrypted. */
  customerKeys?: false;
  /** Has CRC32 where CRC64NVME should be, so that an object in several parts does not pass for whole. */
  wholeObjectChecksums?: false;
}

const ADAPTERS: [name: string, open: () => Promise<Opened>, isHere: boolean, Deviations][] = [
  ['a folder', openFolder, true, { contentTypes: false, encryption: false, nesting: false }],
  // moto 5.2.1, without the awscrt of Amazon.
  ['S3 (moto_server)', openMoto, isOnPath('moto_server'), { customerKeys: false, wholeObjectChecksums: false }],
  ['S3 (AWS, PORTCULLIS_TEST_BUCKET)', openAws, awsBucket !== undefined, {}],
];

const stream = (content: Uint8Array) => Readable.from([content], { objectMode: false });
const sha256 = (content: Uint8Array) => createHash('sha256').update(content).digest('base64');
async function keysOf(store: ObjectStore, prefix = ''): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}
/** A source that fails after so many bytes. */
function failing(after: number, error: Error): Readable {
  async function* bytes() {
    for (let sent = 0; sent < after; sent += MIB) yield Buffer.alloc(Math.min(MIB, after - sent), 7);
    throw error;
  }
  return Readable.from(bytes(), { objectMode: false });
}

for (const [name, open, isHere, deviations] of ADAPTERS) {
  describe.skipIf(!isHere)(`ObjectStore: ${name}${isHere ? '' : ' (not here)'}`, () => {
    /** An object as a whole; where its checksum cannot be right, it is refused, and its bytes are read in ranges. */
    async function contentOf(store: ObjectStore, key: string, sseKey?: Uint8Array): Promise<Buffer> {
      const { info, body } = await store.get(key, { sseKey });
      if (deviations.wholeObjectChecksums !== false || info.bytes <= 16 * MIB) return buffer(body);
      await expect(buffer(body)).rejects.toMatchObject({ name: 'StorageError', code: 'ERR_STORAGE_CHECKSUM' });
      const half = Math.floor(info.bytes / 2);
      const ranges: [number, number][] = [
        [0, half - 1],
        [half, info.bytes - 1],
      ];
      const parts = ranges.map(async (range) => buffer((await store.get(key, { sseKey, range })).body));
      return Buffer.concat(await Promise.all(parts));
    }

    const sizes = [0, 65_537, 16 * MIB, 16 * MIB + 1, ...(LONG ? [1, 35 * MIB] : [])];
    test.each(sizes)('%i bytes come back as they were', async (bytes) => {
      const { store, uploadsUnderWay } = await open();
      const content = randomBytes(bytes);
      const told: number[] = [];
      const options = { bytes, contentType: 'video/mp4', onProgress: (taken: number) => told.push(taken) };
      const put = await store.put('a/master.gcm', stream(content), options);
      expect(put).toMatchObject({ key: 'a/master.gcm', bytes, etag: expect.stringMatching(/^".+"$/) });
      if (put.sha256 !== undefined) expect(put.sha256).toBe(sha256(content));
      expect(told.at(-1) ?? 0).toBe(bytes);
      const head = await store.head('a/master.gcm');
      expect(head).toMatchObject({ key: 'a/master.gcm', bytes, etag: put.etag });
      if (deviations.contentTypes !== false) expect(head.contentType).toBe('video/mp4');
      expect((await contentOf(store, 'a/master.gcm')).equals(content)).toBe(true);
      expect(await uploadsUnderWay()).toBe(0);
    });

    test('a source of unknown length, in odd pieces', async () => {
      const { store } = await open();
      const pieces = Array.from({ length: 40 }, (_, i) => randomBytes(i * 20_011));
      await store.put('odd', Readable.from(pieces, { objectMode: false }));
      const { body } = await store.get('odd');
      expect((await buffer(body)).equals(Buffer.concat(pieces))).toBe(true);
    });

    test('an object is replaced as a whole; ifAbsent refuses that', async () => {
      const { store, uploadsUnderWay } = await open();
      await store.put('key', stream(Buffer.from('first')), { ifAbsent: true });
      await store.put('key', stream(Buffer.from('second')));
      const code = 'ERR_STORAGE_EXISTS';
      await expect(store.put('key', stream(Buffer.from('third')), { ifAbsent: true })).rejects.toMatchObject({ code });
      const large = stream(Buffer.alloc(17 * MIB));
      await expect(store.put('key', large, { ifAbsent: true })).rejects.toMatchObject({ code });
      expect(await uploadsUnderWay()).toBe(0);
      expect(String(await buffer((await store.get('key')).body))).toBe('second');
    });

    test('of two who put at once with ifAbsent one is refused, and the object is of one of them', async () => {
      const { store } = await open();
      const contents = [Buffer.alloc(100_000, 1), Buffer.alloc(100_000, 2)];
      const outcomes = await Promise.allSettled(contents.map((c) => store.put('key', stream(c), { ifAbsent: true })));
      const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code] : []));
      expect(refused).toEqual(['ERR_STORAGE_EXISTS']);
      const winner = contents[outcomes.findIndex(({ status }) => status === 'fulfilled')];
      expect((await buffer((await store.get('key')).body)).equals(winner ?? Buffer.alloc(0))).toBe(true);
    });

    test.each<[range: [number, number], part: [number, number]]>([
      [
        [0, 0],
        [0, 1],
      ],
      [
        [5, 9],
        [5, 10],
      ],
      [
        [90, 99],
        [90, 100],
      ],
      [
        [90, 5000],
        [90, 100],
      ],
    ])('a range %j', async (range, [start, end]) => {
      const { store } = await open();
      const content = randomBytes(100);
      await store.put('key', stream(content));
      const { info, body } = await store.get('key', { range });
      expect(info.bytes).toBe(100);
      expect((await buffer(body)).equals(content.subarray(start, end))).toBe(true);
    });

    test.each<[number, number]>([
      [100, 100],
      [5, 4],
      [-1, 4],
      [0.5, 4],
      [0, Number.NaN],
    ])('a range %f to %f is refused', async (first, last) => {
      const { store } = await open();
      await store.put('key', stream(Buffer.alloc(100)));
      await expect(store.get('key', { range: [first, last] })).rejects.toMatchObject({ code: 'ERR_STORAGE_INVALID' });
    });

    test('what is not there', async () => {
      const { store } = await open();
      const code = 'ERR_STORAGE_NOT_FOUND';
      await expect(store.get('none')).rejects.toMatchObject({ code, name: 'StorageError' });
      await expect(store.head('none/at/all')).rejects.toMatchObject({ code });
      await store.put('a', stream(Buffer.alloc(1)));
      await expect(store.head('a/b')).rejects.toMatchObject({ code });
      await store.delete('none');
      await store.delete('a/b');
      expect(await keysOf(store)).toEqual(['a']);
    });

    test('a listing is in the order of bytes, by prefix', async () => {
      const { store } = await open();
      const keys = ['a-b', 'a/1', 'a/b/2', 'a.txt', 'a0', 'B', 'é', '\u{1f600}', '\uffee', 'ab/c'];
      for (const key of keys) await store.put(key, stream(Buffer.from(key)));
      const inOrder = [...keys].sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
      expect(await keysOf(store)).toEqual(inOrder);
      expect(await keysOf(store, 'a')).toEqual(inOrder.filter((key) => key.startsWith('a')));
      expect(await keysOf(store, 'a/')).toEqual(['a/1', 'a/b/2']);
      expect(await keysOf(store, 'a/b/2')).toEqual(['a/b/2']);
      expect(await keysOf(store, '../')).toEqual([]);
    });

    test('what is deleted is gone, and its folder can be a key', async () => {
      const { store } = await open();
      await store.put('a/b/c', stream(Buffer.alloc(1)));
      await store.delete('a/b/c');
      expect(await keysOf(store)).toEqual([]);
      await store.put('a', stream(Buffer.alloc(1)));
      const below = store.put('a/b', stream(Buffer.alloc(1)));
      if (deviations.nesting === false) await expect(below).rejects.toMatchObject({ code: 'ERR_STORAGE_INVALID' });
      else await below;
    });

    test.each([
      '',
      '/etc/passwd',
      '../up',
      'a/../../up',
      'a/..',
      '.',
      'a//b',
      'a/',
      'nul\0',
      'line\nbreak',
      '\ud800',
      'k'.repeat(1025),
    ])('the key %j is refused, by all', async (key) => {
      const { store } = await open();
      const invalid = { code: 'ERR_STORAGE_INVALID' };
      const source = stream(Buffer.alloc(1));
      await expect(store.put(key, source)).rejects.toMatchObject(invalid);
      expect(source.destroyed).toBe(true);
      await expect(store.get(key)).rejects.toMatchObject(invalid);
      await expect(store.head(key)).rejects.toMatchObject(invalid);
      await expect(store.delete(key)).rejects.toMatchObject(invalid);
      expect(await keysOf(store)).toEqual([]);
    });

    // Before, within, between and after the parts of 16 MiB.
    const failures = [1000, 16 * MIB, 33 * MIB, ...(LONG ? [0, 15 * MIB, 17 * MIB, 32 * MIB, 49 * MIB] : [])];
    test.each(failures)(
      'a source that fails after %i bytes leaves nothing, and what was there stays',
      async (after) => {
        const { store, uploadsUnderWay } = await open();
        const error = Object.assign(new Error('the disk is on fire'), { code: 'ENOENT' });
        await expect(store.put('new', failing(after, error))).rejects.toBe(error);
        await store.put('old', stream(Buffer.from('old')));
        await expect(store.put('old', failing(after, error))).rejects.toBe(error);
        expect(await keysOf(store)).toEqual(['old']);
        expect(String(await buffer((await store.get('old')).body))).toBe('old');
        expect(await uploadsUnderWay()).toBe(0);
      },
    );

    test.each([
      [10, 9],
      [10, 11],
      [0, 1],
      [17 * MIB, 17 * MIB - 1],
      [17 * MIB, 17 * MIB + 1],
    ])('a source of %i bytes that were said to be %i is refused and leaves nothing', async (bytes, said) => {
      const { store, uploadsUnderWay } = await open();
      const put = store.put('key', stream(Buffer.alloc(bytes)), { bytes: said });
      await expect(put).rejects.toMatchObject({ code: 'ERR_STORAGE_INVALID' });
      expect(await keysOf(store)).toEqual([]);
      expect(await uploadsUnderWay()).toBe(0);
    });

    test('a source that is closed early is no source that ended', async () => {
      const { store } = await open();
      const source = new Readable({ read() {} });
      source.push(Buffer.alloc(1000));
      const put = store.put('key', source);
      setImmediate(() => source.destroy());
      await expect(put).rejects.toThrow(/premature/i);
      expect(await keysOf(store)).toEqual([]);
    });

    test.each([0, 1, 20])('a signal after %i MiB ends it, and nothing is left', async (after) => {
      const { store, uploadsUnderWay } = await open();
      const controller = new AbortController();
      const reason = new Error('enough');
      if (after === 0) controller.abort(reason);
      async function* bytes() {
        for (let sent = 0; sent < 60; sent++) {
          if (sent === after) controller.abort(reason);
          yield Buffer.alloc(MIB);
        }
      }
      const source = Readable.from(bytes(), { objectMode: false });
      await expect(store.put('key', source, { signal: controller.signal })).rejects.toBe(reason);
      expect(source.destroyed).toBe(true);
      expect(await keysOf(store)).toEqual([]);
      expect(await uploadsUnderWay()).toBe(0);
    });

    test.each([
      ...(LONG ? [{ type: 'SSE-S3' as const }, { type: 'DSSE-KMS' as const }] : []),
      { type: 'SSE-KMS' as const, context: { department: 'mastering' } },
      { type: 'SSE-C' as const, key: randomBytes(32) },
    ])('encryption $type, in one part and in several', async (encryption) => {
      const { store } = await open();
      const { type } = encryption;
      for (const bytes of [1000, 17 * MIB]) {
        const content = randomBytes(bytes);
        const put = store.put(`key-${bytes}`, stream(content), { encryption });
        if (deviations.encryption === false || (type === 'SSE-C' && deviations.customerKeys === false)) {
          await expect(put).rejects.toMatchObject({
            code: 'ERR_STORAGE_INVALID',
            message: expect.stringContaining(type),
          });
          expect(await keysOf(store)).toEqual([]);
          continue;
        }
        expect((await put).encryption).toMatchObject({ type });
        const sseKey = 'key' in encryption ? encryption.key : undefined;
        expect((await store.head(`key-${bytes}`, { sseKey })).encryption?.type).toBe(type);
        expect((await contentOf(store, `key-${bytes}`, sseKey)).equals(content)).toBe(true);
        if (type !== 'SSE-C') continue;
        for (const other of [undefined, randomBytes(32)]) {
          const read = store.get(`key-${bytes}`, { sseKey: other });
          await expect(read).rejects.toMatchObject({ code: expect.stringMatching(/INVALID|ACCESS/) });
        }
      }
    });

    test('an SSE-C key of another length is refused, and not told', async () => {
      const { store } = await open();
      const key = Buffer.from('0123456789abcdef');
      const error = await store.put('key', stream(Buffer.alloc(1)), { encryption: { type: 'SSE-C', key } }).then(
        () => undefined,
        (thrown: Error) => thrown,
      );
      expect(error).toBeInstanceOf(StorageError);
      expect(error).toMatchObject({ code: 'ERR_STORAGE_INVALID' });
      expect(error?.message).not.toContain('0123456789abcdef');
    });
  });
}
