import { createHash, createPublicKey, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import * as v from 'valibot';
import { AWS_NITRO_ROOT, type Pcrs } from '../enclave-render/attestation/attestation-document.ts';
import type { AuditEvent } from '../enclave-render/audit/audit-entry.ts';
import { type AuditLogFile, appendAuditEntry, withAuditLog } from '../enclave-render/audit/audit-log.ts';
import { syncFolder } from '../enclave-render/durable-folder.ts';
import type { EnclaveLauncher } from '../enclave-render/host/enclave-launcher.ts';
import { HostError } from '../enclave-render/host/host-error.ts';
import { runJob } from '../enclave-render/host/parent.ts';
import type { RunnerConfiguration } from '../enclave-render/host/runner-configuration.ts';
import { simulatedLauncher } from '../enclave-render/host/simulated.ts';
import { commitment } from '../enclave-render/kms/commitment.ts';
import { type DataKeys, KmsError } from '../enclave-render/kms/data-keys.ts';
import { EmbeddedKms } from '../enclave-render/kms/embedded.ts';
import { encryptMaster } from '../enclave-render/mastering/encrypt.ts';
import type { MasterReader } from '../enclave-render/mastering/master-reader.ts';
import { openMaster } from '../enclave-render/mastering/open-master.ts';
import { readManifest } from '../enclave-render/mastering/opened.ts';
import { unwrapDataKey } from '../enclave-render/mastering/recipients.ts';
import { checkManifestMac, manifestPath } from '../enclave-render/mastering/signed-manifest.ts';
import { openFile } from '../enclave-render/packaging/file-reader.ts';
import { handlerTypes, movieSeconds } from '../enclave-render/packaging/mp4-movie.ts';
import { isRunning, processName, takeLock } from '../enclave-render/process-lock.ts';
import { type Acceptance, acceptedBefore, acceptReceipt } from '../enclave-render/receipt/accept-receipt.ts';
import { withNonceRegister } from '../enclave-render/receipt/nonce-register.ts';
import { ReceiptError } from '../enclave-render/receipt/receipt-error.ts';
import { spoiltTasks } from '../enclave-render/receipt/verify-outputs.ts';
import { type VerifiedReceipt, verifyReceipt } from '../enclave-render/receipt/verify-receipt.ts';
import type { RenderEvent } from '../enclave-render/render/event-codes.ts';
import { wrapUnderJobKey } from '../enclave-render/render/job-key.ts';
import { expandTemplate } from '../enclave-render/render/job-template.ts';
import { signManifest } from '../enclave-render/render/manifest-signature.ts';
import { RenderError, type RenderManifest } from '../enclave-render/render/render-manifest.ts';
import type { RenderTask } from '../enclave-render/render/render-task.ts';
import type { Isolation } from '../enclave-render/render/sandbox.ts';
import { splitTemplate } from '../enclave-render/render/split-template.ts';
import { openSimulatorCa } from '../enclave-render/security-module/simulator-ca.ts';
import { keystorePath } from './data-keys.ts';
import { packagePath } from './package-root.ts';
import { openRenderOwner, publicPem, type RenderOwner } from './render-owner.ts';

const DEFAULT_EXPIRES_IN = 3600;
/** What each renderer may take here; an image of AWS has its own. */
const LIMITS = { memoryBytes: 8 * 2 ** 30, cpuSeconds: 6 * 3600, wallSeconds: 6 * 3600, outputBytes: 16 * 2 ** 30 };
const RENDERERS = { ffmpeg: '/usr/bin/ffmpeg', blender: '/usr/bin/blender' } as const;

const name = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/));
const path = v.pipe(v.string(), v.minLength(1));

/** A job, as its owner writes it. Paths are relative to where the command runs. */
export const RenderJobSchema = v.strictObject({
  jobId: v.exactOptional(name),
  /** An Open Job Description template (docs/render-jobs.md). */
  template: v.record(v.string(), v.unknown()),
  parameters: v.exactOptional(v.record(name, v.union([v.string(), v.number()])), {}),
  /** Files by the name of their parameter, plain or `framed` masters; with the name that the renderer is to see, if it is another. */
  inputs: v.exactOptional(v.record(name, v.union([path, v.strictObject({ path, fileName: name })])), {}),
  /** Folder that the outputs are to be in; not there yet. */
  output: path,
  /** Whether the mastering key of the configuration may open the outputs as well. */
  mastering: v.exactOptional(v.boolean(), false),
  /** Has `transcode` done in parts of so many seconds, a task each: `template` is then made for its source. */
  splitSeconds: v.exactOptional(v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(86_400))),
  expiresInSeconds: v.exactOptional(v.pipe(v.number(), v.safeInteger(), v.minValue(60), v.maxValue(604_800))),
});
export type RenderJob = v.InferOutput<typeof RenderJobSchema>;

/** What an owner verifies jobs with, and accepts them by. */
export interface OwnerSide {
  folder: string;
  owner: RenderOwner;
  /** Fingerprints of the roots that attestation may come from; a manifest names its own of these. */
  roots: readonly string[];
  isolation: Isolation;
  /** Milliseconds since the epoch. */
  now: () => number;
}

/** What is needed to have jobs rendered on this machine. */
export interface RenderShop extends OwnerSide {
  launcher: EnclaveLauncher;
  kms: EmbeddedKms;
  /** KMS key of mastering, with the KMS that has it. */
  mastering: { dataKeys: DataKeys; keyId: string } | undefined;
}

export interface RenderShopOptions {
  dataDirectory: string;
  isolation: Isolation;
  keystore?: string | undefined;
  passphraseFile?: string | undefined;
  mastering?: RenderShop['mastering'];
  /** Folder of the agent's bundle, by default the built one. */
  agent?: string;
  now?: () => number;
}

/** Opens, and at first makes, the owner's keys and the authority of simulated enclaves on this machine. */
export async function openIdentity(dataDirectory: string, now: () => number = Date.now) {
  // By its whole path: what is compared with paths in it may be resolved.
  const folder = resolve(dataDirectory, 'render');
  const owner = await openRenderOwner(join(folder, 'owner'));
  const ca = await openSimulatorCa(join(folder, 'simulator'), now());
  return { folder, owner, ca, simulatorRoot: ca.root };
}

/** Opens the owner's keys for jobs that were rendered here, or in enclaves of AWS Nitro. Rejects with the errors of its parts. */
export async function openOwnerSide(dataDirectory: string, isolation: Isolation): Promise<OwnerSide> {
  const { folder, owner, simulatorRoot } = await openIdentity(dataDirectory);
  return { folder, owner, roots: [simulatorRoot, AWS_NITRO_ROOT], isolation, now: Date.now };
}

/** Opens the owner's keys and the simulated enclave of this machine. Rejects with the errors of its parts. */
export async function openRenderShop(options: RenderShopOptions): Promise<RenderShop> {
  const { dataDirectory, isolation, passphraseFile, mastering, now = Date.now } = options;
  const { folder, owner, ca } = await openIdentity(dataDirectory, now);
  const configuration: RunnerConfiguration = {
    format: 'portcullis-runner/1',
    owners: [publicPem(owner.signing)],
    isolation,
    renderers: Object.fromEntries(Object.entries(RENDERERS).filter(([, program]) => existsSync(program))),
    limits: LIMITS,
  };
  const agent = options.agent ?? packagePath('dist/enclave/agent');
  const launcher = await simulatedLauncher({ agent, configuration, ca, now });
  const keystore = options.keystore ?? keystorePath(dataDirectory);
  const kms = new EmbeddedKms({ keystore, passphraseFile, attestationRoots: [ca.root], now });
  return { folder, owner, roots: [ca.root], launcher, kms, isolation, mastering, now };
}

/** A job whose manifest is signed, on the disk. */
export interface SubmittedJob {
  jobId: string;
  /** Folder of everything of it but the outputs. */
  folder: string;
  manifest: string;
  manifestSha384: string;
  inputs: Record<string, string>;
  output: string;
}

/** Paths of inputs are from the folder of the job. */
const SubmittedSchema = v.strictObject({ inputs: v.record(v.string(), v.string()), output: v.string() });

/** The tasks of a manifest's template. Throws `ERR_RENDER_TEMPLATE`. */
export function tasksOf({ template, parameters, inputs }: RenderManifest): readonly RenderTask[] {
  return expandTemplate(template, parameters, inputs);
}

/** What a job is submitted with: for which enclaves, and under whose keys. */
export interface Submission extends Pick<RenderShop, 'folder' | 'owner' | 'mastering' | 'now'> {
  launcher: Pick<EnclaveLauncher, 'pcrs' | 'root'>;
  /** KMS of the job key, and its key, which decrypts for these enclaves only. Keys of this machine are made where none is named. */
  kms: Pick<DataKeys, 'generate'>;
  jobKeyId?: string | undefined;
}

/** Encrypts the inputs of a job and signs its manifest. Rejects with `ERR_RENDER_TEMPLATE` before anything is encrypted twice. */
export async function submitJob(shop: Submission, job: RenderJob): Promise<SubmittedJob> {
  const { owner, launcher, kms, now, jobKeyId } = shop;
  const output = resolve(job.output);
  for (const taken of [output, quarantineOf({ output })]) {
    if (existsSync(taken)) {
      throw new ReceiptError('ERR_RECEIPT_ACCEPTED_FOLDER', `${taken} is there already: choose another output`);
    }
  }
  const template = await templateOf(shop, job);
  const jobId = job.jobId ?? `job-${randomBytes(8).toString('hex')}`;
  const folder = join(shop.folder, 'jobs', jobId);
  const taken = () =>
    new RenderError('ERR_RENDER_MANIFEST', `there is a job ${jobId} already: resume it, or choose another jobId`);
  if (existsSync(folder)) throw taken();
  const keyId = jobKeyId ?? (await jobKmsKey(kms, launcher.pcrs));
  const context = { service: 'portcullis', purpose: 'render', job: jobId };
  const jobKey = await kms.generate(keyId, 256, context);
  // Has the name of the job once all of it is there: one that was killed in between is none, and can be submitted again.
  const partial = join(shop.folder, 'submitting', processName());
  try {
    await mkdir(partial, { recursive: true, mode: 0o700 });
    await sweepSubmissions(dirname(partial));
    await mkdir(dirname(folder), { recursive: true, mode: 0o700 });
    const inputs = [];
    for (const [parameter, given] of Object.entries(job.inputs)) {
      inputs.push(await encryptInput(shop, partial, parameter, given, jobKey.plaintext));
    }
    const issuedAt = Math.floor(now() / 1000);
    const manifest: RenderManifest = {
      format: 'portcullis-render/1',
      jobId,
      nonce: randomBytes(32).toString('hex'),
      issuedAt,
      expiresAt: issuedAt + (job.expiresInSeconds ?? DEFAULT_EXPIRES_IN),
      pcrs: launcher.pcrs,
      roots: [launcher.root],
      jobKey: {
        keyId: jobKey.keyId,
        context,
        encryptedKey: Buffer.from(jobKey.encrypted).toString('base64'),
        commitment: commitment(jobKey.plaintext),
      },
      inputs: inputs.map(({ input }) => input),
      template,
      parameters: job.parameters,
      output: {
        ownerKey: publicPem(owner.opening),
        ...(job.mastering ? { mastering: await masteringKey(shop, jobKey.plaintext) } : {}),
      },
    };
    tasksOf(manifest);
    const jws = await signManifest(manifest, owner.signing);
    const paths = Object.fromEntries(inputs.map(({ input, path }) => [input.name, path]));
    const file = { mode: 0o600, flush: true };
    await writeFile(join(partial, 'job.json'), JSON.stringify({ inputs: paths, output }), file);
    await writeFile(join(partial, 'manifest.jws'), jws, file);
    await syncFolder(partial);
    await log(shop, 'job-submitted', jobId, { manifestSha384: payloadSha384(jws) });
    // Fails where somebody was first: their folder is not empty.
    await rename(partial, folder).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'ENOTEMPTY' || error.code === 'EEXIST' ? taken() : error;
    });
    await syncFolder(dirname(folder));
    return submittedJob(shop, jobId);
  } catch (error) {
    throw storageFailure(error);
  } finally {
    await rm(partial, { recursive: true, force: true });
    jobKey.plaintext.fill(0);
  }
}

/** Removes what submissions have left whose processes were killed. */
async function sweepSubmissions(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!isRunning(name)) await rm(join(folder, name), { recursive: true, force: true });
  }
}

/** The template of a job; of one that is to be split, one that is made for its source. Rejects with `ERR_RENDER_JOB`. */
async function templateOf(
  shop: Submission,
  { template, splitSeconds, inputs }: RenderJob,
): Promise<RenderJob['template']> {
  if (splitSeconds === undefined) return template;
  const source = inputs.Source;
  if (source === undefined) throw new RenderError('ERR_RENDER_JOB', 'there is no input Source that could be split');
  const path = resolve(typeof source === 'string' ? source : source.path);
  const reader = await openClear(shop, path);
  try {
    const seconds = await movieSeconds(reader);
    if (seconds === undefined) {
      const way = 'leave out splitSeconds, or make it one without encoding: ffmpeg -i SOURCE -c copy source.mov';
      throw new RenderError('ERR_RENDER_JOB', `${path} is no MP4 or MOV file that says how long it is; ${way}`);
    }
    const sound = (await handlerTypes(reader)).includes('soun');
    return { ...splitTemplate({ seconds: Math.ceil(seconds), partSeconds: splitSeconds, sound }) };
  } finally {
    await reader.close();
  }
}

/** Reads an input in clear, a plain file or a master. */
async function openClear({ owner, mastering }: Submission, path: string): Promise<MasterReader> {
  if (!existsSync(manifestPath(path))) return openFile(path);
  return openMaster(path, { privateKey: owner.opening, ...(mastering ? { dataKeys: mastering.dataKeys } : {}) });
}

/** A job that was submitted before. Rejects with `ERR_RENDER_MANIFEST` when there is none of that name. */
export async function submittedJob(shop: Pick<OwnerSide, 'folder'>, jobId: string): Promise<SubmittedJob> {
  const folder = join(shop.folder, 'jobs', jobId);
  try {
    if (!v.is(name, jobId)) throw new Error('no name of a job');
    const { inputs, output } = v.parse(SubmittedSchema, JSON.parse(await readFile(join(folder, 'job.json'), 'utf8')));
    const manifest = await readFile(join(folder, 'manifest.jws'), 'utf8');
    const paths = Object.fromEntries(
      Object.entries(inputs).map(([parameter, path]) => [parameter, resolve(folder, path)]),
    );
    return { jobId, folder, manifest, manifestSha384: payloadSha384(manifest), inputs: paths, output };
  } catch {
    throw new RenderError('ERR_RENDER_MANIFEST', `there is no submitted job ${jobId} in ${folder}`);
  }
}

/** What the manifest of a job says: our own, which needs no verifying. */
export function manifestOf({ manifest }: Pick<SubmittedJob, 'manifest'>): RenderManifest {
  return JSON.parse(Buffer.from(manifest.split('.')[1] ?? '', 'base64url').toString('utf8'));
}

/** Where the outputs of a job wait to be accepted: on the same disk. */
export function quarantineOf({ output }: Pick<SubmittedJob, 'output'>): string {
  return `${output}.quarantine`;
}

export function receiptPath({ folder }: Pick<SubmittedJob, 'folder'>): string {
  return join(folder, 'receipt.json');
}

export interface RunOptions {
  onEvent: (event: RenderEvent) => void;
  signal?: AbortSignal | undefined;
  /** Leaves outputs and receipt as they came. */
  verify?: boolean;
  /** Leaves encrypted inputs and checkpoints where they are once the outputs are accepted. */
  keepWork?: boolean;
}

/**
 * Runs a submitted job in a simulated enclave, or goes on with it, verifies its receipt and accepts its outputs, and then ends the
 * enclave; each step is in the audit log. Resolves with what the receipt has proven; undefined when it was not to be verified.
 */
export async function runSubmittedJob(
  shop: RenderShop,
  job: SubmittedJob,
  options: RunOptions,
): Promise<VerifiedReceipt | undefined> {
  return withJobLock(job, () => runLocked(shop, job, options));
}

/** Does something with a job while no other process does. Rejects with `ERR_HOST_BUSY`, `ERR_HOST_STORAGE`. */
export async function withJobLock<Result>(job: SubmittedJob, what: () => Promise<Result>): Promise<Result> {
  const lock = join(job.folder, 'lock');
  const release = await takeLock(lock).catch((error) => {
    throw new HostError('ERR_HOST_STORAGE', `cannot lock ${job.folder}: ${error.code}`);
  });
  if (!release)
    throw new HostError('ERR_HOST_BUSY', `another process runs job ${job.jobId} (${lock}): wait for it, or end it`);
  try {
    return await what();
  } finally {
    await release();
  }
}

async function runLocked(
  shop: RenderShop,
  job: SubmittedJob,
  { onEvent, signal, verify = true, keepWork = false }: RunOptions,
): Promise<VerifiedReceipt | undefined> {
  await logLostEnclave(shop, job);
  const cleared = async (verified: VerifiedReceipt) => {
    if (!keepWork) await removeWork(job);
    return verified;
  };
  const accepted = async (receipt: string) => cleared(await acceptReceipt(receipt, acceptanceOf(shop, job)));
  // A receipt that is there is that of a job which was accepted, or was stopped before.
  const existing = await readFile(receiptPath(job), 'utf8').catch(() => undefined);
  if (existing !== undefined) {
    try {
      const before = await acceptedBefore(existing, acceptanceOf(shop, job));
      if (before) return await cleared(before);
      if (!verify) return undefined;
      return await accepted(existing);
    } catch (error) {
      if (!(await setAside(shop, job, existing, error))) throw error;
    }
  }
  const rendered = await runJob({
    launcher: shop.launcher,
    manifest: job.manifest,
    files: {
      inputs: new Map(Object.entries(job.inputs)),
      quarantine: quarantineOf(job),
      checkpoints: join(job.folder, 'checkpoints'),
      receipt: receiptPath(job),
    },
    kms: shop.kms,
    onEvent,
    onStart: () => log(shop, 'enclave-started', job.jobId, { pcr0: shop.launcher.pcrs['0'] ?? '' }),
    onEnd: ({ job: reason, failure }) =>
      failure === undefined
        ? log(shop, 'enclave-ended', job.jobId, reason === undefined ? {} : { code: codeOf(reason) })
        : log(shop, 'enclave-not-ended', job.jobId, { code: codeOf(failure) }),
    signal,
  });
  let verified: VerifiedReceipt | undefined;
  try {
    verified = verify ? await accepted(rendered.receipt) : undefined;
  } catch (error) {
    // What failed first is the reason, not that a full disk takes no entry of the end either.
    await rendered.end().catch(() => undefined);
    throw error;
  }
  await rendered.end();
  return verified;
}

function codeOf(error: unknown): string {
  const { peerCode, code } = error as { peerCode?: string; code?: string };
  return peerCode ?? code ?? 'ERR_INTERNAL';
}

/** Of an enclave whose process was killed with its parent, nobody has logged an end. */
async function logLostEnclave(shop: RenderShop, { jobId }: SubmittedJob): Promise<void> {
  await withAuditLog(auditLogOf(shop), async ({ entries, append }) => {
    const last = entries.findLast((entry) => entry.jobId === jobId && entry.event.startsWith('enclave-'));
    if (last?.event === 'enclave-started') await append({ at: shop.now(), event: 'enclave-lost', jobId, details: {} });
  });
}

/**
 * Puts a receipt aside that was refused because its outputs are not there, or not as they were handed over, with the checkpoints of the
 * tasks that delivered them: these are done again, and no other. False when that is not why. Once the nonce is used up no other receipt
 * of the manifest is accepted: then the refusal says what to do.
 */
async function setAside(shop: RenderShop, job: SubmittedJob, receipt: string, error: unknown): Promise<boolean> {
  if (!(error instanceof ReceiptError && error.code.startsWith('ERR_RECEIPT_OUTPUT_'))) return false;
  const { quarantine, privateKey, nonces, ...policy } = acceptanceOf(shop, job);
  const unchecked = { nonceUsedFor: 'not-checked', outputs: 'not-checked' } as const;
  const verified = await verifyReceipt(receipt, { ...policy, ...unchecked, manifestSha384: job.manifestSha384 });
  if (await withNonceRegister(nonces, async ({ usedFor }) => usedFor(verified.manifest.nonce))) {
    const how = `the manifest is used up, so they cannot be made again: remove ${job.output} and ${quarantine}, and submit the job anew`;
    throw new ReceiptError(error.code, `${error.message}; ${how}`);
  }
  const spoilt = await spoiltTasks({ folder: quarantine, privateKey }, verified);
  if (spoilt.length === 0) return false;
  try {
    // The receipt last: stopped before, all of this is found and done again.
    for (const id of spoilt) {
      await rm(join(quarantine, id), { recursive: true, force: true });
      await rm(join(job.folder, 'checkpoints', id), { force: true });
    }
    await rename(receiptPath(job), `${receiptPath(job)}.refused`);
    await syncFolder(job.folder);
  } catch (failure) {
    throw storage(`cannot put the receipt of ${job.jobId} aside`, failure);
  }
  return true;
}

/** What only a job that goes on needs: its encrypted inputs, those that are not masters of the caller, and its checkpoints. */
export async function removeWork({ folder, inputs, output }: SubmittedJob): Promise<void> {
  const own = Object.values(inputs).filter((path) => dirname(path) === folder);
  const files = own.flatMap((path) => [path, manifestPath(path)]);
  const checkpoints = join(folder, 'checkpoints');
  // A parent that was killed has left what it had begun.
  const partials = [`${checkpoints}.partial`, `${quarantineOf({ output })}.partial`];
  try {
    for (const path of [...files, checkpoints, ...partials]) await rm(path, { recursive: true, force: true });
  } catch (error) {
    throw storage(
      `the outputs are in ${output}, but encrypted inputs and checkpoints cannot be removed from ${folder}`,
      error,
    );
  }
}

function storage(what: string, error: unknown): HostError {
  return new HostError('ERR_HOST_STORAGE', `${what}: ${(error as NodeJS.ErrnoException).code}`);
}

/** What the receipt of a job is held to. */
export function acceptanceOf(shop: OwnerSide, job: SubmittedJob): Acceptance {
  return {
    ownerKeys: [createPublicKey(shop.owner.signing)],
    roots: [...shop.roots],
    isolation: shop.isolation === 'none' ? ['bubblewrap', 'none'] : ['bubblewrap'],
    tasksOf,
    job: { jobId: job.jobId, manifestSha384: job.manifestSha384 },
    privateKey: shop.owner.opening,
    quarantine: quarantineOf(job),
    accepted: job.output,
    auditLog: auditLogOf(shop),
    nonces: join(shop.folder, 'nonces'),
    now: shop.now,
  };
}

export function auditLogPath({ folder }: Pick<OwnerSide, 'folder'>): string {
  return join(folder, 'audit.jsonl');
}

function auditLogOf(shop: Pick<OwnerSide, 'folder' | 'owner'>): AuditLogFile {
  return { path: auditLogPath(shop), signingKey: shop.owner.signing };
}

async function log(
  shop: Pick<RenderShop, 'folder' | 'owner' | 'now'>,
  event: AuditEvent,
  jobId: string,
  details: Record<string, string>,
): Promise<void> {
  await appendAuditEntry(auditLogOf(shop), { at: shop.now(), event, jobId, details });
}

/** The KMS key of jobs for enclaves of these registers, which decrypts for nobody else. */
async function jobKmsKey(kms: Submission['kms'], pcrs: Pcrs): Promise<string> {
  if (!(kms instanceof EmbeddedKms)) {
    const how = 'make one with the policy of portcullis kms policy, and name it with --job-key';
    throw new KmsError('ERR_KMS_VALIDATION', `jobs need a KMS key that decrypts for their enclaves only: ${how}`);
  }
  const image = createHash('sha256')
    .update(['0', '1', '2'].map((index) => pcrs[index]).join())
    .digest('hex');
  const alias = `alias/portcullis-render-${image.slice(0, 16)}`;
  await kms.createKey({ alias, attestation: { pcrs: { ...pcrs } } }).catch((error) => {
    if (!(error instanceof KmsError && error.code === 'ERR_KMS_ALREADY_EXISTS')) throw error;
  });
  return alias;
}

type Input = RenderManifest['inputs'][number];

/** A master of an input, by its path from `folder`, and what the manifest says of it: a plain file is encrypted, of a `framed` master the key is wrapped anew. */
async function encryptInput(
  shop: Submission,
  folder: string,
  parameter: string,
  given: RenderJob['inputs'][string],
  jobKey: Uint8Array,
): Promise<{ input: Input; path: string }> {
  const source = resolve(typeof given === 'string' ? given : given.path);
  const fileName = typeof given === 'string' ? plainName(source) : given.fileName;
  const isMaster = existsSync(manifestPath(source));
  const path = isMaster ? source : `input-${parameter}`;
  const { manifest, dataKey } = isMaster
    ? await openMasterKey(shop, source)
    : await encryptPlain(shop, source, join(folder, path));
  try {
    const { ciphertextBytes: bytes, ciphertextSha256: sha256 } = manifest;
    const wrappedKey = await wrapUnderJobKey(dataKey, jobKey);
    return { input: { name: parameter, bytes, sha256, fileName, wrappedKey }, path };
  } finally {
    dataKey.fill(0);
  }
}

/** A name that a renderer may see: of letters, digits, dots and dashes, and no option. */
function plainName(path: string): string {
  const plain = basename(path)
    .replaceAll(/[^A-Za-z0-9._-]/g, '_')
    .slice(-100);
  return /^[A-Za-z0-9]/.test(plain) ? plain : `input${plain}`;
}

async function encryptPlain({ now }: Submission, source: string, output: string) {
  const dataKey = randomBytes(32);
  const seconds = Math.floor(now() / 1000);
  return { manifest: await encryptMaster({ source, output, mode: 'framed', dataKey, now: seconds }), dataKey };
}

async function openMasterKey({ owner, mastering }: Submission, source: string) {
  const manifest = await readManifest(source);
  if (manifest.mode !== 'framed') {
    throw new RenderError(
      'ERR_RENDER_INPUT',
      `${source} is a master of mode ${manifest.mode}: give the plain file, or encrypt it with --mode framed`,
    );
  }
  const keys = { privateKey: owner.opening, ...(mastering ? { dataKeys: mastering.dataKeys } : {}) };
  const dataKey = await unwrapDataKey(manifest, keys);
  checkManifestMac(manifest, dataKey);
  return { manifest, dataKey };
}

async function masteringKey({ mastering }: Submission, jobKey: Uint8Array) {
  if (!mastering) throw new RenderError('ERR_RENDER_MANIFEST', 'there is no mastering key in the configuration');
  const context = { service: 'portcullis', purpose: 'master' };
  const { plaintext, encrypted, keyId } = await mastering.dataKeys.generate(mastering.keyId, 256, context);
  try {
    const encryptedKey = Buffer.from(encrypted).toString('base64');
    return { keyId, context, encryptedKey, wrappedKey: await wrapUnderJobKey(plaintext, jobKey) };
  } finally {
    plaintext.fill(0);
  }
}

/** What the disk refuses, as an error of ours. */
function storageFailure(error: unknown): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  const why = code === 'ENOSPC' ? 'the disk is full: make room, and submit it again' : code;
  return new HostError('ERR_HOST_STORAGE', `a file of the job cannot be written: ${why}`);
}

/** SHA-384 of the payload of a JWS, hexadecimal. */
function payloadSha384(jws: string): string {
  return createHash('sha384')
    .update(Buffer.from(jws.split('.')[1] ?? '', 'base64url'))
    .digest('hex');
}
