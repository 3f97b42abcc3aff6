import type { KeyObject } from 'node:crypto';
import {
  type AttestationPolicy,
  AWS_NITRO_ROOT,
  type Pcrs,
  type VerifiedAttestation,
} from '../attestation/attestation-document.ts';
import { CertificateCache } from '../attestation/chain.ts';
import { verifyAttestation } from '../attestation/verify.ts';
import { thumbprint } from '../mastering/public-key.ts';
import { type OpenedManifest, openManifest, signerOf } from '../render/manifest-signature.ts';
import { RenderError, type RenderManifest } from '../render/render-manifest.ts';
import type { RenderTask } from '../render/render-task.ts';
import type { Isolation } from '../render/sandbox.ts';
import { sha384, userDataOf } from './attested-statement.ts';
import { argsSha384, inputRoot } from './make-statement.ts';
import { nonceUsed } from './nonce-register.ts';
import { parseJobStatement, parseReceipt, parseTaskStatement } from './parse-receipt.ts';
import { ReceiptError } from './receipt-error.ts';
import type { JobPredicate, JobStatement, Receipt, TaskPredicate, TaskStatement } from './statement.ts';
import { verifyOutputs } from './verify-outputs.ts';

/** What a receipt is held to. Nothing has a default: what is not to be checked is said in a word. */
export interface ReceiptPolicy {
  /** Ed25519 public keys that the owner signs manifests with. */
  ownerKeys: readonly KeyObject[];
  /**
   * SHA-384 of the payload of the manifest that was submitted, hexadecimal: a receipt of another job of the owner is
   * refused.
   */
  manifestSha384: string | 'any';
  /**
   * SHA-256 fingerprints of the roots that are trusted, hexadecimal. That of a simulator has to be named to be
   * believed.
   */
  roots: readonly string[];
  /** How renderers may have been kept in. */
  isolation: readonly Isolation[];
  /** What the owner has used nonces for, as `NonceRegister` says it. */
  nonceUsedFor: ((nonce: string) => string | undefined) | 'not-checked';
  /** The tasks that a manifest's template expands to, in its order. Its errors are passed on. */
  tasksOf: (manifest: RenderManifest) => readonly RenderTask[];
  /** Where the outputs lie, by their names in the statements, and the owner's private key that opens them. */
  outputs: { folder: string; privateKey: KeyObject } | 'not-checked';
}

/** What a receipt has proven. */
export interface VerifiedReceipt {
  manifest: RenderManifest;
  manifestSha384: string;
  /** JWK thumbprint of the key that signed the manifest. */
  owner: string;
  /** SHA-384 of the final statement, hexadecimal: what the receipt is known by. */
  statementSha384: string;
  /**
   * Every launch that did something, with its registers. `at`: when it asked for its key, milliseconds since the epoch.
   */
  launches: { moduleId: string; pcrs: Pcrs; root: string; at: number }[];
  /** In the order of the template. */
  tasks: TaskPredicate[];
  job: JobPredicate;
  /** What is delivered: SHA-256 of the ciphertext by name. */
  outputs: { name: string; sha256: string }[];
  /** Whether the outputs were there, opened, and were what was rendered. */
  outputsVerified: boolean;
  /** Whether any of it was attested by a simulated security module. */
  simulated: boolean;
}

/** A statement with the attestation that it is bound into. */
interface Attested<Content extends TaskStatement | JobStatement> {
  content: Content;
  sha384: string;
  attestation: VerifiedAttestation;
}

/** All of a receipt, once every document of it is genuine, allowed and bound to what stands beside it. */
interface Evidence extends OpenedManifest {
  keys: VerifiedAttestation[];
  tasks: Attested<TaskStatement>[];
  job: Attested<JobStatement>;
  /** Of the template. */
  expected: readonly RenderTask[];
}

/**
 * Verifies a receipt, in this order: its form, the owner's signature, every attestation, the nonce, time, root,
 * launches, manifest, tasks, inputs, then the outputs: their ciphertext, who can open them, and what they open to.
 * Documents are verified at their own time: that they are fresh is proven by the manifest's nonce, and whether they
 * came in time by `expiresAt`. Rejects with `ReceiptError`, and with `AttestationError`, `PolicyError` and
 * `RenderError` as they come.
 */
export async function verifyReceipt(text: string, policy: ReceiptPolicy): Promise<VerifiedReceipt> {
  const receipt = parseReceipt(text);
  const opened = await openOwnManifest(receipt.manifest, policy);
  const evidence = verifyAttestations(receipt, opened, policy);
  refuseUsedNonce(evidence, policy.nonceUsedFor);
  refuseExpired(evidence);
  requireHonestRoot(evidence);
  requireLaunches(evidence);
  requireManifest(evidence);
  requireTasks(evidence);
  requireListedRuns(evidence);
  for (const [index, task] of evidence.expected.entries()) {
    const run = evidence.tasks[index] as Attested<TaskStatement>;
    requireTemplate(run, task);
    requireSuccess(run);
    requireTimes(run, evidence);
    requireIsolation(run, policy.isolation);
  }
  requireInputs(evidence);
  requireDelivered(evidence);
  if (policy.outputs !== 'not-checked') await verifyOutputs(policy.outputs, delivered(evidence), evidence.manifest);
  return proven(evidence, policy.outputs !== 'not-checked');
}

async function openOwnManifest(jws: string, { ownerKeys, manifestSha384 }: ReceiptPolicy): Promise<OpenedManifest> {
  const signer = signerOf(jws);
  if (signer !== undefined && !ownerKeys.some((key) => thumbprint(key) === signer)) {
    throw new ReceiptError('ERR_RECEIPT_OWNER', 'the manifest is not signed with a key of this owner');
  }
  const opened = await openManifest(jws, ownerKeys).catch((error) => {
    if (!(error instanceof RenderError)) throw error;
    throw new ReceiptError('ERR_RECEIPT_MANIFEST', `the manifest of the receipt was changed: ${error.message}`);
  });
  if (manifestSha384 === 'any' || opened.payloadSha384 === manifestSha384) return opened;
  throw new ReceiptError('ERR_RECEIPT_JOB', 'the receipt is for another manifest of this owner than the one submitted');
}

/**
 * Every document against the signed manifest, each bound to what stands beside it. Throws what `verifyAttestation`
 * does.
 */
function verifyAttestations(receipt: Receipt, opened: OpenedManifest, { roots, tasksOf }: ReceiptPolicy): Evidence {
  const { manifest, payloadSha384 } = opened;
  const allowed: Omit<AttestationPolicy, 'userData'> = {
    profile: 'nitro',
    roots: roots.filter((root) => manifest.roots.includes(root)),
    at: 'document',
    pcrs: manifest.pcrs,
    nonce: Buffer.from(manifest.nonce, 'hex'),
  };
  const cache = new CertificateCache();
  const verified = (document: string, userData: Uint8Array) =>
    verifyAttestation(Buffer.from(document, 'base64'), { ...allowed, userData }, cache);
  const keys = receipt.keyAttestations.map((document) => verified(document, userDataOf('key', payloadSha384)));
  const tasks = receipt.tasks.map((task) => {
    const hash = sha384(task.statement);
    const attestation = verified(task.attestation, userDataOf('task', hash));
    return { content: parseTaskStatement(task), sha384: hash, attestation };
  });
  const hash = sha384(receipt.job.statement);
  const attestation = verified(receipt.job.attestation, userDataOf('job', hash));
  const job = { content: parseJobStatement(receipt.job), sha384: hash, attestation };
  return { ...opened, keys, tasks, job, expected: tasksOf(manifest) };
}

/** A nonce is used once; for the very same receipt, whose acceptance was interrupted, it may be used again. */
function refuseUsedNonce({ manifest, job }: Evidence, usedFor: ReceiptPolicy['nonceUsedFor']): void {
  if (usedFor === 'not-checked') return;
  const statement = usedFor(manifest.nonce);
  if (statement !== undefined && statement !== job.sha384) throw nonceUsed();
}

function refuseExpired({ manifest, keys, tasks, job }: Evidence): void {
  const attestations = [...keys, ...tasks.map(({ attestation }) => attestation), job.attestation];
  if (attestations.every(({ timestamp }) => timestamp <= manifest.expiresAt * 1000)) return;
  throw new ReceiptError('ERR_RECEIPT_EXPIRED', 'the enclave worked on after the manifest had expired');
}

/** Whether a module is simulated, its root decides; a statement that says otherwise is a lie. */
function requireHonestRoot({ tasks, job }: Evidence): void {
  for (const { content, attestation } of [...tasks, job]) {
    if (content.predicate.simulated === isSimulated(attestation)) continue;
    throw new ReceiptError(
      'ERR_RECEIPT_SIMULATED',
      'a statement says otherwise than the root of its attestation whether the security module was a simulated one',
    );
  }
}

function isSimulated({ root }: Pick<VerifiedAttestation, 'root'>): boolean {
  return root !== AWS_NITRO_ROOT;
}

/** Every statement comes from the enclave that got the key: one module id, the same registers, the same root. */
function requireLaunches({ keys, tasks, job }: Evidence): void {
  const refuse = (why: string) => new ReceiptError('ERR_RECEIPT_LAUNCH', why);
  const launches = new Map(keys.map((key) => [key.payloadSha384, key]));
  if (launches.size < keys.length) throw refuse('a launch is listed twice');
  if (keys.some(({ publicKey }) => publicKey === null)) throw refuse('a launch asked for its key without a public key');
  const used = new Set<string>();
  for (const { content, attestation } of [...tasks, job]) {
    const { moduleId, keyAttestationSha384 } = content.predicate.launch;
    const key = launches.get(keyAttestationSha384);
    if (!key) throw refuse('a statement is of a launch that is not listed');
    const isSame =
      moduleId === key.moduleId &&
      attestation.moduleId === key.moduleId &&
      attestation.root === key.root &&
      hasSamePcrs(attestation.pcrs, key.pcrs);
    if (!isSame) throw refuse('a statement was attested by another enclave than the one that got the key');
    used.add(keyAttestationSha384);
  }
  if (used.size < keys.length) throw refuse('a launch is listed that no statement is of');
}

function hasSamePcrs(a: Pcrs, b: Pcrs): boolean {
  const indices = Object.keys(a);
  return indices.length === Object.keys(b).length && indices.every((index) => a[index] === b[index]);
}

function requireManifest({ manifest, payloadSha384, tasks, job }: Evidence): void {
  const isSame = [...tasks, job].every(
    ({ content: { predicate } }) => predicate.jobId === manifest.jobId && predicate.manifestSha384 === payloadSha384,
  );
  if (isSame) return;
  throw new ReceiptError('ERR_RECEIPT_STATEMENT', 'a statement is of another job or manifest than the receipt');
}

/** What is there, and what the final statement lists, are the tasks of the template: each once, in its order. */
function requireTasks({ tasks, job, expected }: Evidence): void {
  const wanted = expected.map(({ id }) => id);
  const lists = {
    'the receipt': tasks.map(({ content }) => content.predicate.task.id),
    'the final statement': job.content.predicate.tasks.map(({ id }) => id),
  };
  for (const [where, ids] of Object.entries(lists)) {
    const present = new Set(ids);
    if (present.size < ids.length) throw new ReceiptError('ERR_RECEIPT_TASK_TWICE', `a task is in ${where} twice`);
    if (!ids.every((id) => wanted.includes(id))) {
      throw new ReceiptError('ERR_RECEIPT_TASK_UNKNOWN', `a task in ${where} is none of the template`);
    }
    if (present.size < wanted.length) {
      throw new ReceiptError('ERR_RECEIPT_TASK_MISSING', `a task of the template is not in ${where}`);
    }
    if (ids.some((id, index) => id !== wanted[index])) {
      throw new ReceiptError('ERR_RECEIPT_TASK_ORDER', `tasks are in another order in ${where} than in the template`);
    }
  }
}

/** Which run of a task counts, the final statement decides. */
function requireListedRuns({ tasks, job }: Evidence): void {
  const listed = job.content.predicate.tasks;
  if (tasks.every((task, index) => task.sha384 === listed[index]?.statementSha384)) return;
  throw new ReceiptError('ERR_RECEIPT_TASK_REPLACED', 'a task is not the run of it that the final statement lists');
}

function requireTemplate({ content: { predicate } }: Attested<TaskStatement>, task: RenderTask): void {
  const names = Object.keys(task.parameters);
  const isSame =
    predicate.task.step === task.step &&
    names.length === Object.keys(predicate.task.parameters).length &&
    names.every((name) => predicate.task.parameters[name] === task.parameters[name]) &&
    predicate.renderer.name === task.renderer &&
    predicate.renderer.argsSha384 === argsSha384(task.args);
  if (isSame) return;
  throw new ReceiptError(
    'ERR_RECEIPT_TASK_OTHER',
    'a task was done with other parameters, renderer or arguments than the template has',
  );
}

function requireSuccess({ content }: Attested<TaskStatement>): void {
  if (content.predicate.exitCode === 0) return;
  throw new ReceiptError('ERR_RECEIPT_TASK_FAILED', 'a renderer ended with an error, and its output was delivered');
}

/** A task is done after its launch got the key and before it was attested, and before the job ended. */
function requireTimes({ content: { predicate }, attestation }: Attested<TaskStatement>, { keys, job }: Evidence): void {
  const { startedAt, finishedAt, launch } = predicate;
  const key = keys.find(({ payloadSha384 }) => payloadSha384 === launch.keyAttestationSha384);
  const moments = [key?.timestamp ?? Number.NaN, startedAt, finishedAt, attestation.timestamp];
  const ended = job.content.predicate.finishedAt;
  const isOrdered = moments.every((moment, index) => index === 0 || (moments[index - 1] as number) <= moment);
  if (isOrdered && finishedAt <= ended && ended <= job.attestation.timestamp) return;
  throw new ReceiptError(
    'ERR_RECEIPT_TIME',
    'a task is said to have been done before its launch, or after it was attested',
  );
}

function requireIsolation({ content }: Attested<TaskStatement>, allowed: readonly Isolation[]): void {
  const { sandbox, renderer } = content.predicate;
  // Packaging is part of the measured agent, and of nothing else may that be said.
  if (sandbox.isolation === 'agent' ? renderer.name === 'package-hls' : allowed.includes(sandbox.isolation)) return;
  throw new ReceiptError('ERR_RECEIPT_ISOLATION', 'a renderer ran in an isolation that is not allowed here');
}

/** Each task read the inputs of the manifest, and what those runs of earlier tasks left that are in this receipt. */
function requireInputs({ manifest, expected, tasks }: Evidence): void {
  const statements = new Map<string, string>();
  for (const [index, task] of expected.entries()) {
    const run = tasks[index] as Attested<TaskStatement>;
    if (run.content.predicate.inputRootSha256 !== inputRoot(manifest, task, statements)) {
      throw new ReceiptError(
        'ERR_RECEIPT_INPUT',
        'a task read other inputs than those of the manifest and of the receipt',
      );
    }
    statements.set(task.id, run.sha384);
  }
}

/** The runs whose outputs go to the owner. */
function delivered({ expected, tasks }: Evidence): TaskStatement[] {
  return tasks.filter((_, index) => expected[index]?.delivered).map(({ content }) => content);
}

/** What the final statement delivers is what its tasks left, each with a salted hash, under the name of its task. */
function requireDelivered(evidence: Evidence): void {
  const refuse = (why: string) => new ReceiptError('ERR_RECEIPT_OUTPUTS', why);
  for (const { subject, predicate } of delivered(evidence)) {
    if (subject.length === 0) throw refuse('a task that has to deliver something delivered nothing');
    const names = subject.map(({ name }) => name);
    if (new Set(names).size < names.length) throw refuse('a task delivered one name twice');
    if (!names.every((name) => name.startsWith(`${predicate.task.id}/`)))
      throw refuse('an output has the name of another task');
    if (names.join('\n') !== predicate.saltedPlaintext.map(({ name }) => name).join('\n')) {
      throw refuse('an output has no salted hash, or a salted hash no output');
    }
  }
  const all = delivered(evidence).flatMap(({ subject }) => subject);
  const listed = evidence.job.content.subject;
  const isSame = all.every(
    ({ name, digest }, index) => listed[index]?.name === name && listed[index].digest.sha256 === digest.sha256,
  );
  if (!isSame || all.length !== listed.length)
    throw refuse('the final statement delivers something else than its tasks');
}

function proven(evidence: Evidence, outputsVerified: boolean): VerifiedReceipt {
  const { manifest, payloadSha384, owner, keys, tasks, job } = evidence;
  return {
    manifest,
    manifestSha384: payloadSha384,
    owner,
    statementSha384: job.sha384,
    launches: keys.map(({ moduleId, pcrs, root, timestamp }) => ({ moduleId, pcrs, root, at: timestamp })),
    tasks: tasks.map(({ content }) => content.predicate),
    job: job.content.predicate,
    outputs: job.content.subject.map(({ name, digest }) => ({ name, sha256: digest.sha256 })),
    outputsVerified,
    simulated: keys.some(isSimulated),
  };
}
