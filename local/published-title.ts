import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { appendAuditEntry } from '../enclave-render/audit/audit-log.ts';
import type { DataKeys } from '../enclave-render/kms/data-keys.ts';
import { openMaster } from '../enclave-render/mastering/open-master.ts';
import { PackagingError } from '../enclave-render/packaging/errors.ts';
import { parseKeyTable } from '../enclave-render/packaging/key-table.ts';
import { writeKeyTable } from '../enclave-render/packaging/key-table-file.ts';
import { buildFolder } from '../enclave-render/packaging/output-folder.ts';
import { type PackagedTitle, readTitle } from '../enclave-render/packaging/title.ts';
import { acceptedBefore } from '../enclave-render/receipt/accept-receipt.ts';
import { ReceiptError } from '../enclave-render/receipt/receipt-error.ts';
import type { VerifiedReceipt } from '../enclave-render/receipt/verify-receipt.ts';
import { contentKeysToKms } from '../enclave-render/render/owner-content-keys.ts';
import { acceptanceOf, type OwnerSide, receiptPath, type SubmittedJob, tasksOf } from './render-jobs.ts';

/** Where a rendered title goes, and under whose keys. */
export interface Publication {
  /** Folder of the title. */
  folder: string;
  /** The task that packaged it; the only one unless given. */
  task?: string | undefined;
  /** KMS of the key server, and its key for content keys. */
  dataKeys: Pick<DataKeys, 'encrypt'>;
  keyId: string;
  /** Where the table of keys goes; `keys.json` in the folder unless given. */
  keyTableFile?: string | undefined;
  /** Replaces the title that is there. */
  force: boolean;
}

const KEY_TABLE = 'keys.json';

/**
 * Makes a title that was packaged in an enclave one that can be served: of its outputs, accepted and verified again, the outer layer is
 * opened with the owner's key, and their content keys are put under the KMS key. Segments stay encrypted under these; nothing of them
 * and no key is in clear on the disk. The folder is there when it is complete, and the audit log says so first (`boundary-crossed`).
 * Rejects with `ERR_RECEIPT_NOT_ACCEPTED`, as `acceptReceipt` does, with `PackagingError`, `RenderError`, `MasterError`, `KmsError`.
 */
export async function publishTitle(side: OwnerSide, job: SubmittedJob, to: Publication): Promise<PackagedTitle> {
  const acceptance = acceptanceOf(side, job);
  const receipt = await readFile(receiptPath(job), 'utf8').catch(() => undefined);
  const verified = receipt === undefined ? undefined : await acceptedBefore(receipt, acceptance);
  if (!verified) {
    const how = `portcullis render resume ${job.jobId} goes on with it`;
    throw new ReceiptError('ERR_RECEIPT_NOT_ACCEPTED', `the outputs of job ${job.jobId} were not accepted: ${how}`);
  }
  const task = packagingTask(verified, to.task);
  const names = verified.outputs.map(({ name }) => name).filter((name) => name.startsWith(`${task}/`));
  return buildFolder(to.folder, to.force, async (folder) => {
    let table: string | undefined;
    for (const name of names) {
      const bytes = await openOutput(join(job.output, name), side);
      if (name === `${task}/${KEY_TABLE}`) table = Buffer.from(bytes).toString('utf8');
      else await write(join(folder, name.slice(task.length + 1)), bytes);
    }
    const title = await readTitle(folder);
    const isEncrypted = title.renditions.every(({ segments }) => segments.every(({ encryption }) => encryption));
    if (table === undefined || title.encryption !== 'aes-128' || !isEncrypted) {
      throw new PackagingError('ERR_PACKAGE_TITLE', `task ${task} left no encrypted title: render it again`);
    }
    const keys = await contentKeysToKms(parseKeyTable(table), side.owner.opening, to.dataKeys, to.keyId);
    await appendAuditEntry(acceptance.auditLog, {
      at: side.now(),
      event: 'boundary-crossed',
      jobId: job.jobId,
      details: { manifestSha384: verified.manifestSha384, task, contentKeys: keys.keys.length },
    });
    await writeKeyTable(to.keyTableFile ?? join(folder, KEY_TABLE), keys, to.force);
    return title;
  });
}

/** The task whose outputs are a title. Throws `ERR_PACKAGE_SOURCE`. */
function packagingTask({ manifest }: VerifiedReceipt, named: string | undefined): string {
  const tasks = tasksOf(manifest)
    .filter(({ renderer, delivered }) => renderer === 'package-hls' && delivered)
    .map(({ id }) => id);
  const [only, ...others] = tasks;
  const id = named ?? (others.length === 0 ? only : undefined);
  if (id !== undefined && tasks.includes(id)) return id;
  const which =
    tasks.length === 0 ? 'decrypt and package what it has: portcullis package hls' : `name one of ${tasks.join(', ')}`;
  throw new PackagingError(
    'ERR_PACKAGE_SOURCE',
    `job ${manifest.jobId} has ${named === undefined ? 'not one task' : 'no such task'} that packages a title: ${which}`,
  );
}

async function openOutput(path: string, { owner }: OwnerSide): Promise<Uint8Array> {
  const reader = await openMaster(path, { privateKey: owner.opening });
  try {
    return await reader.read(0, reader.size);
  } finally {
    await reader.close();
  }
}

async function write(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}
