import type { IdentityTimeline } from '../detect/detection-engine.ts';
import type { SessionFeatures } from '../detect/features.ts';

/** What a score says: below both thresholds, above the one for review, above the one for revocation. */
export type Verdict = 'harmless' | 'review' | 'auto';

/** A session that detection found. Times are seconds since the epoch. */
export interface SuspiciousSession {
  sessionId: string;
  /** 0 to 100. */
  score: number;
  verdict: Verdict;
  /** In words, the weightiest first. */
  reasons: string[];
  features: SessionFeatures;
  timeline: IdentityTimeline[];
  detectedAt: number;
  /** When this is forgotten. */
  expiresAt: number;
}

/** The sessions that detection found, for people to look at. */
export interface SuspiciousSessions {
  /** Records them; of a session that was found before, the latest finding holds. */
  record(sessions: SuspiciousSession[]): Promise<void>;
  /** A page of them, the highest score first. Rejects with `ERR_CURSOR_INVALID`. */
  page(
    now: number,
    request: { limit: number; cursor?: string | undefined },
  ): Promise<{ sessions: SuspiciousSession[]; next: string | undefined }>;
  get(sessionId: string, now: number): Promise<SuspiciousSession | undefined>;
}
