/**
 * Why a request is denied: the contract, in the response header `x-portcullis-reason`. The first word tells the HTTP
 * status, so that the edge needs no table: `token-…` is 401, a new token may help; `asset-…` is 451, nobody may have it there
 * (RFC 7725); anything else is 403, this token is not for this request or no longer good. `reason-docs.ts` has a row for each.
 */
export type Reason =
  | 'path-unsafe'
  | 'token-missing'
  | 'token-malformed'
  | 'token-key-unknown'
  | 'token-signature-invalid'
  | 'token-claims-invalid'
  | 'token-session-mismatch'
  | 'token-lifetime-exceeded'
  | 'token-not-yet-valid'
  | 'token-expired'
  | 'store-unavailable'
  | 'session-revoked'
  | 'session-cutoff'
  | 'path-not-allowed'
  | 'country-not-allowed'
  | 'binding-missing'
  | 'binding-mismatch'
  | 'asset-withdrawn';

/** The HTTP status of a denial (RFC 9110 §15.5). */
export function statusOf(reason: Reason): 401 | 403 | 451 {
  return reason[0] === 't' ? 401 : reason[0] === 'a' ? 451 : 403;
}
