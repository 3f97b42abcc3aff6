import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { TokenErrorCode } from '../../token/index.ts';
import type { MintingErrorCode } from '../minting/policy.ts';
import type { RenewalErrorCode } from '../minting/renewal.ts';
import type { VendingErrorCode } from '../vending/vending.ts';

/** What a problem code means to a caller. */
export interface ProblemDoc {
  /** HTTP status that it comes with, unless whoever throws it says another. */
  status: ContentfulStatusCode;
  meaning: string;
}

type PolicyCode = Extract<MintingErrorCode, `ERR_POLICY_${string}`>;
/** What refuses a token to a caller; the rest is answered as an error of ours. */
type RefusalCode =
  | VendingErrorCode
  | RenewalErrorCode
  | TokenErrorCode
  | Exclude<MintingErrorCode, 'ERR_CLOCK' | 'ERR_KEY_INVALID' | 'ERR_TOKEN_PREFIX'>;

/** What can be wrong with a policy; `detail` names the field. */
export const POLICY_PROBLEMS = {
  ERR_POLICY_TYPE: { status: 422, meaning: 'The policy is no object.' },
  ERR_POLICY_FIELD_UNKNOWN: { status: 422, meaning: 'The policy has a field that there is not.' },
  ERR_POLICY_FIELD_MISSING: { status: 422, meaning: 'A field of the policy is missing.' },
  ERR_POLICY_LIST: {
    status: 422,
    meaning: 'A field of the policy must be a list of texts: at least one, and no more than `detail` says.',
  },
  ERR_POLICY_LIFETIME: { status: 422, meaning: 'The lifetime is no duration above zero.' },
  ERR_POLICY_LIFETIME_TOO_LONG: { status: 422, meaning: 'The lifetime is longer than edge or session may.' },
  ERR_POLICY_ASSET: { status: 422, meaning: 'The asset id is that of the catalogue: leave it out.' },
  ERR_POLICY_SCOPE: { status: 422, meaning: 'A path of the policy is none that is safe.' },
  ERR_POLICY_COUNTRY: { status: 422, meaning: 'A country of the policy is no ISO 3166-1 alpha-2 code in upper case.' },
  ERR_POLICY_BINDING: { status: 422, meaning: 'The policy names a binding that there is not.' },
  ERR_POLICY_BINDING_REPEATED: { status: 422, meaning: 'The policy names a binding twice.' },
} as const satisfies Record<PolicyCode, ProblemDoc>;

/** The problem codes of every operation and of vending: one row each. */
export const PROBLEMS = {
  ERR_UNAUTHENTICATED: { status: 401, meaning: 'No bearer token, or one that is not valid or has expired.' },
  ERR_ROLE: { status: 403, meaning: 'The caller has none of the roles that may do this.' },
  ERR_NOT_FOUND: { status: 404, meaning: 'There is nothing at this path.' },
  ERR_BODY_INVALID: { status: 400, meaning: 'The body is not JSON, or a field is wrong; `detail` names the first.' },
  ERR_BODY_TOO_LARGE: { status: 413, meaning: 'The body is larger than 64 KiB.' },
  ERR_RATE_LIMITED: { status: 429, meaning: 'Too many requests in a minute; `Retry-After` says when to go on.' },
  ERR_UNAVAILABLE: { status: 503, meaning: 'Requests or answers cannot be counted or kept just now; try again.' },
  ERR_IDEMPOTENCY_KEY_INVALID: {
    status: 400,
    meaning: 'The Idempotency-Key is not 20 to 128 letters, digits and `.~:+/=-_`.',
  },
  ERR_IDEMPOTENCY_KEY_REUSED: { status: 422, meaning: 'The Idempotency-Key was used with another body.' },
  ERR_IDEMPOTENCY_RUNNING: { status: 409, meaning: 'The request with this Idempotency-Key is still running.' },
  ERR_INTERNAL: { status: 500, meaning: 'The request failed on our side; the log says why.' },
  ERR_QUERY_INVALID: { status: 400, meaning: 'A parameter of the query is wrong; `detail` names it.' },
  ERR_CURSOR_INVALID: { status: 400, meaning: 'The cursor is not one of this list; begin again without.' },
  ERR_ID_INVALID: {
    status: 400,
    meaning: 'An id is 1–128 letters, digits, `_`, `-` or `.`, and does not begin with `.`.',
  },
  ERR_ASSET_UNKNOWN: { status: 404, meaning: 'There is no such asset.' },
  ERR_ASSET_WITHDRAWN: { status: 451, meaning: 'The asset is withdrawn where the viewer is.' },
  ERR_POLICY_UNKNOWN: { status: 422, meaning: 'There is no such policy.' },
  ERR_POLICY_IN_USE: { status: 409, meaning: 'Assets refer to the policy; `detail` names them.' },
  ...POLICY_PROBLEMS,
  ERR_VIEWER_INVALID: { status: 422, meaning: 'An attribute of the viewer is wrong; `detail` names it.' },
  ERR_VIEWER_COUNTRY: { status: 422, meaning: 'The viewer is in none of the countries that the policy allows.' },
  ERR_URL_INVALID: {
    status: 422,
    meaning: 'The playback URL is none, has a token already, or is not where tokens stand.',
  },
  ERR_URL_OUT_OF_SCOPE: { status: 422, meaning: 'The policy does not open the path of the playback URL.' },
  ERR_TOKEN_BINDING_MISSING: {
    status: 422,
    meaning: 'The token is bound to something that is not known of this viewer.',
  },
  ERR_TOKEN_CLAIMS: { status: 422, meaning: 'A claim would be wrong.' },
  ERR_TOKEN_SCOPE: { status: 422, meaning: 'The token would open a path that is not safe.' },
  ERR_TOKEN_BINDING_UNKNOWN: { status: 422, meaning: 'The policy names a binding that there is not.' },
  ERR_TOKEN_TOO_LONG: { status: 422, meaning: 'The token would be longer than the edge takes.' },
  ERR_TOKEN_REFUSED: { status: 401, meaning: 'The edge would deny the presented token; `reason` says why.' },
  ERR_TOKEN_SUBJECT: { status: 403, meaning: 'The presented token is not one of the caller.' },
  ERR_SESSION_REVOKED: { status: 403, meaning: 'The session is revoked.' },
  ERR_SESSION_CUTOFF: {
    status: 403,
    meaning: 'The session began before the time up to which all sessions are revoked; start another.',
  },
  ERR_SUBJECT_REVOKED: { status: 403, meaning: 'The subject is revoked: it gets no tokens.' },
  // Not 429: clients repeat that by themselves, and no waiting helps as long as the other sessions play.
  ERR_SESSION_LIMIT: { status: 403, meaning: 'The subject has as many sessions as it may; one has to end first.' },
  ERR_SESSION_ENDED: { status: 403, meaning: 'The session has reached its maximum; start another.' },
  ERR_RENEWAL_NOT_LATER: {
    status: 409,
    meaning: 'The new token would not expire later; renew when this one has aged.',
  },
  ERR_CONCURRENCY_CONTENDED: {
    status: 503,
    meaning: 'Too many sessions of one subject are asked for at once; try again.',
  },
  ERR_KEY_UNKNOWN: { status: 404, meaning: 'The ring has no such key.' },
  ERR_ROTATION_RUNNING: { status: 409, meaning: 'Another rotation is running.' },
  ERR_ROTATION_OUTDATED: { status: 409, meaning: 'The ring has changed since the rotation began; begin again.' },
  ERR_ROTATION_EARLY: {
    status: 409,
    meaning: 'The key before has not reached every edge yet; `detail` says when it has.',
  },
  ERR_ROTATION_ELSEWHERE: {
    status: 409,
    meaning: 'Keys are rotated elsewhere: they are embedded, or no address of the edge is known.',
  },
  ERR_ROTATION_PROBE: { status: 502, meaning: 'The edge does not take a token of the new key.' },
  ERR_RING_CONFLICT: { status: 409, meaning: 'Somebody else changed the ring meanwhile; begin again.' },
  ERR_RING_FOREIGN: { status: 409, meaning: 'The edge has keys, and the ring knows none of them: it is another edge.' },
  ERR_RING_CLOCK: {
    status: 503,
    meaning: 'The clock of the API is before times in the key ring: it has to be set right.',
  },
  ERR_RING_PAUSED: {
    status: 503,
    meaning: `A key was dropped, and none may be minted with yet: ask again after a few seconds. A pause lasts at most
\`keys.bakeSeconds\`; \`GET /v1/keys\` shows when a key is current.`,
  },
  ERR_RING_STALE: { status: 503, meaning: 'The key ring could not be read for too long.' },
  ERR_RING_THROTTLED: { status: 503, meaning: 'What keeps the ring takes no more calls just now; try again.' },
  ERR_RING_UNREACHABLE: { status: 503, meaning: 'What keeps the ring does not answer; try again.' },
} as const satisfies Record<string, ProblemDoc> & Record<RefusalCode, ProblemDoc>;

/** The code of a problem. */
export type ProblemCode = keyof typeof PROBLEMS;

/** Whether a code is one of a problem of the caller; an error under any other is ours. */
export function isProblemCode(code: string): code is ProblemCode {
  return Object.hasOwn(PROBLEMS, code);
}

/** What a problem has beside its code and message. */
export interface ProblemDetail {
  /** For a code that has two: the one that is not in its row. */
  status?: ContentfulStatusCode | undefined;
  /** Denial reason of the edge for the same, or what is revoked. */
  reason?: string | undefined;
}

/** A problem for `problemDetails` to answer with, under the status of its row. */
export function problem(code: ProblemCode, message: string, detail: ProblemDetail = {}): HTTPException {
  const { status = PROBLEMS[code].status, reason } = detail;
  return new HTTPException(status, { message, cause: { code, reason } });
}
