import type { RefusedObject } from './detection-engine.ts';
import type { DetectionSettings } from './settings.ts';

/** Why a run revoked nothing although it found sessions to revoke. */
export interface DetectionAlarm {
  /** Sessions that would have been revoked, and how many a run may revoke. */
  candidates: number;
  allowed: number;
  /** For people: what happened and what to do. */
  message: string;
  /** The same as long as the same sessions are kept from being revoked for the same reason: nobody is told of that twice. */
  digest: string;
}

/** What a run of detection did. Times are seconds since the epoch. */
export interface DetectionRun {
  ranAt: number;
  /** When detection last looked for something new: of the latest result, the time of a later run that found nothing to do. */
  checkedAt: number;
  mode: DetectionSettings['mode'];
  /** Log objects that no run had dealt with; 0 when there was nothing to do. */
  objects: number;
  /** Log lines that were read. */
  rows: number;
  /** Sessions in the window, harmless ones included; of the largest window when a run had several. */
  sessionCount: number;
  /** Sessions at the score for review or above, and those of them at the score for revocation or above. */
  flagged: number;
  auto: number;
  /** These two scores, as they were set. */
  reviewScore: number;
  autoScore: number;
  /** Sessions that this run revoked. */
  revoked: number;
  /** Sessions of which the logs say what cannot be: counted as harmless in that, or left out when even the id is none. */
  odd: number;
  /** Log objects of the windows that could not be read, the first hundred. */
  refused: RefusedObject[];
  alarm?: DetectionAlarm | undefined;
  /** What a managed service charged. */
  cost?: { bytesScanned: number; usd: number } | undefined;
}

/** The runs of detection: one at a time, and what the last one did. */
export interface DetectionRuns {
  /** Takes the right to run until `until` (seconds since the epoch), or keeps it; false while a run of another name has it. */
  begin(run: string, now: number, until: number): Promise<boolean>;
  /**
   * Gives that right back, and keeps what the run did; without `result` it failed. Of a run that had nothing to do (`objects`
   * 0) only the time is kept, so that an alarm stands until a run that read something has none.
   */
  finish(run: string, result?: DetectionRun): Promise<void>;
  /** What the last run did that did not fail and had something to do. */
  latest(): Promise<DetectionRun | undefined>;
  /** Whether there is a run at `now`. */
  isRunning(now: number): Promise<boolean>;
}
