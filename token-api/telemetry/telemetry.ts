/** The line that is written for a request. Nothing in it was chosen by the caller but `requestId`, and nothing is secret. */
export interface RequestLine {
  requestId: string;
  method: string;
  /** Pattern of the route, `/v1/assets/:id`; `(none)` for a path without one. Never the path itself. */
  route: string;
  status: number;
  /** Code of the problem that was answered. */
  code?: string | undefined;
  /** Subject of the caller's bearer token. */
  caller?: string | undefined;
  /** Whether it was an answer given before, to the same idempotency key. */
  replayed?: true | undefined;
  /** Until the answer began, in milliseconds. */
  durationMs: number;
}

/** Counted things, each with its unit. */
export const METRICS = {
  /** Time until an answer began. */
  Latency: 'Milliseconds',
  /** Tokens minted. */
  TokensMinted: 'Count',
  /** Requests refused (status 400 to 499), with the code as a dimension. */
  Denied: 'Count',
  /** Requests refused because their caller had too many. */
  RateLimited: 'Count',
  /** Requests that failed on our side (status 500 and above). */
  Failed: 'Count',
  /** How old the key ring is after it was to be read again. Above a refresh it is served stale. */
  KeyRingAge: 'Seconds',
  /** Times that the key ring could not be read. */
  KeyRingUnread: 'Count',
  /** For how long the oldest log object that detection has not dealt with could have been. */
  DetectionLag: 'Seconds',
  /** Sessions that a run of detection found suspicious, and those of them that it revoked. */
  SuspiciousSessions: 'Count',
  AutoRevocations: 'Count',
  /** Runs that revoked nothing because they would have revoked too many. */
  DetectionCapHit: 'Count',
  /** Runs that failed. */
  DetectionFailed: 'Count',
  /** Revocations that a target enforces, with the target as a dimension. */
  RevocationsPublished: 'Count',
  /** Revocations that a target has no room for, with the target as a dimension. */
  RevocationsOmitted: 'Count',
  /** WCU that the rules of revoked sessions use, with the target as a dimension. */
  RuleGroupWcu: 'Count',
  /** Publications that a target could not be told of, with the target as a dimension. */
  PublicationFailed: 'Count',
  /** Steps of a key rotation that failed, and rotations that were ended because they got stuck. */
  RotationFailed: 'Count',
  /** Receipts of render jobs that were refused. */
  ReceiptRefused: 'Count',
} as const;

/** Where the API says what it does. */
export interface Telemetry {
  /** Writes the line of a request. */
  request(line: RequestLine): void;
  /** Counts something; a dimension makes it a series of its own. */
  metric(name: keyof typeof METRICS, value: number, dimension?: { code: string } | { target: string }): void;
}
