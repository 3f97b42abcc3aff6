/** What an invocation came to: what the handler returned, or the text of what it threw. */
export type InvocationResult = ({ value: unknown } | { error: string }) & {
  /** What it wrote with `logCustomData`, absent when it wrote nothing. */
  log?: string;
  /** How often it read the edge store. */
  reads: number;
};

/** The surroundings of a run. */
export interface RunOptions {
  /** The clock, in seconds since the epoch; it stands still. */
  now: number;
  /** Entries of the edge store. */
  store: ReadonlyMap<string, string>;
  /** Beginnings of keys that the edge store fails to read; none by default. */
  unreadable?: string[];
}

/** Runs a built function, byte for byte as it would be uploaded, on one event after the other. */
export type EdgeRuntime = (code: string, events: unknown[], options: RunOptions) => Promise<InvocationResult[]>;

export type EdgeRuntimeErrorCode = 'ERR_RUNTIME_FUNCTION' | 'ERR_RUNTIME_ENGINE' | 'ERR_RUNTIME_TIMEOUT';

/** How long a run may take, in milliseconds: far more than a function may on CloudFront, but an endless loop ends. */
export const TIMEOUT_MS = 30_000;

/** Why a function could not be run at all. */
export class EdgeRuntimeError extends Error {
  readonly code: EdgeRuntimeErrorCode;
  constructor(code: EdgeRuntimeErrorCode, message: string) {
    super(message);
    this.name = 'EdgeRuntimeError';
    this.code = code;
  }
}

/** The error for a function that does not end. */
export function timeoutError(): EdgeRuntimeError {
  return new EdgeRuntimeError('ERR_RUNTIME_TIMEOUT', `the function did not end within ${TIMEOUT_MS / 1000} s`);
}
