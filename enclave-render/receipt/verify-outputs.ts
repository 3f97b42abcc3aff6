import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import type { Dirent } from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { canonicalJson } from '../canonical-json.ts';
import type { MasterManifest } from '../mastering/manifest.ts';
import { MasterError } from '../mastering/master-error.ts';
import type { MasterReader } from '../mastering/master-reader.ts';
import { openMaster } from '../mastering/open-master.ts';
import { readManifest } from '../mastering/opened.ts';
import { thumbprint } from '../mastering/public-key.ts';
import { unwrapDataKey } from '../mastering/recipients.ts';
import { manifestPath } from '../mastering/signed-manifest.ts';
import type { RenderManifest } from '../render/render-manifest.ts';
import { ReceiptError } from './receipt-error.ts';
import { isSaltedPlaintext } from './salted-plaintext.ts';
import type { TaskPredicate, TaskStatement } from './statement.ts';

const READ_BYTES = 1 << 20;

/**
 * Verifies the outputs in a folder: that they are there and nothing else is, that each is the ciphertext of its
 * statement, for those whom the manifest names, and opens with the owner's private key to what was rendered. Plaintext
 * stays in memory. Throws `ERR_RECEIPT_OUTPUT_…`.
 */
export async function verifyOutputs(
  { folder, privateKey }: { folder: string; privateKey: KeyObject },
  delivered: readonly TaskStatement[],
  { output }: Pick<RenderManifest, 'output'>,
): Promise<void> {
  requireOwnerKey(privateKey, output.ownerKey);
  const outputs = delivered.flatMap(({ subject, predicate }) =>
    subject.map(({ name, digest }, index) => ({
      path: join(folder, name),
      sha256: digest.sha256,
      hmacSha256: predicate.saltedPlaintext[index]?.hmacSha256 ?? '',
    })),
  );
  await requireFiles(
    folder,
    outputs.flatMap(({ path }) => [path, manifestPath(path)]),
  );
  for (const expected of outputs) await verifyOutput(expected, output, privateKey);
}

/** Of a `VerifiedReceipt`. */
interface DeliveredByTasks {
  manifest: Pick<RenderManifest, 'output'>;
  tasks: readonly Pick<TaskPredicate, 'task' | 'saltedPlaintext'>[];
  outputs: readonly { name: string; sha256: string }[];
}

/**
 * Ids of the tasks of a verified receipt of whose outputs one is not in the folder as it was handed over: after a loss of power, say.
 */
export async function spoiltTasks(
  { folder, privateKey }: { folder: string; privateKey: KeyObject },
  { manifest, tasks, outputs }: DeliveredByTasks,
): Promise<string[]> {
  const spoilt = [];
  for (const { task, saltedPlaintext } of tasks) {
    try {
      for (const { name, hmacSha256 } of saltedPlaintext) {
        const sha256 = outputs.find((output) => output.name === name)?.sha256 ?? '';
        await verifyOutput({ path: join(folder, name), sha256, hmacSha256 }, manifest.output, privateKey);
      }
    } catch (error) {
      if (!(error instanceof ReceiptError)) throw error;
      spoilt.push(task.id);
    }
  }
  return spoilt;
}

/** What an output has to be. */
interface ExpectedOutput {
  path: string;
  sha256: string;
  hmacSha256: string;
}

async function verifyOutput(
  { path, sha256, hmacSha256 }: ExpectedOutput,
  output: RenderManifest['output'],
  privateKey: KeyObject,
): Promise<void> {
  await requireCiphertext(path, sha256);
  const manifest = await opening(readManifest(path));
  requireRecipients(manifest, output);
  await requirePlaintext(path, manifest, privateKey, hmacSha256);
}

function requireOwnerKey(privateKey: KeyObject, ownerKey: string): void {
  let named: string | undefined;
  try {
    named = thumbprint(createPublicKey(ownerKey));
  } catch {
    // Then it is no key, and this one neither.
  }
  if (named === thumbprint(createPublicKey(privateKey))) return;
  throw new ReceiptError('ERR_RECEIPT_OUTPUT_KEY', 'this is not the private key of the one that the manifest names');
}

/**
 * All files of a folder. Throws `ERR_RECEIPT_OUTPUT_MISSING` without the folder, `ERR_RECEIPT_OUTPUT_UNKNOWN` for what
 * is no file.
 */
export async function filesIn(folder: string): Promise<string[]> {
  const entries: Dirent[] = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error) => {
    throw new ReceiptError('ERR_RECEIPT_OUTPUT_MISSING', `cannot read the outputs in ${folder}: ${error.code}`);
  });
  if (!entries.every((entry) => entry.isFile() || entry.isDirectory())) {
    throw new ReceiptError(
      'ERR_RECEIPT_OUTPUT_UNKNOWN',
      `there is something else than files in ${folder}, such as a link`,
    );
  }
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

async function requireFiles(folder: string, expected: string[]): Promise<void> {
  const present = new Set(await filesIn(folder));
  const missing = expected.find((path) => !present.has(path));
  if (missing !== undefined) {
    throw new ReceiptError('ERR_RECEIPT_OUTPUT_MISSING', `an output is not in ${folder}: ${relative(folder, missing)}`);
  }
  const named = new Set(expected);
  const unknown = [...present].find((path) => !named.has(path));
  if (unknown !== undefined) {
    const why = `the receipt does not name ${unknown}: remove it if it is nothing that the enclave made`;
    throw new ReceiptError('ERR_RECEIPT_OUTPUT_UNKNOWN', why);
  }
}

async function requireCiphertext(path: string, sha256: string): Promise<void> {
  const hash = createHash('sha256');
  try {
    await using file = await open(path, 'r');
    for await (const chunk of file.createReadStream({ autoClose: false, highWaterMark: READ_BYTES }))
      hash.update(chunk);
  } catch (error) {
    throw new ReceiptError(
      'ERR_RECEIPT_OUTPUT_MISSING',
      `cannot read ${path}: ${(error as NodeJS.ErrnoException).code}`,
    );
  }
  if (hash.digest('hex') === sha256) return;
  throw new ReceiptError('ERR_RECEIPT_OUTPUT_ALTERED', `${path} is not what the enclave handed over`);
}

/** The owner, and mastering if the signed manifest says so: then the content key is the one that it names. */
function requireRecipients(
  { mode, recipients }: MasterManifest,
  { ownerKey, mastering }: RenderManifest['output'],
): void {
  const owner = thumbprint(createPublicKey(ownerKey));
  // Recipients are outside the manifest's MAC: key and context as well are those that the owner signed.
  const kms = ({ keyId, context, encryptedKey }: { keyId: string; context: object; encryptedKey: string }) =>
    `kms ${canonicalJson({ keyId, context, encryptedKey })}`;
  const expected = [`public-key ${owner}`, ...(mastering ? [kms(mastering)] : [])];
  const actual = recipients.map((recipient) =>
    recipient.type === 'kms' ? kms(recipient) : `public-key ${recipient.keyId}`,
  );
  if (mode === 'framed' && actual.sort().join('\n') === expected.sort().join('\n')) return;
  throw new ReceiptError(
    'ERR_RECEIPT_OUTPUT_RECIPIENTS',
    'an output is no framed master for the owner, and for mastering only if the manifest says so',
  );
}

async function requirePlaintext(
  path: string,
  manifest: MasterManifest,
  privateKey: KeyObject,
  hmacSha256: string,
): Promise<void> {
  const dataKey = await opening(unwrapDataKey(manifest, { privateKey }));
  try {
    const master = await opening(openMaster(path, { dataKey }));
    try {
      if (await opening(isSaltedPlaintext(hmacSha256, dataKey, plaintextOf(master)))) return;
    } finally {
      await master.close();
    }
  } finally {
    dataKey.fill(0);
  }
  throw new ReceiptError('ERR_RECEIPT_OUTPUT_PLAINTEXT', `${path} opens to something else than what was rendered`);
}

/** What a master opens to, in pieces. */
export async function* plaintextOf(master: MasterReader): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < master.size; at += READ_BYTES) yield await master.read(at, READ_BYTES);
}

/** An error of a master as `ERR_RECEIPT_OUTPUT_KEY`. */
export async function opening<Result>(result: Promise<Result>): Promise<Result> {
  try {
    return await result;
  } catch (error) {
    if (!(error instanceof MasterError)) throw error;
    throw new ReceiptError('ERR_RECEIPT_OUTPUT_KEY', `an output cannot be opened: ${error.message}`);
  }
}
