import type { KeyObject } from 'node:crypto';
import { lstat, mkdir, open, rename } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { AuditEntry } from '../audit/audit-entry.ts';
import { type AuditLogFile, appendAuditEntry, type OpenAuditLog, withAuditLog } from '../audit/audit-log.ts';
import { syncFolder } from '../durable-folder.ts';
import { nonceUsed, withNonceRegister } from './nonce-register.ts';
import { ReceiptError } from './receipt-error.ts';
import { filesIn } from './verify-outputs.ts';
import { type ReceiptPolicy, type VerifiedReceipt, verifyReceipt } from './verify-receipt.ts';

/** What a receipt is held to, and where its outputs go. */
export interface Acceptance extends Pick<ReceiptPolicy, 'ownerKeys' | 'roots' | 'isolation' | 'tasksOf'> {
  /** The job that was submitted; `manifestSha384` of the payload of its manifest. */
  job: { jobId: string; manifestSha384: string };
  /** The owner's private key that opens outputs. */
  privateKey: KeyObject;
  /** Folder of the outputs as they came, which nobody but the owner can write to any more. */
  quarantine: string;
  /** Folder that they are to be in, not there yet, on the same file system. */
  accepted: string;
  /** The owner's, with the key that signs its checkpoints. */
  auditLog: AuditLogFile;
  /** File of the owner. */
  nonces: string;
  /** Milliseconds since the epoch. */
  now: () => number;
}

/**
 * Verifies a receipt with its outputs; then uses up its nonce, writes `receipt-verified` to the audit log, moves the
 * outputs to their place all at once, and writes `output-accepted`, each on the disk before the next begins. Stopped
 * anywhere, it goes on when it is run again with the same receipt: the outputs are in one folder or in the other, and
 * in the second only if the log says so. A refusal is logged with its code. Rejects as `verifyReceipt` does, with
 * `ERR_RECEIPT_ACCEPTED_FOLDER`, and with `AuditError` when the log cannot be written, in which case nothing is
 * accepted.
 */
export function acceptReceipt(text: string, acceptance: Acceptance): Promise<VerifiedReceipt> {
  const { quarantine, accepted } = acceptance;
  return loggingRefusal(acceptance, async () => {
    const isMoved = !(await exists(quarantine));
    if (!isMoved && (await exists(accepted))) {
      throw new ReceiptError('ERR_RECEIPT_ACCEPTED_FOLDER', `${accepted} is there already: choose another folder`);
    }
    // Stopped after it had moved them, an acceptance finds them there.
    const verified = await verifyWithOutputs(text, isMoved ? accepted : quarantine, acceptance);
    await accept(verified, acceptance);
    return verified;
  });
}

/**
 * Verifies the receipt of a job that was accepted before, with its outputs in their place, and changes nothing: undefined when the log
 * does not say that it was. Rejects as `acceptReceipt` does, which takes the same receipt for a replay.
 */
export async function acceptedBefore(text: string, acceptance: Acceptance): Promise<VerifiedReceipt | undefined> {
  const { job, auditLog, accepted } = acceptance;
  const isAccepted = await withAuditLog(auditLog, async ({ entries }) =>
    entries.some(
      ({ event, jobId, details }) =>
        event === 'output-accepted' && jobId === job.jobId && details.manifestSha384 === job.manifestSha384,
    ),
  );
  if (!isAccepted) return undefined;
  return loggingRefusal(acceptance, () => verifyWithOutputs(text, accepted, acceptance));
}

async function loggingRefusal<Result>({ job, auditLog, now }: Acceptance, what: () => Promise<Result>) {
  try {
    return await what();
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (typeof code === 'string' && !code.startsWith('ERR_AUDIT_')) {
      const refusal = { event: 'receipt-refused' as const, jobId: job.jobId, details: { code } };
      await appendAuditEntry(auditLog, { at: now(), ...refusal });
    }
    throw error;
  }
}

async function verifyWithOutputs(text: string, folder: string, acceptance: Acceptance): Promise<VerifiedReceipt> {
  const { job, privateKey, nonces, ownerKeys, roots, isolation, tasksOf } = acceptance;
  return verifyReceipt(text, {
    ownerKeys,
    roots,
    isolation,
    tasksOf,
    manifestSha384: job.manifestSha384,
    nonceUsedFor: await withNonceRegister(nonces, async ({ usedFor }) => usedFor),
    outputs: { folder, privateKey },
  });
}

/** What makes a verified receipt an accepted one, in turn with other processes. */
async function accept({ manifest, statementSha384, ...verified }: VerifiedReceipt, to: Acceptance): Promise<void> {
  const { nonces, auditLog, now } = to;
  const entry = (event: AuditEntry['event']) => ({
    at: now(),
    event,
    jobId: manifest.jobId,
    details: { statementSha384, manifestSha384: verified.manifestSha384, simulated: verified.simulated },
  });
  await withNonceRegister(nonces, (register) =>
    withAuditLog(auditLog, async (log) => {
      const usedFor = register.usedFor(manifest.nonce);
      if (usedFor !== undefined && usedFor !== statementSha384) throw nonceUsed();
      if (has(log, 'output-accepted', statementSha384)) throw nonceUsed();
      if (usedFor === undefined) await register.use(manifest.nonce, statementSha384);
      if (!has(log, 'receipt-verified', statementSha384)) await log.append(entry('receipt-verified'));
      await move(to.quarantine, to.accepted);
      await log.append(entry('output-accepted'));
    }),
  );
}

function has({ entries }: OpenAuditLog, event: AuditEntry['event'], statementSha384: string): boolean {
  return entries.some((entry) => entry.event === event && entry.details.statementSha384 === statementSha384);
}

/** Moves the outputs, which are on the disk then; nothing to do when they are there already. */
async function move(from: string, to: string): Promise<void> {
  if (!(await exists(from))) return;
  const [source, target] = [resolve(from), resolve(to)];
  try {
    for (const path of await filesIn(source)) {
      await using file = await open(path, 'r');
      await file.sync();
      await syncFolder(dirname(path));
    }
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    await rename(source, target);
    await syncFolder(dirname(target));
    await syncFolder(dirname(source));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code?.startsWith('ERR_')) throw error;
    const why = code === 'EXDEV' ? 'it has to be on the same file system' : `${code}`;
    throw new ReceiptError('ERR_RECEIPT_ACCEPTED_FOLDER', `cannot move the outputs to ${to}: ${why}`);
  }
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}
