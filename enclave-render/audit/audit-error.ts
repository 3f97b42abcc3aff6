export type AuditErrorCode =
  /** The log or a checkpoint cannot be read or written, or others may change it. */
  | 'ERR_AUDIT_FILE'
  /** A line is no entry: not canonical JSON, a field too many, too few or of another type. */
  | 'ERR_AUDIT_ENTRY'
  /** The last line has no end: whoever wrote it was stopped. Nothing was answered on the strength of it. */
  | 'ERR_AUDIT_CUT'
  /** An entry is not the one that the next was chained to, or that was signed. */
  | 'ERR_AUDIT_EDITED'
  /** The entries are all there, in another order. */
  | 'ERR_AUDIT_ORDER'
  /** A number is there twice. */
  | 'ERR_AUDIT_INSERTED'
  /** A number is missing. */
  | 'ERR_AUDIT_REMOVED'
  /** The log is shorter than a checkpoint or a copy says. */
  | 'ERR_AUDIT_TRUNCATED'
  /** Two histories: a checkpoint or a copy has another entry at the same place. */
  | 'ERR_AUDIT_FORK'
  /** Not a checkpoint, or not signed with a key that was given. */
  | 'ERR_AUDIT_CHECKPOINT';

/**
 * Why an audit log is not believed, or was not written. The message names entries by number, and says nothing of what
 * is in them.
 */
export class AuditError extends Error {
  readonly code: AuditErrorCode;
  constructor(code: AuditErrorCode, message: string) {
    super(message);
    this.name = 'AuditError';
    this.code = code;
  }
}
