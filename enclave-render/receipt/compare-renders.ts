import type { KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openMaster } from '../mastering/open-master.ts';
import { readManifest } from '../mastering/opened.ts';
import { unwrapDataKey } from '../mastering/recipients.ts';
import { checkManifestMac } from '../mastering/signed-manifest.ts';
import { isSaltedPlaintext } from './salted-plaintext.ts';
import type { TaskPredicate } from './statement.ts';
import { opening, plaintextOf } from './verify-outputs.ts';
import type { VerifiedReceipt } from './verify-receipt.ts';

/** A render whose receipt was verified, and where its masters are, of which the content keys come. */
export interface ComparedRender {
  receipt: VerifiedReceipt;
  folder: string;
  privateKey: KeyObject;
}

/** Another render of the same: in an enclave, its outputs verified with its receipt, or a folder of outputs in clear. */
export type OtherRender = ComparedRender | { folder: string };

/** How an output of a render stands to that of the other. `packaged`: under content keys that each render makes anew. */
export type OutputComparison = 'same' | 'differs' | 'missing' | 'only-in-other' | 'packaged';

/** A task of both renders, by its id. */
export interface TaskComparison {
  id: string;
  /** Whether program and arguments were the same; undefined when only one of both has a receipt that says it. */
  renderer: 'same' | 'differs' | undefined;
  args: 'same' | 'differs' | undefined;
  /** By `<task id>/<name>`; none of a task that keeps its result for later ones. */
  outputs: { name: string; result: OutputComparison }[];
}

/**
 * Compares a render with an independent one of the same job, task by task and output by output: the plaintext of the other against the
 * salted hash that was attested of the first, whose content keys make the salt. Plaintext stays in memory. Rejects with
 * `ERR_RECEIPT_OUTPUT_KEY` when a master does not open.
 */
export async function compareRenders(first: ComparedRender, other: OtherRender): Promise<TaskComparison[]> {
  const others = 'receipt' in other ? other.receipt.tasks : undefined;
  const ids = new Set([...first.receipt.tasks, ...(others ?? [])].map(({ task }) => task.id));
  const compared = [];
  for (const id of ids) {
    const [one, two] = [taskOf(first.receipt.tasks, id), others && taskOf(others, id)];
    const names = new Set([...namesOf(one), ...namesOf(two)]);
    const outputs = [];
    for (const name of names) outputs.push({ name, result: await compareOutput(name, one, two, first, other) });
    compared.push({
      id,
      renderer: one && two && sameness(one.renderer.sha384 === two.renderer.sha384),
      args: one && two && sameness(one.renderer.argsSha384 === two.renderer.argsSha384),
      outputs,
    });
  }
  return compared;
}

function taskOf(tasks: readonly TaskPredicate[], id: string): TaskPredicate | undefined {
  return tasks.find(({ task }) => task.id === id);
}

function namesOf(task: TaskPredicate | undefined): string[] {
  return task?.saltedPlaintext.map(({ name }) => name) ?? [];
}

function sameness(isSame: boolean): 'same' | 'differs' {
  return isSame ? 'same' : 'differs';
}

async function compareOutput(
  name: string,
  one: TaskPredicate | undefined,
  two: TaskPredicate | undefined,
  first: ComparedRender,
  other: OtherRender,
): Promise<OutputComparison> {
  const salted = one?.saltedPlaintext.find((output) => output.name === name);
  if (!salted) return 'only-in-other';
  const path = join(other.folder, name);
  const isThere = 'receipt' in other ? namesOf(two).includes(name) : await isFile(path);
  if (!isThere) return 'missing';
  const manifest = await opening(readManifest(join(first.folder, name)));
  const contentKey = await opening(unwrapDataKey(manifest, first));
  try {
    await opening(Promise.resolve().then(() => checkManifestMac(manifest, contentKey)));
    if (await isSame(salted.hmacSha256, contentKey, path, other)) return 'same';
    return one?.renderer.name === 'package-hls' ? 'packaged' : 'differs';
  } finally {
    contentKey.fill(0);
  }
}

async function isSame(hmacSha256: string, contentKey: Uint8Array, path: string, other: OtherRender): Promise<boolean> {
  if (!('receipt' in other)) return isSaltedPlaintext(hmacSha256, contentKey, createReadStream(path));
  const master = await opening(openMaster(path, { privateKey: other.privateKey }));
  try {
    return await opening(isSaltedPlaintext(hmacSha256, contentKey, plaintextOf(master)));
  } finally {
    await master.close();
  }
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}
