import { createPublicKey, type KeyObject } from 'node:crypto';
import { type AppendedLines, withAppendedLines } from '../appended-lines.ts';
import { canonicalJson } from '../canonical-json.ts';
import { lineHash, noEntry, parseEntry, requireContinuation, requireWhole } from './audit-chain.ts';
import type { AuditEntry } from './audit-entry.ts';
import { AuditError } from './audit-error.ts';
import { openCheckpoint, signCheckpoint } from './checkpoint.ts';

/** Where an audit log is, and the Ed25519 private key of whoever keeps it, which signs its checkpoints: undefined for a log without. */
export interface AuditLogFile {
  path: string;
  signingKey: KeyObject | undefined;
}

/** File of the checkpoints of a log, beside it: a compact JWS a line, the latest last. */
export function checkpointsPath(log: string): string {
  return `${log}.checkpoints`;
}

/** An audit log, while nobody else appends to it. */
export interface OpenAuditLog {
  readonly entries: readonly AuditEntry[];
  /**
   * Chains an entry to the last one, and signs a checkpoint for the log with it; both are on the disk when this resolves. Rejects with
   * `ERR_AUDIT_ENTRY`, `ERR_AUDIT_FILE`.
   */
  append(entry: NewEntry): Promise<AuditEntry>;
}

/** An entry before it has its place. */
export type NewEntry = Omit<AuditEntry, 'sequence' | 'previous'>;

/**
 * Runs `use` with an audit log: canonical JSON (RFC 8785), one entry a line, mode 0600, made when it is not there. It is held against
 * its latest checkpoint first. Where there is none though there ought to be, the next entry is `checkpoints-lost`. Rejects with
 * `ERR_AUDIT_FILE`, with `ERR_AUDIT_ENTRY` when something else stands in it, and as `requireWhole`, `requireContinuation` and
 * `openCheckpoint` do: what was tampered with is not continued.
 */
export function withAuditLog<Result>(
  { path, signingKey }: AuditLogFile,
  use: (log: OpenAuditLog) => Promise<Result>,
): Promise<Result> {
  const open = <Opened>(file: string, opened: (file: AppendedLines) => Promise<Opened>) =>
    withAppendedLines(
      file,
      (why) => new AuditError('ERR_AUDIT_FILE', `cannot use the audit log ${file}: ${why}`),
      opened,
    );
  const openCheckpoints = (opened: (file: AppendedLines | undefined) => Promise<Result>) =>
    signingKey === undefined ? opened(undefined) : open(checkpointsPath(path), opened);
  return open(path, (log) =>
    openCheckpoints(async (checkpoints) => {
      const entries = log.lines.map((line, index) => parseEntry(line) ?? noEntry(index));
      requireWhole(log.lines, entries);
      const latest = checkpoints?.lines.at(-1);
      if (latest !== undefined && signingKey !== undefined)
        requireContinuation(log.lines, await openCheckpoint(latest, [createPublicKey(signingKey)]));
      const add = async (event: NewEntry) => {
        const entry = { ...event, sequence: entries.length, previous: lineHash(log.lines.at(-1)) };
        const line = canonicalJson(entry);
        if (!parseEntry(line)) {
          throw new AuditError('ERR_AUDIT_ENTRY', 'details of an entry are short printable text, numbers and booleans');
        }
        await log.append(line);
        entries.push(entry);
        if (signingKey !== undefined) {
          const checkpoint = { length: entries.length, head: lineHash(line), at: event.at };
          await checkpoints?.append(await signCheckpoint(checkpoint, signingKey));
        }
        return entry;
      };
      return use({
        entries,
        async append(event) {
          // Each entry has its checkpoint before the next: only of the very first it may be that nobody came to sign.
          const areLost = checkpoints?.lines.length === 0 && entries.length > 1;
          if (areLost) await add({ at: event.at, event: 'checkpoints-lost', jobId: event.jobId, details: {} });
          return add(event);
        },
      });
    }),
  );
}

/** Appends one entry. `at` is in milliseconds since the epoch. Rejects as `withAuditLog` does. */
export function appendAuditEntry(file: AuditLogFile, entry: NewEntry): Promise<AuditEntry> {
  return withAuditLog(file, (log) => log.append(entry));
}
