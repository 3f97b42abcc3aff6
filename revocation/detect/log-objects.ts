/** A log object: a file, or an object in a bucket. */
export interface LogObject {
  /** Path, or `s3://bucket/key`. */
  name: string;
  bytes: number;
  /** Changes when the content does: an ETag, or size and time of the last change. */
  version: string;
  /** The hour that its lines are from, seconds since the epoch, by its name (`….2026-11-22-14.…`, `…/2026/11/22/14/…`); undefined when the name does not say. */
  hour: number | undefined;
}

/** Where log objects come from. */
export interface LogObjects {
  /** Those of the hours from `from` on (seconds since the epoch), and those whose name does not say their hour. */
  list(from: number): Promise<LogObject[]>;
}

/** A log object that detection has dealt with. */
export interface SettledObject extends LogObject {
  /** Why it cannot be read in this version; absent when its lines count. */
  refused?: string | undefined;
}

/** The ledger of log objects that detection has dealt with: its watermark. */
export interface Ledger {
  /** Which of these objects have not been dealt with in this version: neither read nor refused. */
  unseen(objects: LogObject[]): Promise<LogObject[]>;
  /** Writes down that these were dealt with, once everything that follows from them is recorded. */
  commit(objects: SettledObject[], now: number): Promise<void>;
}
