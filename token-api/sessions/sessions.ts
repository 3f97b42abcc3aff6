import type { Page, PageRequest } from '../pages/page.ts';

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
  /** Id of the key that the token seen then was signed with. */
  kid?: string | undefined;
}

/** A session and the ids of all keys that tokens of it were signed with, as far as they were presented, given out or seen. */
export interface SessionKeys {
  sessionId: string;
  kids: string[];
}

/** The playback sessions: those vended here, and those minted elsewhere once the edge has seen them. */
export interface Sessions {
  /**
   * Records a session that a token is about to be vended for, and the ids of the keys that this token and the one it was
   * exchanged for are signed with. `expiresAt` never becomes earlier by it.
   */
  record(session: Session, kids: string[]): Promise<void>;
  /** Records that the edge allowed a request of a session at `seenAt`; `expiresAt` never becomes earlier by it. */
  seen(session: Session, seenAt: number): Promise<void>;
  /** A session, also one that has expired; undefined when it is not known here. */
  get(sessionId: string): Promise<Session | undefined>;
  /**
   * Part of the sessions whose token has not expired at `now` and that were seen in the last minute; the latest first
   * within a page. One that is seen between two pages may be in both or in neither. Rejects with `ERR_CURSOR_INVALID`.
   */
  live(now: number, request: PageRequest): Promise<Page<Session>>;
  /**
   * The sessions unexpired at `now` (seconds since the epoch) of which any token was signed with a key, whatever it was
   * exchanged for since. Sees all that was recorded before. Reads every session there is: for a key that is dropped,
   * which is rare.
   */
  withKey(kid: string, now: number): Promise<SessionKeys[]>;
}
