import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { mockClient } from 'aws-sdk-client-mock';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type S3Logs, s3LogObjects } from '../../revocation/detect/s3.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';

const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const hour = (text: string) => Date.parse(text) / 1000;
const V1: S3Logs = { bucket: 'logs', prefix: 'cdn/', distributionId: 'E2ABC', layout: 'v1' };
const V2: S3Logs = { ...V1, layout: 'v2' };

describe.skipIf(!HAS_MOTO)(`LogObjects: S3 (moto_server)${HAS_MOTO ? '' : ' (not on the PATH)'}`, () => {
  const moto = useMoto();
  let client: S3Client;

  beforeAll(async () => {
    client = new S3Client({ ...(await moto()), forcePathStyle: true });
    await client.send(new CreateBucketCommand({ Bucket: 'logs' }));
    const put = (Key: string) => client.send(new PutObjectCommand({ Bucket: 'logs', Key, Body: Key }));
    for (const name of ['2026-11-21-23.aaaa', '2026-11-22-00.bbbb', '2026-11-22-13.cccc', '2026-11-22-13.dddd']) {
      await put(`cdn/E2ABC.${name}.gz`);
    }
    // Of another distribution, of another prefix, a folder marker, and something that somebody put there.
    await put('cdn/E2ABCD.2026-11-22-13.eeee.gz');
    await put('E2ABC.2026-11-22-13.ffff.gz');
    await put('cdn/E2ABC.readme.txt');
    await put('cdn/E2ABC/2026/11/22/13/');
    await put('cdn/E2ABC/2026/11/22/12/one.parquet');
    await put('cdn/E2ABC/2026/11/22/13/two.parquet');
    // Two pages of a listing: S3 ends one at 1,000 keys.
    const many = Array.from({ length: 1100 }, (_, i) => `cdn/E2MANY/2026/11/22/13/${i}.parquet`);
    for (let i = 0; i < many.length; i += 50) await Promise.all(many.slice(i, i + 50).map(put));
  }, 120_000);
  afterAll(() => client?.destroy());

  const names = async (logs: S3Logs, from: string) =>
    (await s3LogObjects(client, logs).list(hour(from))).map(({ name }) => name.replace('s3://logs/cdn/', ''));

  test('v1: from the hour on that is asked for, of this distribution alone', async () => {
    expect(await names(V1, '2026-11-22T00:59:59Z')).toEqual([
      'E2ABC.2026-11-22-00.bbbb.gz',
      'E2ABC.2026-11-22-13.cccc.gz',
      'E2ABC.2026-11-22-13.dddd.gz',
    ]);
    expect(await names(V1, '2026-11-21T00:00:00Z')).toHaveLength(4);
    expect(await names(V1, '2026-11-22T14:00:00Z')).toEqual([]);
    expect(await names(V1, '1970-01-01T00:00:00Z')).toHaveLength(4);
  });

  test('v2: from the hour on that is asked for', async () => {
    expect(await names(V2, '2026-11-22T12:30:00Z')).toEqual([
      'E2ABC/2026/11/22/12/one.parquet',
      'E2ABC/2026/11/22/13/two.parquet',
    ]);
    expect(await names(V2, '2026-11-22T13:00:00Z')).toEqual(['E2ABC/2026/11/22/13/two.parquet']);
  });

  test('an object has its hour, its size, and a version that changes with its content', async () => {
    const [object] = await s3LogObjects(client, V2).list(hour('2026-11-22T13:00:00Z'));
    const name = 's3://logs/cdn/E2ABC/2026/11/22/13/two.parquet';
    expect(object).toEqual({ name, bytes: 35, version: expect.any(String), hour: hour('2026-11-22T13:00:00Z') });
    const Key = 'cdn/E2ABC/2026/11/22/13/two.parquet';
    await client.send(new PutObjectCommand({ Bucket: 'logs', Key, Body: 'other' }));
    const [changed] = await s3LogObjects(client, V2).list(hour('2026-11-22T13:00:00Z'));
    expect(changed?.version).not.toBe(object?.version);
  });

  test('all pages of a listing', async () => {
    expect(await names({ ...V2, distributionId: 'E2MANY' }, '2026-11-22T13:00:00Z')).toHaveLength(1100);
  });

  test('a bucket that is not there is named, with what to do', async () => {
    await expect(s3LogObjects(client, { ...V1, bucket: 'none' }).list(0)).rejects.toThrow(
      expect.objectContaining({
        code: 'ERR_DETECTION_ACCESS',
        message: expect.stringMatching(/no bucket none; check/),
      }),
    );
  });
});

test.each([
  ['AccessDenied', 'ERR_DETECTION_ACCESS', /allow s3:ListBucket/],
  ['SlowDown', 'ERR_DETECTION_LOGS', /could not be listed: SlowDown/],
])('LogObjects: S3 that answers %s is %s', async (name, code, message) => {
  const service = mockClient(S3Client);
  service.rejects(Object.assign(new Error('of the service'), { name }));
  const objects = s3LogObjects(new S3Client({ region: 'us-east-1', credentials, maxAttempts: 1 }), V1);
  await expect(objects.list(0)).rejects.toThrow(
    expect.objectContaining({ code, message: expect.stringMatching(message) }),
  );
  service.restore();
});
