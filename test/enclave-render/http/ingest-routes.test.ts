import { createHmac, randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { IngestError, type IngestedJob } from '../../../enclave-render/host/ingest.ts';
import { createIngestRoutes } from '../../../enclave-render/http/ingest-routes.ts';

const SECRET = randomBytes(32);
const NEXT_SECRET = randomBytes(48);
const NOW = 1_800_000_000;

const taken: IngestedJob[] = [];
const reported: string[] = [];
let failure: Error | undefined;
const objects = new Map([
  ['masters/jobs/new film.job.json', '{"template":"transcode"}'],
  ['masters/jobs/broken.job.json', 'no job'],
]);
const read: string[] = [];

const app = createIngestRoutes({
  onJob: async (job) => {
    if (failure) throw failure;
    taken.push(job);
  },
  secrets: [SECRET, NEXT_SECRET],
  readObject: async (bucket, key, etag) => {
    read.push(`${bucket}/${key}@${etag}`);
    if (etag === 'replaced') return undefined;
    const text = objects.get(`${bucket}/${key}`);
    if (text === undefined) throw new IngestError('ERR_INGEST_REFUSED', 'there is no such object');
    return text;
  },
  now: () => NOW,
  report: (line) => reported.push(line),
});
const server = createAdaptorServer({ fetch: app.fetch });
let url: string;
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/render/jobs`;
});
afterAll(() => server.close());
afterEach(() => {
  taken.length = 0;
  reported.length = 0;
  read.length = 0;
  failure = undefined;
});

const sign = (body: string | Uint8Array, time: number | string = NOW, secret: Uint8Array = SECRET) =>
  `t=${time},v1=${createHmac('sha256', secret).update(`${time}.`).update(body).digest('hex')}`;
async function post(body: string | Uint8Array, signature: string | undefined = sign(body)) {
  const headers = {
    'content-type': 'application/json',
    ...(signature === '' ? {} : { 'x-portcullis-signature': signature }),
  };
  // A connection of its own: that of a refused upload closes when it likes.
  const response = await fetch(url, {
    method: 'POST',
    body: body as BodyInit,
    headers: { ...headers, connection: 'close' },
  });
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    body: (await response.json()) as { code?: string },
  };
}
const job = JSON.stringify({ template: 'transcode', parameters: { Text: 'Ann Example' } });
const record = (key: string, more: object = {}) => ({
  eventVersion: '2.1',
  eventSource: 'aws:s3',
  eventName: 'ObjectCreated:Put',
  s3: { bucket: { name: 'masters', arn: 'arn:aws:s3:::masters' }, object: { key, size: 1, eTag: 'e1' } },
  ...more,
});
const event = (...records: object[]) => JSON.stringify({ Records: records });

describe('a job that comes in by HTTP', () => {
  test('is taken, under either secret', async () => {
    for (const secret of [SECRET, NEXT_SECRET]) {
      expect(await post(job, sign(job, NOW, secret))).toMatchObject({ status: 202, body: { jobs: 1 } });
    }
    // The same job is the same, so that it is rendered once.
    expect(taken[0]).toEqual({ id: expect.stringMatching(/^webhook-[0-9a-f]{16}$/), text: job });
    expect(taken[1]).toEqual(taken[0]);
    await post(`${job} `);
    expect(taken[2]?.id).not.toBe(taken[0]?.id);
  });

  test.each<[string, () => string]>([
    ['no signature', () => ''],
    ['another secret', () => sign(job, NOW, randomBytes(32))],
    ['another body', () => sign(`${job} `)],
    ['a time that is not the signed one', () => sign(job).replace(`t=${NOW}`, `t=${NOW + 1}`)],
    ['a time that is over', () => sign(job, NOW - 301)],
    ['a time to come', () => sign(job, NOW + 301)],
    ['no time', () => sign(job, '')],
    ['two signatures', () => `${sign(job)},${sign(job)}`],
    ['half a signature', () => sign(job).slice(0, -32)],
    ['a signature of nothing', () => `t=${NOW},v1=`],
    ['capital letters', () => sign(job).toUpperCase()],
  ])('is not taken with %s', async (_, signature) => {
    expect(await post(job, signature())).toMatchObject({
      status: 401,
      type: 'application/problem+json',
      body: { code: 'ERR_INGEST_SIGNATURE' },
    });
    expect(taken).toEqual([]);
  });

  test.each(['', '{', '[]', 'null', '1', '{"Records":[]}', '{"Records":1}'])(
    'is not taken when its body is %j',
    async (body) => {
      expect(await post(body)).toMatchObject({ status: 400, body: { code: 'ERR_INGEST_BODY' } });
    },
  );

  test('is not taken when its body is no UTF-8', async () => {
    const body = Buffer.from(job);
    body[3] = 0xff;
    expect(await post(body)).toMatchObject({ status: 400, body: { code: 'ERR_INGEST_BODY' } });
  });

  test('is not taken when it is too long, said beforehand or not', async () => {
    const long = 'a'.repeat(2 << 20);
    expect(await post(long, '')).toMatchObject({ status: 413, body: { code: 'ERR_INGEST_TOO_LARGE' } });
    const stream = new ReadableStream({
      async start(controller) {
        for (let pieces = 0; pieces < 32; pieces++) {
          await new Promise(setImmediate);
          controller.enqueue(new Uint8Array(1 << 16));
        }
        controller.close();
      },
    });
    const unannounced = await fetch(url, { method: 'POST', body: stream, duplex: 'half' } as RequestInit);
    expect(unannounced.status).toBe(413);
    await unannounced.text();
  });

  test('is refused by its own code, or later, without a word of what failed', async () => {
    failure = new IngestError('ERR_INGEST_REFUSED', 'of no owner that is known here');
    expect(await post(job)).toMatchObject({ status: 422, body: { code: 'ERR_INGEST_REFUSED' } });
    failure = Object.assign(new Error(`no queue for Ann Example`), { code: 'ECONNREFUSED' });
    const later = await post(job);
    expect(later).toMatchObject({ status: 503, body: { code: 'ERR_INGEST_UNAVAILABLE' } });
    expect(JSON.stringify([later, reported])).not.toContain('Ann Example');
    expect(reported).toEqual(['a job could not be taken: ECONNREFUSED']);
  });
});

describe('a notification of S3', () => {
  test('brings the jobs whose files were created, and passes over the rest', async () => {
    const body = event(
      record('jobs/new+film.job.json'),
      record('jobs/plate.mov'),
      record('jobs/new+film.job.json', { eventName: 'ObjectRemoved:Delete' }),
    );
    expect(await post(body)).toMatchObject({ status: 202, body: { jobs: 1 } });
    expect(taken).toEqual([{ id: expect.stringMatching(/^new_film-[0-9a-f]{16}$/), text: '{"template":"transcode"}' }]);
    expect(read).toEqual(['masters/jobs/new film.job.json@e1']);
  });

  test('is of the same job when it is sent again, and of another for another object of that key', async () => {
    const of = (sequencer: string) => {
      const { s3, ...rest } = record('jobs/new+film.job.json') as { s3: { object: object } };
      return event({ ...rest, s3: { ...s3, object: { ...s3.object, sequencer } } });
    };
    for (const sequencer of ['01', '01', '02']) await post(of(sequencer));
    const [first, again, other] = taken.map(({ id }) => id);
    expect(again).toBe(first);
    expect(other).not.toBe(first);
  });

  test('brings the other jobs when one is refused, and says which', async () => {
    const body = event(
      record('jobs/broken.job.json'),
      record('jobs/gone.job.json'),
      { eventSource: 'aws:s3' },
      record('jobs/new+film.job.json'),
    );
    const answer = await post(body);
    expect(answer).toMatchObject({ status: 202, body: { jobs: 1 } });
    expect((answer.body as { refused?: object[] }).refused).toMatchObject([
      { record: 0, code: 'ERR_INGEST_BODY' },
      { record: 1, code: 'ERR_INGEST_REFUSED' },
      { record: 2, code: 'ERR_INGEST_BODY' },
    ]);
    expect(taken).toHaveLength(1);
    // What may pass is sent again, with those that were taken.
    failure = Object.assign(new Error(), { code: 'ECONNREFUSED' });
    expect(await post(body)).toMatchObject({ status: 503, body: { code: 'ERR_INGEST_UNAVAILABLE' } });
  });

  test('passes over an object that is another by now', async () => {
    const { s3, ...rest } = record('jobs/new+film.job.json') as { s3: { object: object } };
    const body = event({ ...rest, s3: { ...s3, object: { ...s3.object, eTag: 'replaced' } } });
    expect(await post(body)).toMatchObject({ status: 202, body: { jobs: 0 } });
    expect(taken).toEqual([]);
  });

  test('that S3 sends when it is set up is answered', async () => {
    const body = JSON.stringify({ Service: 'Amazon S3', Event: 's3:TestEvent', Bucket: 'masters' });
    expect(await post(body)).toMatchObject({ status: 202, body: { jobs: 0 } });
  });

  test.each([
    ['an object that is not there', event(record('jobs/gone.job.json')), 422, 'ERR_INGEST_REFUSED'],
    ['an object that is no job', event(record('jobs/broken.job.json')), 400, 'ERR_INGEST_BODY'],
    ['a key that is not encoded', event(record('jobs/%zz.job.json')), 400, 'ERR_INGEST_BODY'],
    ['another service', event(record('jobs/new+film.job.json', { eventSource: 'aws:sqs' })), 400, 'ERR_INGEST_BODY'],
    ['too many records', event(...Array.from({ length: 101 }, () => record('a.job.json'))), 400, 'ERR_INGEST_BODY'],
  ])('is refused for %s', async (_, body, status, code) => {
    expect(await post(body)).toMatchObject({ status, body: { code } });
    expect(taken).toEqual([]);
  });

  test('is refused where jobs are not read from S3', async () => {
    const without = createIngestRoutes({ onJob: async () => {}, secrets: [SECRET], now: () => NOW, report: () => {} });
    const body = event(record('jobs/new+film.job.json'));
    const headers = { 'x-portcullis-signature': sign(body) };
    const response = await without.request('/v1/render/jobs', { method: 'POST', body, headers });
    expect(response.status).toBe(422);
  });
});

test.each([[[]], [[randomBytes(31)]]])('no route is made of secrets that protect nothing', (secrets) => {
  expect(() => createIngestRoutes({ onJob: async () => {}, secrets, now: () => NOW, report: () => {} })).toThrow(
    RangeError,
  );
});
