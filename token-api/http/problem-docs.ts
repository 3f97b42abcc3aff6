/** What a problem code means to a caller. */
export interface ProblemDoc {
  /** HTTP status that it comes with. */
  status: number;
  meaning: string;
}

/** The problem codes of every operation and of vending: one row each. */
export const PROBLEMS = {
  ERR_UNAUTHENTICATED: { status: 401, meaning: 'No bearer token, or one that is not valid or has expired.' },
  ERR_ROLE: { status: 403, meaning: 'The caller has none of the roles that may do this.' },
  ERR_NOT_FOUND: { status: 404, meaning: 'There is nothing at this path.' },
  ERR_BODY_INVALID: { status: 400, meaning: 'The body is not JSON, or a field is wrong; `detail` names the first.' },
  ERR_BODY_TOO_LARGE: { status: 413, meaning: 'The body is larger than 64 KiB.' },
  ERR_RATE_LIMITED: { status: 429, meaning: 'Too many requests in a minute; `Retry-After` says when to go on.' },
  ERR_UNAVAILABLE: { status: 503, meaning: 'Requests or answers cannot be counted or kept just now; try again.' },
  ERR_IDEMPOTENCY_KEY: { status: 400, meaning: 'The Idempotency-Key is not 20 to 128 letters, digits and `.~:+/=-_`.' },
  ERR_IDEMPOTENCY_KEY_REUSED: { status: 422, meaning: 'The Idempotency-Key was used with another body.' },
  ERR_IDEMPOTENCY_RUNNING: { status: 409, meaning: 'The request with this Idempotency-Key is still running.' },
  ERR_INTERNAL: { status: 500, meaning: 'The request failed on our side; the log says why.' },
  ERR_ASSET_UNKNOWN: { status: 404, meaning: 'There is no such asset.' },
  ERR_TOKEN_BINDING_MISSING: {
    status: 422,
    meaning: 'The policy binds the token to something that is not known of this viewer.',
  },
  ERR_POLICY_LIFETIME: { status: 422, meaning: 'The policy lets tokens live longer than the edge accepts.' },
  ERR_URL_OUT_OF_SCOPE: { status: 422, meaning: 'The policy does not open the path of the playback URL.' },
} as const satisfies Record<string, ProblemDoc>;
