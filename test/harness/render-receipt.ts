import { type KeyObject, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { encryptMaster } from '../../enclave-render/mastering/encrypt.ts';
import { attestedStatement, sha384, userDataOf } from '../../enclave-render/receipt/attested-statement.ts';
import { buildReceipt } from '../../enclave-render/receipt/build-receipt.ts';
import {
  jobStatement,
  launchOf,
  outputPath,
  type SealedOutput,
  taskStatement,
} from '../../enclave-render/receipt/make-statement.ts';
import { saltedPlaintext } from '../../enclave-render/receipt/salted-plaintext.ts';
import type { AttestedStatement, JobStatement, TaskStatement } from '../../enclave-render/receipt/statement.ts';
import type { ReceiptPolicy } from '../../enclave-render/receipt/verify-receipt.ts';
import { openManifest, signManifest } from '../../enclave-render/render/manifest-signature.ts';
import type { RenderManifest } from '../../enclave-render/render/render-manifest.ts';
import type { RenderTask } from '../../enclave-render/render/render-task.ts';
import type { SecurityModule } from '../../enclave-render/security-module/security-module.ts';
import { documentOf, issueChain, REGISTERS, type TestChain, TIMESTAMP } from './attestation-documents.ts';
import { renderManifest, renderOwner } from './render-manifest.ts';

/** Two shots that stay inside, and what is made of them, which is delivered. */
export const TASKS: readonly RenderTask[] = [
  { ...shot(0), id: 'Shot.0' },
  { ...shot(1), id: 'Shot.1' },
  {
    id: 'Join',
    step: 'Join',
    parameters: {},
    renderer: 'ffmpeg',
    args: ['-i', '/in/Shot.0/shot.mkv', '-i', '/in/Shot.1/shot.mkv', '/out/feature.mkv'],
    inputs: [],
    after: ['Shot.0', 'Shot.1'],
    delivered: true,
  },
];

function shot(index: number): Omit<RenderTask, 'id'> {
  const args = ['-ss', `${index}`, '-i', '/in/Source', '/out/shot.mkv'];
  return {
    step: 'Shot',
    parameters: { Index: index },
    renderer: 'ffmpeg',
    args,
    inputs: ['Source'],
    after: [],
    delivered: false,
  };
}

export const PLAINTEXT = Buffer.from('what was rendered '.repeat(70_000));

/** What an enclave of a test does otherwise. */
export interface EnclaveChanges {
  chain?: TestChain;
  moduleId?: string;
  pcrs?: Map<number, Uint8Array>;
  /** Of the first document, milliseconds since the epoch; each after it is a second later. */
  at?: number;
  nonce?: Uint8Array;
  publicKey?: Uint8Array | null;
  simulated?: boolean;
  /** Alters statements before they are attested. */
  task?: (statement: TaskStatement) => void;
  job?: (statement: JobStatement) => void;
}

/** An owner with a signed manifest, and the files of the owner. */
export async function renderJob(folder: string, changes: Partial<RenderManifest> = {}, owner = renderOwner()) {
  const chain = issueChain();
  const registers = Object.fromEntries([...REGISTERS].map(([index, value]) => [index, value.toString('hex')]));
  const { '0': pcr0 = '', '1': pcr1 = '', '2': pcr2 = '' } = registers;
  const pcrs = { '0': pcr0, '1': pcr1, '2': pcr2 };
  const manifest = renderManifest(owner, { pcrs, roots: [chain.root], ...changes });
  const jws = await signManifest(manifest, owner.signing.privateKey);
  const opened = await openManifest(jws, [owner.signing.publicKey]);
  const path = (name: string) => join(folder, name);
  return { owner, chain, manifest, jws, opened, path };
}

export type RenderJob = Awaited<ReturnType<typeof renderJob>>;

/** What a receipt of a job is held to, with what a test wants otherwise. */
export function receiptPolicy(job: RenderJob, changes: Partial<ReceiptPolicy> = {}): ReceiptPolicy {
  return {
    ownerKeys: [job.owner.signing.publicKey],
    manifestSha384: job.opened.payloadSha384,
    roots: [job.chain.root],
    isolation: ['bubblewrap'],
    nonceUsedFor: () => undefined,
    tasksOf: () => TASKS,
    outputs: 'not-checked',
    ...changes,
  };
}

/** A launch of an enclave: it has asked for its key, and attests what it is told to. */
export async function launchEnclave(job: RenderJob, changes: EnclaveChanges = {}) {
  const { chain = job.chain, moduleId = 'i-0123456789abcdef0-enc0000000000000001', pcrs = REGISTERS } = changes;
  const nonce = changes.nonce ?? Buffer.from(job.manifest.nonce, 'hex');
  let clock = changes.at ?? TIMESTAMP;
  const module: SecurityModule = {
    describe: () => Promise.reject(new Error('nobody asks')),
    random: async () => randomBytes(32),
    async attest({ userData = null, publicKey = null }) {
      const timestamp = clock;
      clock += 1000;
      const fields = { module_id: moduleId, timestamp, pcrs, nonce, user_data: userData, public_key: publicKey };
      return documentOf(chain, fields);
    },
  };
  const publicKey = changes.publicKey === undefined ? randomBytes(294) : changes.publicKey;
  const keyAttestation = await module.attest({
    userData: userDataOf('key', job.opened.payloadSha384),
    ...(publicKey ? { publicKey } : {}),
  });
  const launch = launchOf(keyAttestation);
  const { simulated = true } = changes;

  /** Does a task. `statements`: of the tasks before it. */
  const runTask = async (task: RenderTask, before: readonly AttestedStatement[], outputs: readonly SealedOutput[]) => {
    const statements = new Map(
      before.map(({ statement }) => [JSON.parse(statement).predicate.task.id, sha384(statement)]),
    );
    const statement = taskStatement(job.opened, task, statements, {
      rendererSha384: '77'.repeat(48),
      sandbox: { isolation: 'bubblewrap', sha384: '88'.repeat(48) },
      launch,
      startedAt: clock - 500,
      finishedAt: clock - 100,
      exitCode: 0,
      simulated,
      outputs,
    });
    changes.task?.(statement);
    return attestedStatement(module, statement, job.manifest.nonce);
  };

  /** Ends the job. */
  const finish = (tasks: readonly AttestedStatement[]) => {
    const delivered = new Set(TASKS.filter((task) => task.delivered).map(({ id }) => id));
    const statement = jobStatement(job.opened, tasks, delivered, { launch, finishedAt: clock - 50, simulated });
    changes.job?.(statement);
    return attestedStatement(module, statement, job.manifest.nonce);
  };
  return { keyAttestation, launch, runTask, finish };
}

/** Seals an output for the owner into a folder, as an enclave does. */
export async function sealOutput(
  folder: string,
  task: RenderTask,
  name: string,
  plaintext: Uint8Array,
  recipient: KeyObject,
): Promise<SealedOutput> {
  const output = join(folder, outputPath(task.id, name));
  const source = `${folder}.plaintext`;
  mkdirSync(dirname(output), { recursive: true });
  writeFileSync(source, plaintext);
  const dataKey = randomBytes(32);
  const hmacSha256 = saltedPlaintext(dataKey).update(plaintext).digest('hex');
  const sealed = {
    source,
    output,
    mode: 'framed' as const,
    dataKey,
    publicKeys: [recipient],
    now: 1,
    force: existsSync(output),
  };
  const { ciphertextSha256 } = await encryptMaster(sealed);
  return { name, sha256: ciphertextSha256, hmacSha256 };
}

/** All of a job in one launch: the receipt, and the outputs in a folder. */
export async function render(job: RenderJob, folder: string, changes: EnclaveChanges = {}) {
  const enclave = await launchEnclave(job, changes);
  const tasks: AttestedStatement[] = [];
  for (const task of TASKS) {
    const sealed = task.delivered
      ? [await sealOutput(folder, task, 'feature.mkv', PLAINTEXT, job.owner.outputs.publicKey)]
      : [];
    tasks.push(await enclave.runTask(task, tasks, sealed));
  }
  const ended = await enclave.finish(tasks);
  const receipt = buildReceipt({ manifest: job.jws, keyAttestations: [enclave.keyAttestation], tasks, job: ended });
  return { receipt, text: JSON.stringify(receipt), enclave };
}
