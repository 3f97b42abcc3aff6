import { createHmac, timingSafeEqual } from 'node:crypto';
import { basename } from 'node:path';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import * as v from 'valibot';
import {
  IngestError,
  type IngestErrorCode,
  type IngestedJob,
  isWholeJob,
  JOB_SUFFIX,
  jobId,
  MOST_JOB_BYTES,
  type OnJob,
  originDigits,
  tooLarge,
} from '../host/ingest.ts';

/** What the route is made of. */
export interface IngestOptions {
  onJob: OnJob;
  /** Secret that senders sign with, 32 bytes or more; several while one is replaced. */
  secrets: readonly Uint8Array[];
  /**
   * The text of an object that S3 told of; the caller decides which buckets it reads. Undefined when it is no longer the one of this
   * ETag. Rejects with `ERR_INGEST_REFUSED` when there is no such object. Without it, notifications of S3 are refused.
   */
  readObject?: (bucket: string, key: string, etag: string | undefined) => Promise<string | undefined>;
  /** Seconds since the epoch. */
  now: () => number;
  /** Told of failures that are ours. */
  report: (line: string) => void;
}

/** How old or early a signature may be, in seconds. */
const TOLERANCE_SECONDS = 300;
/** Shortest secret, in bytes. */
export const LEAST_SECRET_BYTES = 32;
/** Most records that S3 puts in a notification is one; queues in between may gather some. */
const MOST_RECORDS = 100;
export const SIGNATURE_HEADER = 'x-portcullis-signature';

const STATUS: Record<IngestErrorCode, 400 | 401 | 413 | 422 | 503> = {
  ERR_INGEST_BODY: 400,
  ERR_INGEST_SIGNATURE: 401,
  ERR_INGEST_TOO_LARGE: 413,
  ERR_INGEST_REFUSED: 422,
  ERR_INGEST_FOLDER: 503,
  ERR_INGEST_UNAVAILABLE: 503,
};
const TITLE: Record<IngestErrorCode, string> = {
  ERR_INGEST_BODY: 'Neither a job nor a notification',
  ERR_INGEST_SIGNATURE: 'Not signed',
  ERR_INGEST_TOO_LARGE: 'Too long',
  ERR_INGEST_REFUSED: 'Refused',
  ERR_INGEST_FOLDER: 'Not just now',
  ERR_INGEST_UNAVAILABLE: 'Not just now',
};

/** Amazon S3, "Event message structure": of all fields, those that name the object. */
const S3Record = v.object({
  eventSource: v.literal('aws:s3'),
  eventName: v.string(),
  s3: v.object({
    bucket: v.object({ name: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/)) }),
    object: v.object({
      key: v.pipe(v.string(), v.maxLength(3072)),
      versionId: v.optional(v.string()),
      eTag: v.optional(v.string()),
      /** The same when the event is sent again, another for another object of that key. */
      sequencer: v.optional(v.string()),
    }),
  }),
});
const S3Notification = v.object({
  Records: v.pipe(v.array(v.unknown()), v.minLength(1), v.maxLength(MOST_RECORDS)),
});
const S3TestEvent = v.object({ Service: v.literal('Amazon S3'), Event: v.literal('s3:TestEvent') });

/**
 * `POST /v1/render/jobs`: takes a job file, or a notification of S3 that one was created (`NAME.job.json`; other objects are passed
 * over). 202 with the number of jobs that were taken, and with `refused` (`record`, counted from 0, `code`, `detail`) if others of the
 * notification were not. The body is signed: `x-portcullis-signature: t=<seconds since the epoch>,v1=<HMAC-
 * SHA-256 of "<t>.<body>", hexadecimal>`. Refusals are problem details (RFC 9457) with a stable `code`; the same request may be sent
 * again, as a job has its id from its bytes, or from the event of S3, and is rendered once.
 */
export function createIngestRoutes(options: IngestOptions): Hono {
  const { secrets, now, report } = options;
  if (secrets.length === 0 || secrets.some(({ length }) => length < LEAST_SECRET_BYTES)) {
    throw new RangeError('jobs come in signed: give a secret of 32 bytes or more');
  }
  const app = new Hono();
  const limit = bodyLimit({
    maxSize: MOST_JOB_BYTES,
    onError: () => {
      throw tooLarge();
    },
  });
  app.post('/v1/render/jobs', limit, async (c) => {
    const body = Buffer.from(await c.req.arrayBuffer());
    requireSigned(c.req.header(SIGNATURE_HEADER), body, secrets, now());
    const text = textOf(body);
    if (!isWholeJob(text)) throw new IngestError('ERR_INGEST_BODY', 'the body is no job: send a JSON object');
    const content: unknown = JSON.parse(text);
    if (v.is(S3TestEvent, content)) return c.json({ jobs: 0 }, 202);
    if (Object.hasOwn(content as object, 'Records')) return c.json(await takeRecords(content, options), 202);
    await options.onJob({ id: jobId('webhook', originDigits(text)), text });
    return c.json({ jobs: 1 }, 202);
  });
  app.onError((error, c) => {
    const isKnown = error instanceof IngestError;
    if (!isKnown) report(`a job could not be taken: ${(error as NodeJS.ErrnoException).code ?? error.name}`);
    const code = isKnown ? error.code : 'ERR_INGEST_UNAVAILABLE';
    const detail = isKnown ? error.message : 'The job was not taken: send it again later.';
    const status = STATUS[code];
    if (status === 503) c.header('retry-after', '30');
    const problem = { type: 'about:blank', title: TITLE[code], status, code, detail };
    return c.body(JSON.stringify(problem), status, { 'content-type': 'application/problem+json' });
  });
  return app;
}

/** Checks the signature over time and body. All secrets are tried, and each comparison takes as long as any. */
function requireSigned(header: string | undefined, body: Buffer, secrets: readonly Uint8Array[], now: number): void {
  const [, time = '', signature = ''] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(header ?? '') ?? [];
  const given = Buffer.from(signature, 'hex');
  let isSigned = false;
  for (const secret of secrets) {
    const expected = createHmac('sha256', secret).update(`${time}.`).update(body).digest();
    if (given.length === expected.length && timingSafeEqual(given, expected)) isSigned = true;
  }
  if (!isSigned || Math.abs(now - Number(time)) > TOLERANCE_SECONDS) {
    const how = `sign "<t>.<body>" with HMAC-SHA-256 and send ${SIGNATURE_HEADER}: t=<now>,v1=<hex>`;
    throw new IngestError('ERR_INGEST_SIGNATURE', `there is no valid signature of the last minutes: ${how}`);
  }
}

function textOf(body: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(body);
  } catch {
    throw new IngestError('ERR_INGEST_BODY', 'the body is not JSON');
  }
}

/** A record of a notification whose job was refused. */
interface RefusedRecord {
  /** Which, counted from 0. */
  record: number;
  code: IngestErrorCode;
  detail: string;
}

/**
 * Takes the jobs of a notification: one that is refused does not keep the others from being taken. Rejects with its refusal when none
 * was taken, and with what may pass in any case, so that the notification is sent again; then what was taken is known.
 */
async function takeRecords(content: unknown, options: IngestOptions) {
  const { readObject, onJob } = options;
  const notification = v.safeParse(S3Notification, content);
  if (!notification.success) throw notOfS3();
  if (!readObject) {
    const how = 'send the job itself, or start the watch with --bucket';
    throw new IngestError('ERR_INGEST_REFUSED', `jobs are not read from S3 here: ${how}`);
  }
  let jobs = 0;
  const refused: RefusedRecord[] = [];
  const failures: unknown[] = [];
  for (const [record, event] of notification.output.Records.entries()) {
    try {
      const job = await jobOf(event, readObject);
      if (job) await onJob(job);
      if (job) jobs++;
    } catch (error) {
      failures.push(error);
      if (error instanceof IngestError) refused.push({ record, code: error.code, detail: error.message });
    }
  }
  const passing = failures.find((error) => !(error instanceof IngestError) || STATUS[error.code] === 503);
  if (passing !== undefined) throw passing;
  if (jobs === 0 && failures.length > 0) throw failures[0];
  return { jobs, ...(refused.length > 0 && { refused }) };
}

/** The job that an event of S3 tells of; undefined when it is none, or there is another event of that object. */
async function jobOf(
  event: unknown,
  readObject: NonNullable<IngestOptions['readObject']>,
): Promise<IngestedJob | undefined> {
  const parsed = v.safeParse(S3Record, event);
  if (!parsed.success) throw notOfS3();
  const { eventName, s3 } = parsed.output;
  // Form-encoded, with + for a space.
  const key = decodeKey(s3.object.key);
  if (!/^(?:s3:)?ObjectCreated:/.test(eventName) || !key.endsWith(JOB_SUFFIX)) return undefined;
  const { versionId = '', eTag, sequencer = '' } = s3.object;
  const text = await readObject(s3.bucket.name, key, eTag);
  if (text === undefined) return undefined;
  if (!isWholeJob(text)) throw new IngestError('ERR_INGEST_BODY', 'an object is no job: it has to be a JSON object');
  return { id: jobId(basename(key), originDigits(s3.bucket.name, key, versionId, eTag ?? '', sequencer)), text };
}

function notOfS3(): IngestError {
  return new IngestError('ERR_INGEST_BODY', 'send a job, or what S3 sends of an object');
}

function decodeKey(key: string): string {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '));
  } catch {
    throw new IngestError('ERR_INGEST_BODY', 'the key of an object is not encoded as S3 does it');
  }
}
