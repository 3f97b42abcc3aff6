import { createHash } from 'node:crypto';
import { openCoseSign1 } from '../attestation/cose-sign1.ts';
import { parseAttestation } from '../attestation/verify.ts';
import { canonicalJson } from '../canonical-json.ts';
import type { OpenedManifest } from '../render/manifest-signature.ts';
import type { RenderManifest } from '../render/render-manifest.ts';
import type { RenderTask } from '../render/render-task.ts';
import { sha384 } from './attested-statement.ts';
import {
  type AttestedStatement,
  JOB_PREDICATE,
  type JobStatement,
  TASK_PREDICATE,
  type TaskPredicate,
  type TaskStatement,
} from './statement.ts';

/** An output of a task, sealed. */
export interface SealedOutput {
  /** Relative path that the renderer gave it. */
  name: string;
  /** Of the ciphertext, hexadecimal. */
  sha256: string;
  /** `saltedPlaintext`, hexadecimal. */
  hmacSha256: string;
}

/** What a statement of a task says that neither manifest nor template does. */
export interface TaskRun extends Pick<TaskPredicate, 'sandbox' | 'launch' | 'startedAt' | 'finishedAt' | 'exitCode'> {
  /** SHA-384 of the renderer's program, hexadecimal. */
  rendererSha384: string;
  simulated: boolean;
  outputs: readonly SealedOutput[];
}

/** What statements call a launch, from the document that it got the job key with. Throws `AttestationError`. */
export function launchOf(keyAttestation: Uint8Array): TaskPredicate['launch'] {
  const { payload } = openCoseSign1(keyAttestation);
  const keyAttestationSha384 = createHash('sha384').update(payload).digest('hex');
  return { moduleId: parseAttestation(keyAttestation).moduleId, keyAttestationSha384 };
}

/** What an output of a task is called in statements, and its path in the folder of outputs: no two tasks share one. */
export function outputPath(taskId: string, name: string): string {
  return `${taskId}/${name}`;
}

/** SHA-384 of a renderer's arguments as canonical JSON, hexadecimal. */
export function argsSha384(args: readonly string[]): string {
  return sha384(canonicalJson(args));
}

/**
 * What a task reads, as one hash: SHA-256 of the canonical JSON of the manifest's inputs by name, length and SHA-256,
 * and of the statements of the tasks before it by id and SHA-384. A task that was done over other inputs, or over
 * another run of an earlier task, has another. `statements`: SHA-384 of the statement of every earlier task, by id.
 * Throws `RangeError` when one is missing.
 */
export function inputRoot(
  manifest: Pick<RenderManifest, 'inputs'>,
  task: Pick<RenderTask, 'inputs' | 'after'>,
  statements: ReadonlyMap<string, string>,
): string {
  const inputs = task.inputs.toSorted().map((name) => {
    const input = manifest.inputs.find((candidate) => candidate.name === name);
    if (!input) throw new RangeError('a task reads an input that the manifest does not have');
    return { name, bytes: input.bytes, sha256: input.sha256 };
  });
  const after = task.after.toSorted().map((id) => {
    const statementSha384 = statements.get(id);
    if (statementSha384 === undefined) throw new RangeError('a task comes before one that it needs');
    return { id, statementSha384 };
  });
  return createHash('sha256').update(canonicalJson({ inputs, after })).digest('hex');
}

/** The statement of a task that was done. `statements` as for `inputRoot`. */
export function taskStatement(
  { manifest, payloadSha384 }: OpenedManifest,
  task: RenderTask,
  statements: ReadonlyMap<string, string>,
  run: TaskRun,
): TaskStatement {
  const { outputs, rendererSha384, sandbox, launch, startedAt, finishedAt, exitCode, simulated } = run;
  const named = outputs.map((output) => ({ ...output, name: outputPath(task.id, output.name) }));
  return {
    _type: 'https://in-toto.io/Statement/v1',
    subject: named.map(({ name, sha256 }) => ({ name, digest: { sha256 } })),
    predicateType: TASK_PREDICATE,
    predicate: {
      jobId: manifest.jobId,
      manifestSha384: payloadSha384,
      task: { id: task.id, step: task.step, parameters: { ...task.parameters } },
      inputRootSha256: inputRoot(manifest, task, statements),
      saltedPlaintext: named.map(({ name, hmacSha256 }) => ({ name, hmacSha256 })),
      renderer: { name: task.renderer, sha384: rendererSha384, argsSha384: argsSha384(task.args) },
      sandbox,
      launch,
      startedAt,
      finishedAt,
      exitCode,
      simulated,
    },
  };
}

/**
 * The final statement: every task by the hash of its statement, in the order of the template, and what is delivered.
 * Which run of a task counts, this says alone. `delivered`: ids of the tasks whose outputs go to the owner.
 */
export function jobStatement(
  { manifest, payloadSha384 }: OpenedManifest,
  tasks: readonly Pick<AttestedStatement, 'statement'>[],
  delivered: ReadonlySet<string>,
  run: Pick<TaskRun, 'launch' | 'finishedAt' | 'simulated'>,
): JobStatement {
  const done = tasks.map(({ statement }) => ({ statement, content: JSON.parse(statement) as TaskStatement }));
  const idOf = ({ content }: (typeof done)[number]) => content.predicate.task.id;
  return {
    _type: 'https://in-toto.io/Statement/v1',
    subject: done.filter((task) => delivered.has(idOf(task))).flatMap(({ content }) => content.subject),
    predicateType: JOB_PREDICATE,
    predicate: {
      jobId: manifest.jobId,
      manifestSha384: payloadSha384,
      tasks: done.map((task) => ({ id: idOf(task), statementSha384: sha384(task.statement) })),
      launch: run.launch,
      finishedAt: run.finishedAt,
      simulated: run.simulated,
    },
  };
}
