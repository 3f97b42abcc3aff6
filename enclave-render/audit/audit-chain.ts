import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { canonicalJson, parseCanonicalJson } from '../canonical-json.ts';
import { AUDIT_EVENTS, type AuditCheckpoint, type AuditEntry } from './audit-entry.ts';
import { AuditError } from './audit-error.ts';

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const name = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/));
const printable = v.pipe(v.string(), v.regex(/^[\x20-\x7e]{0,256}$/));

const EntrySchema = v.strictObject({
  sequence: count,
  previous: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  at: count,
  event: v.picklist(AUDIT_EVENTS),
  jobId: name,
  details: v.record(name, v.union([printable, v.number(), v.boolean()])),
}) satisfies v.GenericSchema<AuditEntry>;

/** What the first entry is chained to. */
export const NOTHING_BEFORE = '0'.repeat(64);

/** SHA-256 of a line, hexadecimal: what the next entry is chained to. */
export function lineHash(line: string | undefined): string {
  return line === undefined ? NOTHING_BEFORE : createHash('sha256').update(line).digest('hex');
}

/** The entry in a line; undefined when it is none. */
export function parseEntry(line: string): AuditEntry | undefined {
  const content = parseCanonicalJson(line);
  const result = v.safeParse(EntrySchema, content);
  // A name that the schema leaves out is none that an entry has.
  return result.success && canonicalJson(result.output) === line ? result.output : undefined;
}

/**
 * Whether nothing was edited, taken out, put in or moved: every entry has its number and is chained to the line before it. Throws
 * `ERR_AUDIT_EDITED`, `ERR_AUDIT_REMOVED`, `ERR_AUDIT_INSERTED`, `ERR_AUDIT_ORDER`.
 */
export function requireWhole(lines: readonly string[], entries: readonly AuditEntry[]): void {
  requireNumbers(entries);
  requireChain(lines, entries);
}

/**
 * Numbers alone say what happened, as long as nobody who changed the log has numbered it anew: then the chain is
 * broken.
 */
function requireNumbers(entries: readonly AuditEntry[]): void {
  const index = entries.findIndex(({ sequence }, at) => sequence !== at);
  if (index === -1) return;
  const numbers = new Set(entries.map(({ sequence }) => sequence));
  if (numbers.size < entries.length) {
    throw new AuditError('ERR_AUDIT_INSERTED', `a number is there twice: look at line ${index + 1}`);
  }
  if (!numbers.has(index)) throw new AuditError('ERR_AUDIT_REMOVED', `entry ${index} is missing`);
  throw new AuditError('ERR_AUDIT_ORDER', `entry ${index} is not in its place`);
}

function requireChain(lines: readonly string[], entries: readonly AuditEntry[]): void {
  const index = entries.findIndex(({ previous }, at) => previous !== lineHash(lines[at - 1]));
  if (index === -1) return;
  throw new AuditError(
    'ERR_AUDIT_EDITED',
    index === 0 ? 'entry 0 is not a first entry' : `entry ${index - 1} was changed, or what entry ${index} says of it`,
  );
}

/** Whether a log goes on from what was signed for. Throws `ERR_AUDIT_TRUNCATED`, `ERR_AUDIT_FORK`. */
export function requireContinuation(lines: readonly string[], { length, head }: AuditCheckpoint): void {
  if (length > lines.length) {
    throw new AuditError('ERR_AUDIT_TRUNCATED', `a checkpoint has ${length} entries, the log ${lines.length}`);
  }
  if (lineHash(lines[length - 1]) !== head) {
    throw new AuditError('ERR_AUDIT_FORK', `the first ${length} entries are not those that were signed for`);
  }
}

/** Throws `ERR_AUDIT_ENTRY`. */
export function noEntry(index: number): never {
  throw new AuditError('ERR_AUDIT_ENTRY', `line ${index + 1} is no entry of an audit log, or was changed`);
}
