/** How many sessions a subject may have at a time. */
export interface ConcurrencyLimit {
  /**
   * Gives a session a place among those of its subject until `expiresAt`; one that has a place keeps it, at least until
   * then. Resolves to false when other sessions hold every place. Times are seconds since the epoch. Rejects with
   * `ERR_CONCURRENCY_CONTENDED` when too many ask for the same subject at once.
   */
  admit(subject: string, sessionId: string, expiresAt: number, now: number): Promise<boolean>;
}

/** Why a place could not be asked for. */
export class ConcurrencyError extends Error {
  readonly code = 'ERR_CONCURRENCY_CONTENDED';
  constructor() {
    super('Too many requests for sessions of the same subject at once; try again in a moment.');
    this.name = 'ConcurrencyError';
  }
}
