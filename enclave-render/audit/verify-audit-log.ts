import type { KeyObject } from 'node:crypto';
import { lineHash, noEntry, parseEntry, requireContinuation, requireWhole } from './audit-chain.ts';
import type { AuditCheckpoint, AuditEntry } from './audit-entry.ts';
import { AuditError } from './audit-error.ts';
import { openCheckpoint } from './checkpoint.ts';

/** What a log is held against. */
export interface AuditEvidence {
  /** Compact JWS of checkpoints, in any order; the more of them are kept elsewhere, the better. */
  checkpoints: readonly string[];
  /** Ed25519 public keys that checkpoints may be signed with. */
  keys: readonly KeyObject[];
  /** Other copies of the same log, shorter or longer. */
  copies: readonly string[];
}

/** A log whose chain holds, and that agrees with everything it was held against. */
export interface VerifiedAuditLog {
  entries: AuditEntry[];
  /** SHA-256 of the last line, hexadecimal; 64 zeroes when there is none. */
  head: string;
  /**
   * So many entries, from the first, are signed for: none of them was changed or taken away. Of those behind them,
   * nothing but a later checkpoint shows whether some were cut off, or the last one changed. 0 without a checkpoint.
   */
  signedFor: number;
}

/** Verifies an audit log: every line, its number, the chain, then checkpoints and copies. Rejects with `AuditError`. */
export async function verifyAuditLog(text: string, evidence: AuditEvidence): Promise<VerifiedAuditLog> {
  const log = readChain(text);
  const checkpoints = await Promise.all(evidence.checkpoints.map((jws) => openCheckpoint(jws, evidence.keys)));
  requireOneHistory(checkpoints);
  for (const checkpoint of checkpoints) requireContinuation(log.lines, checkpoint);
  for (const copy of evidence.copies) requireSameBeginning(log.lines, readChain(copy).lines);
  const signedFor = Math.max(0, ...checkpoints.map(({ length }) => length));
  return { entries: log.entries, head: lineHash(log.lines.at(-1)), signedFor };
}

function readChain(text: string): { lines: string[]; entries: AuditEntry[] } {
  const lines = text.split('\n');
  if (lines.pop() !== '') {
    throw new AuditError(
      'ERR_AUDIT_CUT',
      `line ${lines.length + 1} was not written to its end; the next entry replaces it`,
    );
  }
  const entries = lines.map((line, index) => parseEntry(line) ?? noEntry(index));
  requireWhole(lines, entries);
  return { lines, entries };
}

/** Two checkpoints of one length and different heads: whoever signs has signed two histories. */
function requireOneHistory(checkpoints: AuditCheckpoint[]): void {
  const heads = new Map<number, string>();
  for (const { length, head } of checkpoints) {
    if ((heads.get(length) ?? head) !== head) {
      throw new AuditError('ERR_AUDIT_FORK', `two checkpoints after ${length} entries speak of different logs`);
    }
    heads.set(length, head);
  }
}

/** The shorter of two copies has to be the beginning of the longer one, which has to be the log. */
function requireSameBeginning(lines: string[], copy: string[]): void {
  const index = lines.slice(0, copy.length).findIndex((line, at) => line !== copy[at]);
  if (index !== -1) throw new AuditError('ERR_AUDIT_FORK', `entry ${index} is another one in a copy`);
  if (copy.length > lines.length) {
    throw new AuditError('ERR_AUDIT_TRUNCATED', `a copy has ${copy.length} entries, the log ${lines.length}`);
  }
}
