/**
 * What can be revoked: a session, every session of an asset, a subject (refused when it asks for a token), or all sessions
 * that began before a time. The edge knows all of them but the subject.
 */
export const REVOCATION_KINDS = ['session', 'asset', 'subject', 'sessions-before'] as const;
export type RevocationKind = (typeof REVOCATION_KINDS)[number];

/** Id of the only entry of the kind `sessions-before`. */
export const SESSIONS_BEFORE_ID = 'all';

/** Who decided: a person, or detection. What a person said is never changed by detection. */
export type RevocationSource = 'manual' | 'auto';

/** Which entry. */
export interface RevocationKey {
  kind: RevocationKind;
  /** Session id, asset id, subject, or `SESSIONS_BEFORE_ID`. */
  id: string;
}

/** An entry of the list. Times are seconds since the epoch. */
export interface RevocationEntry extends RevocationKey {
  source: RevocationSource;
  /** Why, in words for the people who read the list; the most important first. */
  reasons: string[];
  /** Score of detection, 0 to 100; absent for a manual entry. */
  score?: number | undefined;
  /** Who revoked it: the subject of the caller, or `detection`. */
  by: string;
  revokedAt: number;
  /** Sessions that began before this are revoked; of `sessions-before` only. */
  before?: number | undefined;
  /**
   * From when on the entry is no longer needed, because no token that it is about can be valid any more; undefined when
   * it holds until it is taken back.
   */
  expiresAt?: number | undefined;
}

/** What happened to an entry: revoked, or taken back. */
export interface RevocationEvent {
  /** Milliseconds since the epoch, later than that of the event before. */
  at: number;
  action: 'revoked' | 'restored';
  /** The entry as it was revoked, or as it was when it was taken back. */
  entry: RevocationEntry;
  /** Who did it. */
  by: string;
}

/** Part of the list. */
export interface RevocationPage {
  entries: RevocationEntry[];
  /** Where the next page begins; undefined after the last. */
  next: string | undefined;
}

/** Part of what happened to an entry. */
export interface HistoryPage {
  /** The latest first. */
  events: RevocationEvent[];
  /** Where the next page begins; undefined after the last. */
  next: string | undefined;
}

/** What became of a revocation that was asked for. */
export interface Added {
  /** The entry that holds now; of `restored-by-hand` the one that was taken back. */
  entry: RevocationEntry;
  /**
   * `added`: it is new. `changed`: a manual entry took the place of an automatic one, or of a cut-off that was earlier.
   * `kept`: what was there holds, for longer when a person asked again. `restored-by-hand`: detection asked for what a person took back; nothing is revoked.
   */
  outcome: 'added' | 'changed' | 'kept' | 'restored-by-hand';
}

/** Why the list was not changed: others change the same entry all the time. */
export class RevocationListError extends Error {
  readonly code = 'ERR_REVOCATION_CONTENDED';
  constructor() {
    super('Others are changing the same revocation just now; try again.');
    this.name = 'RevocationListError';
  }
}

/** The revocation list: what is enforced at the edge, in WAF and at vending is made from it. */
export interface RevocationList {
  /**
   * Adds an entry, unless one holds that it may not replace. Nothing is lost: what was there is in the history. An entry
   * that replaces one that holds gets no earlier `expiresAt`, nor an earlier `before`, than that one. Like `remove` it
   * rejects with `RevocationListError`, and then changed nothing.
   */
  add(entry: RevocationEntry): Promise<Added>;
  /** Takes an entry off the list; resolves to whether it was on it. */
  remove(kind: RevocationKind, id: string, by: string, now: number): Promise<boolean>;
  /** The entry for an id that holds at `now`. */
  get(kind: RevocationKind, id: string, now: number): Promise<RevocationEntry | undefined>;
  /** Those of these entries that hold at `now`, in no order; a call to the database for every hundred. */
  holding(keys: RevocationKey[], now: number): Promise<RevocationEntry[]>;
  /** Which of these ids are revoked at `now`. */
  revoked(kind: RevocationKind, ids: string[], now: number): Promise<Set<string>>;
  /** All entries that hold at `now`, of every kind. */
  active(now: number): Promise<RevocationEntry[]>;
  /** A page of the entries that hold at `now`, in no order; perhaps none although others follow. Rejects with `ERR_CURSOR_INVALID`. */
  page(
    now: number,
    request: { kind?: RevocationKind | undefined; limit: number; cursor?: string | undefined },
  ): Promise<RevocationPage>;
  /** All that happened to an id, the latest first. */
  history(kind: RevocationKind, id: string): Promise<RevocationEvent[]>;
  /** A page of what happened to an id, the latest first. Rejects with `ERR_CURSOR_INVALID`. */
  historyPage(
    kind: RevocationKind,
    id: string,
    request: { limit: number; cursor?: string | undefined },
  ): Promise<HistoryPage>;
}
