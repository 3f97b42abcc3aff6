/** How long after its last request a session still counts as live, in seconds. */
export const LIVE_SECONDS = 60;

/** A playback session. Times are seconds since the epoch. */
export interface Session {
  sessionId: string;
  asset: string;
  subject?: string | undefined;
  startedAt: number;
  expiresAt: number;
  /** When the edge last allowed a request of it; absent until it did. */
  lastSeenAt?: number | undefined;
}

/** The playback sessions: those vended here, and those minted elsewhere once the edge has seen them. */
export interface Sessions {
  /** Records a session that was just vended. */
  start(session: Session): Promise<void>;
  /** Records that the edge allowed a request of a session at `seenAt`. */
  seen(session: Session, seenAt: number): Promise<void>;
  /** Sessions whose token has not expired at `now` and that were seen in the last minute, latest first. */
  live(now: number): Promise<Session[]>;
}
