import { createHash, createPublicKey } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { AWS_NITRO_ROOT } from '../attestation/attestation-document.ts';
import { parseAttestation } from '../attestation/verify.ts';
import type { RecipientKeyPair } from '../kms/recipient.ts';
import { movieSeconds } from '../packaging/mp4-movie.ts';
import { attestedStatement, sha384 } from '../receipt/attested-statement.ts';
import { buildReceipt } from '../receipt/build-receipt.ts';
import { inputRoot, jobStatement, launchOf, taskStatement } from '../receipt/make-statement.ts';
import type { TaskPredicate } from '../receipt/statement.ts';
import { requireDeclared } from '../render/declared-outputs.ts';
import { unwrapUnderJobKey } from '../render/job-key.ts';
import { type OpenedManifest, openManifest } from '../render/manifest-signature.ts';
import { contentKeysForOwner } from '../render/owner-content-keys.ts';
import { RenderError, type RenderManifest } from '../render/render-manifest.ts';
import type { Renderer, RenderTask } from '../render/render-task.ts';
import { ffmpegProgress, ffmpegSeconds } from '../render/renderers/ffmpeg.ts';
import { packageTask } from '../render/renderers/package-task.ts';
import type { Sandbox, SandboxInput } from '../render/sandbox.ts';
import { inputReader } from '../render/sandbox-inputs.ts';
import type { SecurityModule } from '../security-module/security-module.ts';
import { type DoneTask, jobCheckpoints, type TaskOutputs } from './agent-checkpoints.ts';
import { attestKey, releaseJobKey } from './agent-key.ts';
import { type OutputRecipients, sealOutput } from './agent-outputs.ts';
import { taskProgress } from './agent-progress.ts';
import { type TaskFiles, taskFiles } from './agent-task-files.ts';
import { type Connection, codeOf } from './frames.ts';
import { CHUNK_BYTES, type TO_PARENT } from './messages.ts';
import type { RunnerConfiguration } from './runner-configuration.ts';

/** What an enclave has: its module, its measured configuration, and memory to work in. */
export interface AgentEnclave {
  module: SecurityModule;
  configuration: RunnerConfiguration;
  sandbox: Sandbox;
  /** Empty folder in memory. */
  scratch: string;
  /** The tasks of a manifest's template, in order. Throws `ERR_RENDER_TEMPLATE`. */
  tasksOf: (manifest: RenderManifest) => readonly RenderTask[];
}

/** What a job has while it runs. */
interface Job extends AgentEnclave {
  opened: OpenedManifest;
  parent: Connection<typeof TO_PARENT>;
  signal: AbortSignal;
  jobKey: Uint8Array;
  keyAttestation: Uint8Array;
  simulated: boolean;
  recipients: OutputRecipients;
}

/**
 * Runs a job: verifies its manifest, asks for its key with an attestation, does its tasks in order, seals what they deliver, and hands
 * over the receipt. `jws`: the manifest as the owner signed it. Rejects with the error of whatever failed, and then everything of the
 * job is closed and its keys are overwritten.
 */
export async function renderJob(
  jws: string,
  keys: RecipientKeyPair,
  enclave: AgentEnclave,
  parent: Connection<typeof TO_PARENT>,
  signal: AbortSignal,
): Promise<void> {
  const opened = await openManifest(jws, enclave.configuration.owners.map(createPublicKey));
  const tasks = enclave.tasksOf(opened.manifest);
  const keyAttestation = await attestKey(opened, keys, enclave.module);
  const document = parseAttestation(keyAttestation);
  refuseExpired(document.timestamp, opened.manifest);
  await parent.ask('event', { code: 'MANIFEST_ACCEPTED' });
  const jobKey = await releaseJobKey(opened, keys, keyAttestation, parent);
  let recipients: OutputRecipients | undefined;
  try {
    await parent.ask('event', { code: 'KEY_RELEASED' });
    recipients = await recipientsOf(opened.manifest, jobKey);
    const [root = new Uint8Array()] = document.cabundle;
    const simulated = createHash('sha256').update(root).digest('hex') !== AWS_NITRO_ROOT.toLowerCase();
    const job = { ...enclave, opened, parent, signal, jobKey, keyAttestation, simulated, recipients };
    const done = await runTasks(job, tasks);
    await handOverReceipt(job, jws, tasks, done);
  } finally {
    jobKey.fill(0);
    recipients?.mastering?.contentKey.fill(0);
  }
}

async function recipientsOf({ output }: RenderManifest, jobKey: Uint8Array): Promise<OutputRecipients> {
  const ownerKey = createPublicKey(output.ownerKey);
  if (!output.mastering) return { ownerKey };
  const contentKey = await unwrapUnderJobKey(output.mastering.wrappedKey, jobKey);
  return { ownerKey, mastering: { recipient: output.mastering, contentKey } };
}

/** Does the tasks in order. What one left is kept, in memory, until no later one reads it. */
async function runTasks(job: Job, tasks: readonly RenderTask[]): Promise<DoneTask[]> {
  const { opened, parent, signal } = job;
  const files = taskFiles(job, tasks);
  const checkpoints = await jobCheckpoints({ ...job, manifestSha384: opened.payloadSha384 });
  const statements = new Map<string, string>();
  const done: DoneTask[] = [];
  try {
    for (const task of tasks) {
      signal.throwIfAborted();
      const root = inputRoot(opened.manifest, task, statements);
      const restored = await checkpoints.restore(task, root);
      if (restored) files.keep(task, restored.left);
      const finished = restored?.done ?? (await runTask(job, task, statements, files));
      statements.set(task.id, sha384(finished.attested.statement));
      done.push(finished);
      if (!restored) await checkpoints.save(task, root, finished, files.neededAfter(task));
      await parent.ask('event', { code: restored ? 'TASK_RESUMED' : 'TASK_FINISHED', task: task.id });
      await files.release(task);
    }
    return done;
  } finally {
    await files.close();
  }
}

async function runTask(
  job: Job,
  task: RenderTask,
  statements: ReadonlyMap<string, string>,
  files: TaskFiles,
): Promise<DoneTask> {
  const { parent } = job;
  await parent.ask('event', { code: 'TASK_STARTED', task: task.id });
  try {
    return await renderTask(job, task, statements, files);
  } catch (error) {
    await parent.ask('event', { code: 'TASK_FAILED', task: task.id, error: codeOf(error) }).catch(() => undefined);
    throw error;
  }
}

async function renderTask(
  job: Job,
  task: RenderTask,
  statements: ReadonlyMap<string, string>,
  files: TaskFiles,
): Promise<DoneTask> {
  const { opened, parent, module, keyAttestation, simulated, recipients } = job;
  const inputs = await files.inputsOf(task);
  const startedAt = await timeOf(module);
  refuseExpired(startedAt, opened.manifest);
  const done =
    task.renderer === 'package-hls' ? await runPackaging(job, task, inputs) : await runRenderer(job, task, inputs);
  files.keep(task, done);
  requireDeclared(task, done.outputs);
  const finishedAt = await timeOf(module);
  const outputs = [];
  for (const output of task.delivered ? done.outputs : []) {
    const createdAt = Math.floor(finishedAt / 1000);
    const sealed = await sealOutput(task.id, output, recipients, createdAt, (path, offset, bytes, done) =>
      parent.ask('writeOutput', { path, offset, bytes, done }),
    );
    outputs.push(sealed);
    await parent.ask('event', { code: 'OUTPUT_SEALED', task: task.id });
  }
  const statement = taskStatement(opened, task, statements, {
    rendererSha384: done.rendererSha384,
    sandbox: { isolation: done.isolation, sha384: done.sandboxSha384 },
    launch: launchOf(keyAttestation),
    startedAt,
    finishedAt,
    exitCode: 0,
    simulated,
    outputs,
  });
  return { attested: await attestedStatement(module, statement, opened.manifest.nonce), keyAttestation };
}

/** What a task left, and what did it. */
interface TaskResult extends TaskOutputs {
  rendererSha384: string;
  isolation: TaskPredicate['sandbox']['isolation'];
  sandboxSha384: string;
}

async function runRenderer(job: Job, task: RenderTask, inputs: SandboxInput[]): Promise<TaskResult> {
  const { configuration, sandbox, signal } = job;
  const command = programOf(configuration, task.renderer);
  const rendererSha384 = await fileSha384(command);
  const onOutput = await progressOf(job, task, inputs);
  const { limits } = configuration;
  const result = await sandbox.run({ command, args: task.args, inputs, limits, signal, ...(onOutput && { onOutput }) });
  return { ...result, rendererSha384, isolation: sandbox.isolation };
}

/** What tells the parent of the progress in what a renderer prints; undefined where nobody knows how much there is to do. */
async function progressOf({ parent }: Job, { id, renderer, args }: RenderTask, inputs: readonly SandboxInput[]) {
  if (renderer !== 'ffmpeg') return undefined;
  const first = inputs.find(({ name }) => args[args.indexOf('-i') + 1] === `/in/${name}`);
  const inputSeconds = first && (await movieSeconds(await inputReader(first.fd)));
  const seconds = ffmpegSeconds(args, inputSeconds);
  if (seconds === undefined) return undefined;
  const tell = (percent: number) => parent.ask('event', { code: 'TASK_PROGRESS', task: id, percent });
  const progress = taskProgress({ tell, now: () => performance.now() });
  return (text: string) => progress((ffmpegProgress(text) ?? 0) / seconds);
}

/** Packaging is part of the agent: no program of its own, and around it the enclave and nothing else. */
async function runPackaging(job: Job, { args }: RenderTask, inputs: SandboxInput[]): Promise<TaskResult> {
  const { configuration, recipients, scratch, signal } = job;
  const newContentKey = contentKeysForOwner(recipients.ownerKey);
  const { outputBytes } = configuration.limits;
  const left = await packageTask({ args, inputs, scratch, newContentKey, outputBytes, signal });
  const rendererSha384 = await fileSha384(fileURLToPath(import.meta.url));
  return { ...left, rendererSha384, isolation: 'agent', sandboxSha384: sha384('part of the agent') };
}

async function handOverReceipt(job: Job, jws: string, tasks: readonly RenderTask[], done: DoneTask[]): Promise<void> {
  const { opened, module, keyAttestation, simulated, parent } = job;
  const attested = done.map((task) => task.attested);
  const delivered = new Set(tasks.filter((task) => task.delivered).map(({ id }) => id));
  const finishedAt = await timeOf(module);
  refuseExpired(finishedAt, opened.manifest);
  const statement = jobStatement(opened, attested, delivered, {
    launch: launchOf(keyAttestation),
    finishedAt,
    simulated,
  });
  const receipt = buildReceipt({
    manifest: jws,
    keyAttestations: [...done.map((task) => task.keyAttestation), keyAttestation],
    tasks: attested,
    job: await attestedStatement(module, statement, opened.manifest.nonce),
  });
  const bytes = Buffer.from(JSON.stringify(receipt));
  for (let offset = 0; offset < bytes.length; offset += CHUNK_BYTES) {
    const piece = bytes.subarray(offset, offset + CHUNK_BYTES);
    await parent.ask('writeReceipt', { offset, bytes: piece, done: offset + CHUNK_BYTES >= bytes.length });
  }
  await parent.ask('event', { code: 'RECEIPT_ISSUED' });
}

/** The clock of an enclave is its parent's to set; that of its module is not. Milliseconds since the epoch. */
async function timeOf(module: SecurityModule): Promise<number> {
  return parseAttestation(await module.attest({})).timestamp;
}

function refuseExpired(now: number, { expiresAt }: RenderManifest): void {
  if (now <= expiresAt * 1000) return;
  throw new RenderError('ERR_RENDER_EXPIRED', 'the manifest has expired: sign another one');
}

function programOf({ renderers }: RunnerConfiguration, renderer: Renderer): string {
  const program = renderer === 'package-hls' ? undefined : renderers[renderer];
  if (program !== undefined) return program;
  throw new RenderError('ERR_RENDER_TEMPLATE', `this enclave has no renderer ${renderer}`);
}

async function fileSha384(path: string): Promise<string> {
  const hash = createHash('sha384');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
