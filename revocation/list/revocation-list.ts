/** A revoked session. Times are seconds since the epoch. */
export interface RevokedSession {
  sessionId: string;
  /** Why, in words for the people who read the list. */
  reason: string;
  /** Who revoked it. */
  by: string;
  revokedAt: number;
  /** From when on no token of the session can be valid any more, so that the entry is no longer needed. */
  expiresAt: number;
}

/** The revocation list: what is enforced at the edge is made from it. */
export interface RevocationList {
  /** Adds a session, or keeps the entry there is; resolves to the entry that holds and whether it is new. */
  add(entry: RevokedSession): Promise<{ entry: RevokedSession; added: boolean }>;
  /** Takes a session off the list; resolves to whether it was on it. */
  remove(sessionId: string): Promise<boolean>;
  /** Which of these sessions are revoked at `now`. */
  revoked(sessionIds: string[], now: number): Promise<Set<string>>;
  /** All sessions revoked at `now`. */
  active(now: number): Promise<RevokedSession[]>;
}
