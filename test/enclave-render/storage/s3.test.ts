import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import {
  ListMultipartUploadsCommand,
  PutBucketEncryptionCommand,
  PutBucketPolicyCommand,
  PutBucketVersioningCommand,
  PutPublicAccessBlockCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { mockClient } from 'aws-sdk-client-mock';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { checkBucket } from '../../../enclave-render/storage/bucket/check.ts';
import { bucketPolicy } from '../../../enclave-render/storage/bucket/policy.ts';
import { readBucket } from '../../../enclave-render/storage/bucket/s3.ts';
import { s3Client, s3ObjectStore } from '../../../enclave-render/storage/s3.ts';
import { isOnPath } from '../../harness/programs.ts';
import { clientOf, type Fault, type MotoS3, type Passing, startFaultyProxy, startMotoS3 } from '../../harness/s3.ts';

const MIB = 1 << 20;
const KEY = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';
const stream = (content: Uint8Array) => Readable.from([content], { objectMode: false });

const isHere = isOnPath('moto_server');
describe.skipIf(!isHere)(`S3 behind a connection that fails (moto_server)${isHere ? '' : ' (not on the PATH)'}`, () => {
  let moto: MotoS3;
  const proxies: { stop(): void }[] = [];
  beforeAll(async () => {
    moto = await startMotoS3();
  });
  afterAll(() => {
    for (const proxy of proxies) proxy.stop();
    moto?.stop();
  });

  async function behind(decide: (passing: Passing) => Fault | undefined, maxAttempts = 1) {
    const bucket = `bucket-${randomUUID()}`;
    await moto.makeBucket(bucket);
    const proxy = await startFaultyProxy(moto.endpoint, decide);
    proxies.push(proxy);
    const store = s3ObjectStore(clientOf(proxy.endpoint, maxAttempts), bucket);
    const direct = s3ObjectStore(moto.client, bucket);
    const left = async () => {
      const keys: string[] = [];
      for await (const { key } of direct.list('')) keys.push(key);
      const { Uploads = [] } = await moto.client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
      return { keys, uploads: Uploads.length };
    };
    return { store, direct, left, bucket };
  }
  const isPart = (n: number) => (passing: Passing) => passing.url.searchParams.get('partNumber') === String(n);
  const isComplete = ({ method, url }: Passing) => method === 'POST' && url.searchParams.has('uploadId');
  const isCreate = ({ method, url }: Passing) => method === 'POST' && url.searchParams.has('uploads');
  const isAbort = ({ method }: Passing) => method === 'DELETE';
  const isGet = ({ method }: Passing) => method === 'GET';
  const isPut = ({ method }: Passing) => method === 'PUT';

  test.each<[string, (passing: Passing) => boolean, Fault]>([
    ['the only part', isPut, 'cut before'],
    ['the beginning', isCreate, 'cut before'],
    ['part 1', isPart(1), 'cut before'],
    ['part 2', isPart(2), 'lose the reply'],
    ['the last part', isPart(3), 'cut before'],
    ['the completion', isComplete, 'cut before'],
    ['a part that arrives damaged', isPart(2), { status: 400, body: '<Error><Code>BadDigest</Code></Error>' }],
    [
      'a completion whose checksum is wrong',
      isComplete,
      { status: 400, body: '<Error><Code>BadDigest</Code></Error>' },
    ],
    [
      'a completion that fails after its 200',
      isComplete,
      { status: 200, body: '<Error><Code>InternalError</Code></Error>' },
    ],
    ['a policy', isPart(1), { status: 403, body: '<Error><Code>AccessDenied</Code></Error>' }],
  ])('%s: nothing is left', async (name, where, fault) => {
    const { store, left } = await behind((passing) => (where(passing) ? fault : undefined));
    const bytes = name === 'the only part' ? 1000 : 40 * MIB;
    const source = stream(Buffer.alloc(bytes));
    const code = /damaged|checksum/.test(name) ? 'CHECKSUM' : name === 'a policy' ? 'ACCESS' : 'UNAVAILABLE';
    await expect(store.put('key', source)).rejects.toMatchObject({ name: 'StorageError', code: `ERR_STORAGE_${code}` });
    expect(source.destroyed).toBe(true);
    expect(await left()).toEqual({ keys: [], uploads: 0 });
  });

  test('parts that are sent again after a lost reply do not change the object', async () => {
    const lost = new Set<string>();
    const { store, direct } = await behind((passing) => {
      const part = passing.url.searchParams.get('partNumber');
      if (!part || lost.has(part)) return undefined;
      lost.add(part);
      return 'lose the reply';
    }, 3);
    const content = randomBytes(40 * MIB);
    await store.put('key', stream(content));
    expect([...lost].sort()).toEqual(['1', '2', '3']);
    const { body } = await direct.get('key', { range: [MIB, 39 * MIB] });
    expect((await buffer(body)).equals(content.subarray(MIB, 39 * MIB + 1))).toBe(true);
  });

  test('a completion whose reply is lost says that the object may be there', async () => {
    const { store, left } = await behind((passing) => (isComplete(passing) ? 'lose the reply' : undefined));
    await expect(store.put('key', stream(Buffer.alloc(17 * MIB)))).rejects.toMatchObject({
      code: 'ERR_STORAGE_UNAVAILABLE',
      message: expect.stringContaining('the object may be there'),
    });
    expect(await left()).toEqual({ keys: ['key'], uploads: 0 });
  });

  test('parts that cannot be removed are told, with the command that removes them', async () => {
    const { store, left } = await behind((passing) =>
      isPart(2)(passing) || isAbort(passing) ? 'cut before' : undefined,
    );
    await expect(store.put('key', stream(Buffer.alloc(40 * MIB)))).rejects.toMatchObject({
      code: 'ERR_STORAGE_UNAVAILABLE',
      message: expect.stringMatching(/abort-multipart-upload --bucket \S+ --key key --upload-id \S+$/),
    });
    expect(await left()).toEqual({ keys: [], uploads: 1 });
  });

  test.each<[string, Fault, string]>([
    ['is cut', 'cut the reply', 'ERR_STORAGE_UNAVAILABLE'],
    ['has a bit flipped', 'flip a bit of the reply', 'ERR_STORAGE_CHECKSUM'],
  ])('a body that %s is not one that ended', async (_, fault, code) => {
    const { store, direct } = await behind((passing) => (isGet(passing) ? fault : undefined));
    await direct.put('key', stream(randomBytes(300_000)), { bytes: 300_000 });
    const { body } = await store.get('key');
    await expect(buffer(body)).rejects.toMatchObject({ name: 'StorageError', code });
  });

  /** CRC-64/NVME, bit by bit (reflected, polynomial 0xad93d23594c93659). */
  function crc64(content: Uint8Array): string {
    const polynomial = 0x9a6c9329ac4bc9b5n;
    const table = Array.from({ length: 256 }, (_, byte) => {
      let crc = BigInt(byte);
      for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ polynomial : crc >> 1n;
      return crc;
    });
    let crc = 0xffffffffffffffffn;
    for (const byte of content) crc = (table[Number((crc ^ BigInt(byte)) & 0xffn)] ?? 0n) ^ (crc >> 8n);
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(crc ^ 0xffffffffffffffffn);
    return bytes.toString('base64');
  }

  test('what S3 is asked to hold the content against', async () => {
    expect(crc64(Buffer.from('123456789'))).toBe(Buffer.from('ae8b14860a799888', 'hex').toString('base64'));
    const seen: Passing[] = [];
    const { store } = await behind((passing) => void seen.push(passing));
    const encryption = { type: 'SSE-KMS' as const, keyId: KEY, context: { department: 'mastering' } };
    const content = randomBytes(17 * MIB);
    await store.put('large', stream(content), { bytes: content.length, encryption, ifAbsent: true });
    await store.put('small', stream(content.subarray(0, 9)), { bytes: 9, encryption: { type: 'SSE-S3' } });
    const [create, last] = [seen.find(isCreate)?.headers, seen.find(isPart(2))?.headers];
    const [complete, put] = [seen.find(isComplete)?.headers, seen.at(-1)?.headers];
    expect(create).toMatchObject({
      'x-amz-checksum-algorithm': 'CRC64NVME',
      'x-amz-checksum-type': 'FULL_OBJECT',
      'x-amz-server-side-encryption': 'aws:kms',
      'x-amz-server-side-encryption-aws-kms-key-id': KEY,
      'x-amz-server-side-encryption-context': Buffer.from('{"department":"mastering"}').toString('base64'),
    });
    expect(last?.['x-amz-checksum-crc64nvme']).toBe(crc64(content.subarray(16 * MIB)));
    expect(complete).toMatchObject({ 'x-amz-checksum-type': 'FULL_OBJECT', 'x-amz-mp-object-size': `${17 * MIB}` });
    expect(complete?.['if-none-match']).toBe('*');
    expect(put).toMatchObject({
      'x-amz-server-side-encryption': 'AES256',
      'x-amz-checksum-sha256': expect.any(String),
    });
  });

  test('SSE-C sends its three headers with every call that needs them', async () => {
    const seen: Passing[] = [];
    const { store } = await behind((passing) => void seen.push(passing));
    const key = Buffer.alloc(32, 200);
    const name = 'x-amz-server-side-encryption-customer';
    const expected = {
      [`${name}-algorithm`]: 'AES256',
      [`${name}-key`]: key.toString('base64'),
      [`${name}-key-md5`]: expect.stringMatching(/^.{22}==$/),
    };
    // moto does not encrypt, which is noticed.
    await expect(
      store.put('key', stream(Buffer.alloc(17 * MIB)), { encryption: { type: 'SSE-C', key } }),
    ).rejects.toThrow(/was not encrypted as SSE-C asks/);
    for (const which of [isCreate, isPart(1), isPart(2)]) expect(seen.find(which)?.headers).toMatchObject(expected);
    await store.put('key', stream(Buffer.alloc(1)));
    await buffer((await store.get('key', { sseKey: key })).body);
    expect(seen.at(-1)?.headers).toMatchObject(expected);
  });

  test('a bucket as it is set, before and after', async () => {
    const Bucket = `bucket-${randomUUID()}`;
    await moto.makeBucket(Bucket);
    const bare = await readBucket(moto.client, Bucket);
    expect(bare.policy).toEqual({ Statement: [] });
    expect(bare.settings).toMatchObject({ versioning: false, restrictsPublicPolicy: false, blockedEncryption: [] });
    expect(checkBucket({ bucket: Bucket, ...bare }).safe).toBe(false);

    const put = moto.client;
    const Policy = JSON.stringify(bucketPolicy({ bucket: Bucket, kmsKey: KEY }));
    await put.send(new PutBucketPolicyCommand({ Bucket, Policy }));
    const rule = { ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'aws:kms' as const, KMSMasterKeyID: KEY } };
    const ServerSideEncryptionConfiguration = { Rules: [rule] };
    await put.send(new PutBucketEncryptionCommand({ Bucket, ServerSideEncryptionConfiguration }));
    await put.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Enabled' } }));
    const all = { BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true };
    await put.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration: all }));
    const set = await readBucket(moto.client, Bucket);
    expect(set.settings).toEqual({
      defaultEncryption: { type: 'SSE-KMS', keyId: KEY },
      blockedEncryption: [],
      restrictsPublicPolicy: true,
      ignoresAcls: true,
      versioning: true,
    });
    expect(checkBucket({ bucket: Bucket, ...set })).toMatchObject({ safe: true, notes: [] });
  });

  test('settings that may not be read are unreadable, and a bucket that is not there is no safe one', async () => {
    const denied = { status: 403, body: '<Error><Code>AccessDenied</Code></Error>' };
    const { bucket } = await behind(() => undefined);
    const proxy = await startFaultyProxy(moto.endpoint, () => denied);
    proxies.push(proxy);
    const { policy, settings } = await readBucket(clientOf(proxy.endpoint), bucket);
    expect([policy, ...Object.values(settings)]).toEqual(Array.from({ length: 6 }, () => 'unreadable'));
    await expect(readBucket(moto.client, 'none')).rejects.toMatchObject({ code: 'ERR_STORAGE_NOT_FOUND' });
  });

  test('what is not there', async () => {
    const store = s3ObjectStore(moto.client, 'no-such-bucket');
    await expect(store.put('key', stream(Buffer.alloc(1)))).rejects.toMatchObject({
      code: 'ERR_STORAGE_NOT_FOUND',
      message: expect.stringContaining('no such bucket'),
    });
  });
});

describe('S3', () => {
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  test.each(['environment', 'option'])('over plain HTTP is refused before anything is sent: by %s', async (by) => {
    // A server of this machine, under an address that is none of loopback.
    let connections = 0;
    const server = createServer(() => connections++).listen(0, '0.0.0.0');
    await once(server, 'listening');
    const endpoint = `http://0.0.0.0:${(server.address() as AddressInfo).port}`;
    const environment = { AWS_ENDPOINT_URL: endpoint, AWS_REGION: 'us-east-1', AWS_EC2_METADATA_DISABLED: 'true' };
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    const client =
      by === 'environment'
        ? s3Client(true)
        : new S3Client({ endpoint, region: 'us-east-1', credentials, maxAttempts: 1 });
    const store = s3ObjectStore(client, 'masters');
    const refused = { code: 'ERR_STORAGE_INVALID', message: expect.stringContaining('https://') };
    const encryption = { type: 'SSE-C' as const, key: Buffer.alloc(32, 200) };
    try {
      await expect(store.put('key', stream(Buffer.alloc(1)), { encryption })).rejects.toMatchObject(refused);
      await expect(store.put('key', stream(Buffer.alloc(17 * MIB)))).rejects.toMatchObject(refused);
      await expect(store.get('key', { sseKey: encryption.key })).rejects.toMatchObject(refused);
      await expect(store.head('key')).rejects.toMatchObject(refused);
      await expect(store.delete('key')).rejects.toMatchObject(refused);
      await expect(store.list('')[Symbol.asyncIterator]().next()).rejects.toMatchObject(refused);
      await expect(readBucket(client, 'masters')).rejects.toMatchObject(refused);
      expect(connections).toBe(0);
    } finally {
      vi.unstubAllEnvs();
      server.close();
    }
  });

  test.each([
    ['AccessDenied', 'ERR_STORAGE_ACCESS'],
    ['ExpiredToken', 'ERR_STORAGE_ACCESS'],
    ['CredentialsProviderError', 'ERR_STORAGE_ACCESS'],
    ['KMS.DisabledException', 'ERR_STORAGE_ACCESS'],
    ['KMS.KMSInvalidStateException', 'ERR_STORAGE_INVALID'],
    ['SlowDown', 'ERR_STORAGE_UNAVAILABLE'],
    ['TimeoutError', 'ERR_STORAGE_UNAVAILABLE'],
    ['ConditionalRequestConflict', 'ERR_STORAGE_EXISTS'],
    ['InvalidRequest', 'ERR_STORAGE_INVALID'],
  ])('that answers %s is %s, and names the object', async (name, code) => {
    const client = new S3Client({ region: 'us-east-1', credentials, maxAttempts: 1 });
    mockClient(client).rejects(Object.assign(new Error('of the service'), { name, $fault: 'client', $metadata: {} }));
    const store = s3ObjectStore(client, 'masters');
    const expected = { code, message: expect.stringContaining('s3://masters/key') };
    await expect(store.put('key', stream(Buffer.alloc(1)))).rejects.toMatchObject(expected);
    await expect(store.get('key')).rejects.toMatchObject(expected);
    await expect(store.head('key')).rejects.toMatchObject(expected);
  });

  test('an encryption context of S3 itself is refused', async () => {
    const store = s3ObjectStore(new S3Client({ region: 'us-east-1', credentials }), 'masters');
    const encryption = { type: 'SSE-KMS' as const, context: { 'aws:s3:arn': 'arn:aws:s3:::other/key' } };
    await expect(store.put('key', stream(Buffer.alloc(1)), { encryption })).rejects.toMatchObject({
      code: 'ERR_STORAGE_INVALID',
    });
  });
});
