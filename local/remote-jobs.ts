import { createReadStream, existsSync } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { syncFolder } from '../enclave-render/durable-folder.ts';
import { HostError } from '../enclave-render/host/host-error.ts';
import { fetchObject, readObject } from '../enclave-render/host/parent-objects.ts';
import { manifestPath } from '../enclave-render/mastering/signed-manifest.ts';
import { type Acceptance, acceptedBefore, acceptReceipt } from '../enclave-render/receipt/accept-receipt.ts';
import { type VerifiedReceipt, verifyReceipt } from '../enclave-render/receipt/verify-receipt.ts';
import { type ObjectStore, StorageError } from '../enclave-render/storage/object-store.ts';
import {
  acceptanceOf,
  manifestOf,
  type OwnerSide,
  quarantineOf,
  receiptPath,
  removeWork,
  type SubmittedJob,
  withJobLock,
} from './render-jobs.ts';

/** As much as a reader of receipts takes. */
const RECEIPT_BYTES = 64 << 20;
const FAILURE_BYTES = 4096;

/**
 * Puts a submitted job where the parent of Nitro enclaves takes it (docs/enclave.md): encrypted inputs by the SHA-256 of their
 * ciphertext, then the manifest. May be done again. Rejects with `StorageError`.
 */
export async function offerJob(job: SubmittedJob, store: ObjectStore): Promise<void> {
  for (const { name, sha256, bytes } of manifestOf(job).inputs) {
    await store.put(`inputs/${sha256}`, createReadStream(job.inputs[name] ?? ''), { bytes });
  }
  const bytes = Buffer.from(job.manifest);
  await store.put(incoming(job), Readable.from([bytes]), { bytes: bytes.length });
}

/**
 * Brings the receipt and the outputs of a job back from where its parent has put them, verifies and accepts them; of a job that was
 * accepted before it says the same again. The parent is believed nothing: fetched is what a genuine receipt names. Rejects with
 * `ERR_HOST_PENDING` while there is no receipt, with `ERR_HOST_REFUSED` and the code that the parent gives when the job failed, with
 * `StorageError`, and as `acceptReceipt` does.
 */
export function fetchJob(side: OwnerSide, job: SubmittedJob, store: ObjectStore): Promise<VerifiedReceipt> {
  return withJobLock(job, async () => {
    const acceptance = acceptanceOf(side, job);
    const own = await readFile(receiptPath(job), 'utf8').catch(() => undefined);
    const before = own === undefined ? undefined : await acceptedBefore(own, acceptance);
    const verified = before ?? (await acceptFetched(job, store, acceptance).catch(storageFailure));
    await removeWork(job);
    return verified;
  });
}

async function acceptFetched(job: SubmittedJob, store: ObjectStore, acceptance: Acceptance): Promise<VerifiedReceipt> {
  const prefix = `jobs/${job.jobId}/`;
  const receipt = await readObject(store, `${prefix}receipt.json`, RECEIPT_BYTES);
  if (receipt === undefined) throw await notRendered(job, store);
  // One that was stopped after it had moved the outputs goes on with these.
  if (!existsSync(job.output)) {
    const quarantine = quarantineOf(job);
    await rm(quarantine, { recursive: true, force: true });
    for (const name of await namesIn(receipt, acceptance)) {
      for (const file of [name, manifestPath(name)]) {
        // What is missing is for the verifier to say.
        await fetchObject(store, `${prefix}outputs/${file}`, join(quarantine, file)).catch(missing);
      }
    }
  }
  await writeReceipt(job, receipt);
  return acceptReceipt(receipt, acceptance);
}

/** The outputs that a receipt names; none when it is not genuine, which `acceptReceipt` refuses and logs. */
async function namesIn(receipt: string, { job, ...policy }: Acceptance): Promise<string[]> {
  const unchecked = { nonceUsedFor: 'not-checked', outputs: 'not-checked' } as const;
  return verifyReceipt(receipt, { ...policy, ...unchecked, manifestSha384: job.manifestSha384 }).then(
    ({ outputs }) => outputs.map(({ name }) => name),
    () => [],
  );
}

/** Why there is no receipt: the job failed, as far as its parent can be believed, or it is not done yet. */
async function notRendered(job: SubmittedJob, store: ObjectStore): Promise<HostError> {
  const { jobId } = job;
  const isOffered = await store.head(incoming(job)).then(() => true, missing);
  for (const key of isOffered ? [] : [`jobs/${jobId}/failure.json`, `refused/${jobId}.jws.failure.json`]) {
    const text = await readObject(store, key, FAILURE_BYTES);
    const [, code] = /"code":"(ERR_[A-Z_]{1,60})"/.exec(text ?? '') ?? [];
    if (code !== undefined) {
      return new HostError('ERR_HOST_REFUSED', `the parent says that job ${jobId} failed: see ${key}`, code);
    }
  }
  return new HostError('ERR_HOST_PENDING', `job ${jobId} has no receipt yet: fetch it again later`);
}

/** Keeps a receipt with its job, so that it can be verified without the store. */
async function writeReceipt(job: SubmittedJob, receipt: string): Promise<void> {
  const partial = `${receiptPath(job)}.partial`;
  await using file = await open(partial, 'w', 0o600);
  await file.writeFile(receipt);
  await file.sync();
  await rename(partial, receiptPath(job));
  await syncFolder(job.folder);
}

function incoming({ jobId }: SubmittedJob): string {
  return `incoming/${jobId}.jws`;
}

/** What this disk refuses, as an error of ours. */
function storageFailure(error: unknown): never {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) throw error;
  const why = code === 'ENOSPC' ? 'the disk is full: make room' : code;
  throw new HostError('ERR_HOST_STORAGE', `what was fetched cannot be written: ${why}, and fetch it again`);
}

function missing(error: unknown): undefined {
  if (!(error instanceof StorageError && error.code === 'ERR_STORAGE_NOT_FOUND')) throw error;
}
