import { createWriteStream } from 'node:fs';
import { copyFile, mkdir, realpath, rm } from 'node:fs/promises';
import { basename, join, resolve, sep } from 'node:path';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { HostError } from '../enclave-render/host/host-error.ts';
import { IngestError, MOST_JOB_BYTES, readJobFile, tooLarge } from '../enclave-render/host/ingest.ts';
import type { JobQueue, QueuedJob } from '../enclave-render/host/job-queue.ts';
import type { RenderEvent } from '../enclave-render/render/event-codes.ts';
import { manifestName } from '../enclave-render/storage/crossing.ts';
import { type ObjectStore, StorageError } from '../enclave-render/storage/object-store.ts';
import { parseJobFile } from './render-job-file.ts';
import {
  type RenderJob,
  type RenderShop,
  receiptPath,
  runSubmittedJob,
  type SubmittedJob,
  submitJob,
  submittedJob,
} from './render-jobs.ts';

/** The bucket that inputs and job files may be in. */
export interface JobBucket {
  name: string;
  store: ObjectStore;
}

export interface WorkOptions {
  queue: JobQueue;
  shop: RenderShop;
  bucket?: JobBucket | undefined;
  /** Told how a job goes; `outcome` when it is over, and is in `folder` then. */
  onEvent: (jobId: string, event: RenderEvent) => void;
  onEnd: (outcome: Outcome, folder: string) => void;
  /** Told that a job is tried again, and why. */
  onRetry: (jobId: string, code: string) => void;
  signal: AbortSignal;
  /** Before a job that failed for a reason that may pass is tried again, in milliseconds. */
  pauseMilliseconds?: number;
}

/** How a job ended, as in `outcome.json`. */
export type Outcome =
  /** Rendered, verified and accepted: `receipt.json` and the folder `outputs` are beside it. */
  { ok: true; jobId: string } | { ok: false; jobId: string; code: string; message: string };

/** What may go better in a while: a full disk, a KMS that is away, an enclave that was killed. */
const PASSING = /^ERR_HOST_(?:CLOSED|STORAGE|LAUNCH|BUSY)$|^ERR_AUDIT_FILE$|_(?:THROTTLED|UNAVAILABLE|UNREACHABLE)$/;
const MOST_ATTEMPTS = 3;
const RETRY_MILLISECONDS = 30_000;
const OUTPUTS = 'outputs';

/**
 * Renders what comes into a queue, one job after the other, until the signal is aborted; the job of that moment stays taken, and goes on
 * when this is called again. What fails for a reason that may pass is tried three times.
 */
export async function workOff(options: WorkOptions): Promise<void> {
  const { queue, signal, onEnd, onRetry, pauseMilliseconds = RETRY_MILLISECONDS } = options;
  for (let attempt = 1; ; attempt++) {
    const job = await queue.next(signal);
    if (!job) return;
    const { id: jobId } = job;
    let outcome: Outcome = { ok: true, jobId };
    try {
      await renderQueued(job, options);
    } catch (error) {
      if (signal.aborted) return;
      const { code, message } = failure(error);
      if ((PASSING.test(code) || code === 'ERR_INTERNAL') && attempt < MOST_ATTEMPTS) {
        onRetry(jobId, code);
        await sleep(pauseMilliseconds, undefined, { signal }).catch(() => undefined);
        continue;
      }
      outcome = { ok: false, jobId, code, message };
    }
    attempt = 0;
    const folder = await putAway(job, outcome, options);
    if (folder === undefined) return;
    onEnd(outcome, folder);
  }
}

/** Puts a job away, as soon as the disk lets it: it is over, and not done again for that. Undefined when the signal is aborted first. */
async function putAway(job: QueuedJob, outcome: Outcome, options: WorkOptions): Promise<string | undefined> {
  const { queue, signal, onRetry, pauseMilliseconds = RETRY_MILLISECONDS } = options;
  while (!signal.aborted) {
    try {
      await rm(join(job.folder, 'inputs'), { recursive: true, force: true });
      return await queue.finish(job, outcome.ok ? 'done' : 'failed', outcome);
    } catch {
      onRetry(job.id, 'ERR_HOST_STORAGE');
      await sleep(pauseMilliseconds, undefined, { signal }).catch(() => undefined);
    }
  }
  return undefined;
}

/** The code and what to say of an error: of one that is none of ours only the system's code, as its words may be about a file. */
function failure(error: unknown): { code: string; message: string } {
  const { code = '', message } = error as { code?: unknown; message: string };
  if (typeof code !== 'string' || !code.startsWith('ERR_')) {
    return { code: 'ERR_INTERNAL', message: `something failed here: ${code || (error as Error).name}` };
  }
  if (error instanceof HostError && error.peerCode) {
    return { code: error.peerCode, message: `the enclave refused or failed: see ${error.peerCode} in docs/enclave.md` };
  }
  return { code, message };
}

/** Submits a job, or finds that it was, renders it, and has its receipt and outputs in its folder. */
async function renderQueued(queued: QueuedJob, options: WorkOptions): Promise<void> {
  const { shop, signal, onEvent } = options;
  const job = (await submittedBefore(shop, queued)) ?? (await submitQueued(queued, options));
  // Of one that was accepted before it verifies again what is there.
  await runSubmittedJob(shop, job, { onEvent: (event) => onEvent(job.jobId, event), signal });
  await copyFile(receiptPath(job), join(queued.folder, 'receipt.json'));
}

async function submittedBefore(shop: RenderShop, { id }: QueuedJob): Promise<SubmittedJob | undefined> {
  return submittedJob(shop, id).catch(() => undefined);
}

async function submitQueued(queued: QueuedJob, { shop, queue, bucket }: WorkOptions): Promise<SubmittedJob> {
  const { id, folder, file } = queued;
  const job = parseQueued(await readJobFile(file));
  const inputs: RenderJob['inputs'] = {};
  const { jobId, output, ...rest } = await parseJobFile('the job', {
    ...job,
    jobId: id,
    output: join(folder, OUTPUTS),
  });
  for (const [name, given] of Object.entries(rest.inputs)) {
    const { path, ...more } = typeof given === 'string' ? { path: given } : given;
    const found = await inputPath(path, queue.folder, join(folder, 'inputs', name), bucket);
    inputs[name] = 'fileName' in more ? { path: found, fileName: more.fileName } : found;
  }
  // What a crash left of a submission that was not complete.
  await rm(join(shop.folder, 'jobs', id), { recursive: true, force: true });
  return submitJob(shop, { ...rest, ...(jobId && { jobId }), output, inputs });
}

/** What a job file that came in says. It is named and put where the queue says, so that none takes the name or place of another. */
function parseQueued(content: string): object {
  let job: unknown;
  try {
    job = JSON.parse(content);
  } catch {
    throw new IngestError('ERR_INGEST_BODY', 'it is not JSON');
  }
  for (const field of ['jobId', 'output']) {
    if (!Object.hasOwn(Object(job), field)) continue;
    throw new IngestError('ERR_INGEST_REFUSED', `leave out ${field}: a job that comes in gets its own`);
  }
  return Object(job);
}

/** Checks a job before it is kept, as far as its own words go. Rejects with `ERR_INGEST_REFUSED`. */
export async function checkIncoming(content: string): Promise<void> {
  try {
    await parseJobFile('the job', { ...parseQueued(content), output: OUTPUTS });
  } catch (error) {
    throw error instanceof IngestError ? error : new IngestError('ERR_INGEST_REFUSED', (error as Error).message);
  }
}

/** A file of the watch folder by its path there, or an object `s3://bucket/key` of our bucket, fetched into `own`. */
async function inputPath(given: string, folder: string, own: string, bucket: JobBucket | undefined): Promise<string> {
  const [, bucketName, key = ''] = /^s3:\/\/([^/]+)\/(.+)$/s.exec(given) ?? [];
  if (bucketName !== undefined) {
    if (bucketName !== bucket?.name) {
      throw new IngestError('ERR_INGEST_REFUSED', `no input is read from bucket ${bucketName}: see --bucket`);
    }
    return fetchMaster(bucket.store, key, own);
  }
  const found = await realpath(resolve(folder, given)).catch((error: NodeJS.ErrnoException) => {
    throw new IngestError('ERR_INGEST_REFUSED', `input ${given} cannot be read: ${error.code}; put it there first`);
  });
  if (found.startsWith(`${folder}${sep}`)) return found;
  throw new IngestError('ERR_INGEST_REFUSED', `input ${given} is not in the watch folder: put it there`);
}

/** Fetches a master and its manifest. What has none is plaintext, and is not brought here. */
async function fetchMaster(store: ObjectStore, key: string, own: string): Promise<string> {
  const path = join(own, basename(key));
  await mkdir(own, { recursive: true, mode: 0o700 });
  for (const [object, file] of [
    [manifestName(key), manifestName(path)],
    [key, path],
  ] as const) {
    const { body } = await store.get(object).catch((error) => {
      if (!(error instanceof StorageError) || error.code !== 'ERR_STORAGE_NOT_FOUND') throw error;
      const way = 'inputs in a bucket are masters: portcullis master encrypt, then portcullis storage put';
      throw new IngestError('ERR_INGEST_REFUSED', `there is no object ${object}; ${way}`);
    });
    await pipeline(body, createWriteStream(file, { mode: 0o600 }));
  }
  return path;
}

/**
 * Reads job files of a bucket, for notifications of S3: undefined for an object that is no longer the one of this ETag, of which there
 * is a notification of its own.
 */
export function jobObjects({ name, store }: JobBucket) {
  return async (bucket: string, key: string, etag: string | undefined): Promise<string | undefined> => {
    if (bucket !== name) throw new IngestError('ERR_INGEST_REFUSED', 'no jobs are read from this bucket');
    const { info, body } = await store.get(key).catch((error) => {
      if (!(error instanceof StorageError) || error.code !== 'ERR_STORAGE_NOT_FOUND') throw error;
      throw new IngestError('ERR_INGEST_REFUSED', 'there is no such object');
    });
    const isAnother = etag !== undefined && info.etag.replaceAll('"', '') !== etag.replaceAll('"', '');
    if (isAnother || info.bytes > MOST_JOB_BYTES) body.destroy();
    if (isAnother) return undefined;
    if (info.bytes > MOST_JOB_BYTES) throw tooLarge();
    return text(body);
  };
}
