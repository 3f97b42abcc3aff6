import type { KeyObject } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuditEntry, AuditEvent } from '../audit/audit-entry.ts';
import { appendAuditEntry } from '../audit/audit-log.ts';
import type { AttestedDataKeys } from '../kms/data-keys.ts';
import { MANIFEST_CHARACTERS, openManifest, wholeManifest } from '../render/manifest-signature.ts';
import type { RenderManifest } from '../render/render-manifest.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { EnclaveLauncher } from './enclave-launcher.ts';
import { HostError } from './host-error.ts';
import { IngestError } from './ingest.ts';
import { runJob } from './parent.ts';
import { fetchFolder, fetchObject, listFolder, readObject, storeFiles } from './parent-objects.ts';

/** What a parent runs jobs with. */
export interface ParentAgentOptions {
  /** Jobs, their inputs, and what comes of them. */
  store: ObjectStore;
  launcher: EnclaveLauncher;
  /** Ed25519 public keys of those whose jobs it takes. */
  owners: readonly KeyObject[];
  kms: AttestedDataKeys;
  /** Folder of its own on this disk. */
  work: string;
  /** Told what happens, in codes and names of objects. */
  log: (line: Record<string, unknown>) => void;
  /** Milliseconds since the epoch, as this machine has them: nothing is proven by them. */
  now: () => number;
}

type AuditDetails = AuditEntry['details'];

const INCOMING = 'incoming/';
const JOB = /^incoming\/([A-Za-z0-9][A-Za-z0-9._-]{0,127}\.jws)$/;
const AUDIT_LOG = 'audit.jsonl';

/** Failures of what is around a job: it is begun again, until its manifest has expired. */
const PASSING = new Set([
  'ERR_AUDIT_FILE',
  'ERR_HOST_CLOSED',
  'ERR_HOST_LAUNCH',
  'ERR_HOST_STORAGE',
  'ERR_KMS_UNAVAILABLE',
  'ERR_STORAGE_UNAVAILABLE',
  'ERR_STORAGE_CHECKSUM',
]);

/** Runs the jobs of a store, and those that come, until `signal`. What interrupts one leaves it to be gone on with. */
export async function serveJobs(options: ParentAgentOptions, pollSeconds: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await runIncoming(options, signal).catch((error) => options.log({ event: 'not-read', code: codeOf(error) }));
    await sleep(1000 * pollSeconds, undefined, { signal }).catch(() => undefined);
  }
}

/** Runs the jobs that are in the store, one after the other. Rejects when it cannot be read. */
export async function runIncoming(options: ParentAgentOptions, signal: AbortSignal): Promise<void> {
  const { store } = options;
  const names: string[] = [];
  for await (const { key } of store.list(INCOMING)) {
    const [, name] = JOB.exec(key) ?? [];
    if (name !== undefined) names.push(name);
  }
  for (const name of names) {
    if (signal.aborted) return;
    await takeJob(options, name, signal);
  }
}

/** Runs a job, and takes it out of `incoming/` unless it is to be begun again. */
async function takeJob(options: ParentAgentOptions, name: string, signal: AbortSignal): Promise<void> {
  const { store, owners, log, now } = options;
  const key = `${INCOMING}${name}`;
  let manifest: RenderManifest | undefined;
  try {
    const jws = wholeManifest((await readObject(store, key, MANIFEST_CHARACTERS)) ?? '');
    if (jws === undefined) throw refused('ERR_INGEST_BODY', 'it is no signed manifest');
    // The enclave verifies it too: here it keeps who is no owner from taking an owner's job id, and from having inputs fetched.
    ({ manifest } = await openManifest(jws, owners));
    log({ event: 'job-taken', name, jobId: manifest.jobId });
    await runOnce(options, jws, manifest, signal);
    await store.delete(key);
  } catch (error) {
    const code = codeOf(error);
    log({ event: signal.aborted ? 'job-interrupted' : 'job-failed', name, code });
    const isOver = manifest !== undefined && now() >= 1000 * manifest.expiresAt;
    if (signal.aborted || (PASSING.has(code) && !isOver)) return;
    // Of a job that is another's, nothing is written where that one's is.
    const place = manifest && !(error instanceof IngestError) ? `jobs/${manifest.jobId}/` : `refused/${name}.`;
    await putText(store, `${place}failure.json`, JSON.stringify({ code, at: now() }))
      .then(() => store.delete(key))
      .catch((failure) => log({ event: 'not-stored', name, code: codeOf(failure) }));
  }
}

/** Runs a job that has no receipt yet, on top of what an earlier launch has left. */
async function runOnce(options: ParentAgentOptions, jws: string, manifest: RenderManifest, signal: AbortSignal) {
  const { store, launcher, kms, work, log } = options;
  const { jobId } = manifest;
  if (manifest.pcrs['0'] !== launcher.pcrs['0']) {
    throw refused('ERR_INGEST_REFUSED', 'it is for another enclave image than this parent has');
  }
  const prefix = `jobs/${jobId}/`;
  await claim(store, `${prefix}manifest.jws`, jws);
  if ((await store.head(`${prefix}receipt.json`).catch(notThere)) !== undefined) return;
  await store.delete(`${prefix}failure.json`);

  const folder = join(work, 'jobs', jobId);
  const files = {
    inputs: new Map(manifest.inputs.map(({ name, sha256 }) => [name, join(folder, 'inputs', sha256)])),
    quarantine: join(folder, 'outputs'),
    checkpoints: join(folder, 'checkpoints'),
    receipt: join(folder, 'receipt.json'),
  };
  // What is on this disk may be of an instance that has long been replaced.
  await rm(folder, { recursive: true, force: true });
  for (const { sha256 } of manifest.inputs)
    await fetchObject(store, `inputs/${sha256}`, join(folder, 'inputs', sha256));
  await fetchFolder(store, `${prefix}outputs/`, files.quarantine);
  await fetchFolder(store, `${prefix}checkpoints/`, files.checkpoints);

  const stored = new Set<string>();
  const storeAll = async () => {
    // Of a task that has a checkpoint outputs are not made again: they are stored first, those of all checkpoints that are listed.
    const checkpoints = await listFolder(files.checkpoints, `${prefix}checkpoints/`);
    await storeFiles(store, await listFolder(files.quarantine, `${prefix}outputs/`), stored);
    await storeFiles(store, checkpoints, stored);
  };
  let storing = Promise.resolve();
  const rendered = await runJob({
    launcher,
    manifest: jws,
    files,
    kms,
    signal,
    onEvent: (event) => {
      log({ event: 'enclave', jobId, ...event });
      // What fails here is stored at the end, or the job fails there.
      if (event.code === 'TASK_FINISHED') storing = storing.then(storeAll).catch(() => undefined);
    },
    onStart: () => audit(options, 'enclave-started', jobId, { pcr0: launcher.pcrs['0'] ?? '' }),
    onEnd: ({ job: reason, failure }) =>
      failure === undefined
        ? audit(options, 'enclave-ended', jobId, reason === undefined ? {} : { code: codeOf(reason) })
        : audit(options, 'enclave-not-ended', jobId, { code: codeOf(failure) }),
  }).catch(async (error) => {
    await storing;
    throw error;
  });
  try {
    await storing;
    await storeAll();
    // Last, as it says that the others are there.
    await putText(store, `${prefix}receipt.json`, rendered.receipt);
  } finally {
    await rendered.end();
  }
  await rm(folder, { recursive: true, force: true });
  log({ event: 'job-done', jobId });
}

/** Keeps the manifest of a job. Rejects with `ERR_INGEST_REFUSED` when another one has the job's id. */
async function claim(store: ObjectStore, key: string, jws: string): Promise<void> {
  const existing = await readObject(store, key, MANIFEST_CHARACTERS);
  if (existing === undefined) await putText(store, key, jws);
  else if (existing !== jws)
    throw refused('ERR_INGEST_REFUSED', 'there is another job of that id: choose another jobId');
}

/** This parent's own log: what it says of itself, which proves nothing to an owner and is signed by nobody. It is in the store after each entry. */
async function audit(
  { store, work, now }: ParentAgentOptions,
  event: AuditEvent,
  jobId: string,
  details: AuditDetails,
) {
  const path = join(work, AUDIT_LOG);
  // An instance that took another's place goes on with its log.
  if (!existsSync(path)) await fetchObject(store, AUDIT_LOG, path).catch(notThere);
  await appendAuditEntry({ path, signingKey: undefined }, { at: now(), event, jobId, details });
  await putText(store, AUDIT_LOG, await readFile(path, 'utf8'));
}

function putText(store: ObjectStore, key: string, content: string) {
  return store.put(key, Readable.from([Buffer.from(content)]), { bytes: Buffer.byteLength(content) });
}

function notThere(error: unknown): undefined {
  if (codeOf(error) !== 'ERR_STORAGE_NOT_FOUND') throw error;
}

/** The code of an error, and of one that the enclave told the enclave's. What the system refuses, a full disk, is one of storage. */
function codeOf(error: unknown): string {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall !== undefined) return 'ERR_HOST_STORAGE';
  const own = (error instanceof HostError && error.peerCode) || code;
  return typeof own === 'string' && /^ERR_[A-Z_]+$/.test(own) ? own : 'ERR_INTERNAL';
}

function refused(code: 'ERR_INGEST_BODY' | 'ERR_INGEST_REFUSED', why: string): IngestError {
  return new IngestError(code, why);
}
