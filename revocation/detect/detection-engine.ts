import type { SessionFeatures } from './features.ts';
import type { LogObject } from './log-objects.ts';

/** What is asked of an engine. Times are seconds since the epoch. */
export interface FeatureRequest {
  /** Requests at `from` or later and before `to` count. */
  from: number;
  to: number;
  /** The log objects to read; an engine that finds them by their hour (Athena) reads the hours between the times. */
  objects: LogObject[];
  /** Whether the sessions that screening found harmless are wanted too. */
  everySession: boolean;
}

/** A log object that could not be read, and why, in words that say what to do. Its lines do not count. */
export interface RefusedObject {
  name: string;
  why: string;
  /** Whether it may be read the next time although it is still the same: a disk that was away, a memory that was full. */
  mayPass?: boolean | undefined;
}

/** What an engine found. */
export interface FeatureResult {
  /** Candidates, or every session; in no order. Ids are session ids, numbers can be counted to (`readFeatureRows`). */
  sessions: SessionFeatures[];
  /** Sessions in the window, harmless ones included. */
  sessionCount: number;
  /** Log lines that were read. */
  rows: number;
  refused: RefusedObject[];
  /** Rows of the engine's answer that say what cannot be: counted as harmless in that, or left out when even the id is none. */
  odd: number;
  /**
   * Whether the logs say which requests the edge function allowed. Without that (standard logs v1, v2 without
   * `viewer-request-log-data`) anybody can make a session look shared where the edge mode is `off` or `log`.
   */
  proven: boolean;
  /** Whether the logs say operator and country of each viewer (`isLocated`). */
  located: boolean;
  /** Undefined when nothing was charged. */
  cost?: EngineCost | undefined;
}

/** What a managed service charges. */
export interface EngineCost {
  bytesScanned: number;
  usd: number;
}

/** Requests of an identity, minute by minute. */
export interface IdentityTimeline {
  /** For people: network, operator, country. */
  label: string;
  /** `[minute, requests]`: minute in seconds since the epoch, ascending. */
  minutes: [minute: number, requests: number][];
}

/** Progress of a long run: `done` of `total` bytes, statements or steps, whatever the phase counts. */
export type ReportProgress = (phase: string, done: number, total: number) => void;

/** Reads access logs: DuckDB on this machine, Athena on AWS, both by the same SQL text. */
export interface DetectionEngine {
  /** Rejects with `DetectionError` when the run as a whole fails; single objects that cannot be read are named in the result. */
  features(request: FeatureRequest, onProgress?: ReportProgress): Promise<FeatureResult>;
  /**
   * Who fetched in which minute, for a few sessions: what the console plots. At most eight identities each, the busiest.
   * `onCost` is told what was charged for that, if anything was.
   */
  timelines(
    request: FeatureRequest,
    sessionIds: string[],
    onCost?: (cost: EngineCost) => void,
  ): Promise<Map<string, IdentityTimeline[]>>;
  close(): Promise<void>;
}

export type DetectionErrorCode =
  /** No log object could be read at all. */
  | 'ERR_DETECTION_LOGS'
  /** The query failed, was cancelled or hit a limit. */
  | 'ERR_DETECTION_QUERY'
  /** No permission, no such table or workgroup. */
  | 'ERR_DETECTION_ACCESS'
  /** Something that this needs is not installed or not configured. */
  | 'ERR_DETECTION_SETUP'
  /** The mode of detection is `off`. */
  | 'ERR_DETECTION_OFF'
  /** Another run is under way. */
  | 'ERR_DETECTION_RUNNING';

/** Why detection failed; nothing was recorded and nothing revoked. The message says what to do next. */
export class DetectionError extends Error {
  readonly code: DetectionErrorCode;
  /** Of `ERR_DETECTION_LOGS`: the objects, when each was refused for a reason of its own. */
  readonly refused: RefusedObject[] | undefined;
  constructor(code: DetectionErrorCode, message: string, refused?: RefusedObject[]) {
    super(message);
    this.name = 'DetectionError';
    this.code = code;
    this.refused = refused;
  }
}
