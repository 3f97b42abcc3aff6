import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { type EncryptionContext, KmsError } from './data-keys.ts';

/** One use or change of a key, as AWS CloudTrail would record it. It never holds key material, plaintext or ciphertext. */
export interface AuditRecord {
  /** Name of the operation of AWS KMS. */
  operation: string;
  /** ARN of the key; null when there was none to be found. */
  keyId: string | null;
  /** What the caller named it, if that has the form of a key id, an ARN or an alias. */
  requested?: string;
  /** Of ReEncrypt, the key it was under. */
  sourceKeyId?: string | null;
  context?: EncryptionContext;
  sourceContext?: EncryptionContext;
  /** Of Decrypt with `Recipient`: the enclave, and its image. */
  recipient?: { moduleId: string; pcr0: string };
  /** Of CreateAlias, UpdateAlias and DeleteAlias. */
  alias?: string;
  /** `ok`, or the code of the error. */
  outcome: string;
}

/** Appends a record to the trail: time (RFC 3339), who (user and process), then the record. */
export type AppendRecord = (record: AuditRecord) => Promise<void>;

/**
 * The audit trail at `path`: one JSON object a line, mode 0600, only ever appended to and on the disk when this resolves. Rejects
 * with `ERR_KMS_KEYSTORE`, also when others may read or change the trail; then nothing may be answered. `now` is in milliseconds since the epoch.
 */
export function auditTrail(path: string, now: () => number): AppendRecord {
  const by = { user: userName(), uid: process.getuid?.() ?? null, pid: process.pid };
  return async (record) => {
    const line = `${JSON.stringify({ at: new Date(now()).toISOString(), by, ...record })}\n`;
    try {
      await append(path, line);
    } catch (error) {
      const why = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
      throw new KmsError(
        'ERR_KMS_KEYSTORE',
        `nothing was done, because the audit trail ${path} cannot be written: ${why}`,
      );
    }
  };
}

async function append(path: string, line: string): Promise<void> {
  const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const file = await open(path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
  try {
    const status = await file.stat();
    if (!status.isFile()) throw new Error('it is no regular file');
    if (status.mode & 0o077) {
      const mode = (status.mode & 0o777).toString(8);
      throw new Error(`others may read or change it (mode ${mode}): see whether somebody did, then chmod 600 ${path}`);
    }
    // A line that a full disk cut off stays one line; what follows it is readable.
    const last = Buffer.alloc(1);
    await file.read(last, 0, 1, Math.max(status.size - 1, 0));
    const bytes = Buffer.from(status.size > 0 && last[0] !== 0x0a ? `\n${line}` : line);
    const { bytesWritten } = await file.write(bytes);
    if (bytesWritten < bytes.length) throw new Error('the disk is full');
    await file.datasync();
  } finally {
    await file.close();
  }
}

function userName(): string | null {
  try {
    return userInfo().username;
  } catch {
    // A user id without an account, as in a container.
    return null;
  }
}
