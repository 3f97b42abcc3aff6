/** What can be revoked. Only sessions are known at the edge; a subject is refused when it asks for a token. */
export type RevocationKind = 'session' | 'subject';

/** An entry of the list. Times are seconds since the epoch. */
export interface RevocationEntry {
  kind: RevocationKind;
  /** Session id or subject. */
  id: string;
  /** Why, in words for the people who read the list. */
  reason: string;
  /** Who revoked it. */
  by: string;
  revokedAt: number;
  /**
   * From when on the entry is no longer needed, because no token that it is about can be valid any more; undefined when
   * it holds until it is taken back.
   */
  expiresAt?: number | undefined;
}

/** The revocation list: what is enforced at the edge and at vending is made from it. */
export interface RevocationList {
  /** Adds an entry, or keeps the one there is; resolves to the entry that holds and whether it is new. */
  add(entry: RevocationEntry): Promise<{ entry: RevocationEntry; added: boolean }>;
  /** Takes an entry off the list; resolves to whether it was on it. */
  remove(kind: RevocationKind, id: string): Promise<boolean>;
  /** Which of these ids are revoked at `now`. */
  revoked(kind: RevocationKind, ids: string[], now: number): Promise<Set<string>>;
  /** All entries of a kind that hold at `now`. */
  active(kind: RevocationKind, now: number): Promise<RevocationEntry[]>;
}
