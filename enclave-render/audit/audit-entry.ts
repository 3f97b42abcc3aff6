/** What happens to a job, for the owner's log. */
export const AUDIT_EVENTS = [
  'job-submitted',
  'enclave-started',
  'receipt-verified',
  'receipt-refused',
  'output-accepted',
  /** With the code of the job, when that failed. */
  'enclave-ended',
  /** It could not be ended, with the code. */
  'enclave-not-ended',
  /** Whoever ran it was killed, and has not seen it end. */
  'enclave-lost',
  'boundary-crossed',
  /** There was a log, and no checkpoint of it: what was cut off its end before this entry, nobody can say. */
  'checkpoints-lost',
] as const;

export type AuditEvent = (typeof AUDIT_EVENTS)[number];

/** One line of an audit log: canonical JSON (RFC 8785). */
export interface AuditEntry {
  /** 0, 1, 2, … */
  sequence: number;
  /** SHA-256 of the line before it, hexadecimal; 64 zeroes at the beginning. */
  previous: string;
  /** Milliseconds since the epoch. */
  at: number;
  event: AuditEvent;
  jobId: string;
  /** Hashes and codes, no names of titles. */
  details: Readonly<Record<string, string | number | boolean>>;
}

/** What says that the log was so long and so: a compact JWS (EdDSA) of these, kept beside it and elsewhere. */
export interface AuditCheckpoint {
  /** How many entries there are. */
  length: number;
  /** SHA-256 of the last line. */
  head: string;
  at: number;
}
