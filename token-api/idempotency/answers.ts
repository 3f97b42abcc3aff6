/** What is kept of an answer, so that it can be given again. */
export interface KeptAnswer {
  status: number;
  /** By lower-case name. */
  headers: Record<string, string>;
  body: string;
}

/** What is stored under the id of a request. Nothing in it can be read by whoever has no idempotency key. */
export interface AnswerEntry {
  id: string;
  /** Keyed digest of the request's body. */
  fingerprint: Uint8Array;
  /** Which run of the request the entry belongs to. */
  run: string;
  /** The sealed answer; absent while the request is running. */
  sealed?: Uint8Array | undefined;
  /** Seconds since the epoch. Until then a run holds the id, or the answer is kept. */
  expiresAt: number;
}

/** The answers that are kept for repeated requests. */
export interface Answers {
  /** Takes the id of `entry` unless an entry holds it that has not expired at `now`; resolves to that one, or to undefined. */
  begin(entry: AnswerEntry, now: number): Promise<AnswerEntry | undefined>;
  /** Keeps the sealed answer of the run that holds the id; nothing happens when another has taken it since. */
  finish(entry: AnswerEntry): Promise<void>;
  /** Gives the id back, when the run still holds it. */
  abandon(id: string, run: string): Promise<void>;
}
