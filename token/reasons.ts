/**
 * Why a request is denied, and with which HTTP status. The reason is the contract (response header
 * `x-portcullis-reason`); the status groups reasons by what a player can do about them:
 * 401 get a new token, 403 this token is not for this request or was revoked.
 */
export const REASON_STATUS = {
  'path-unsafe': 403,
  'token-missing': 401,
  'token-malformed': 401,
  'key-unknown': 401,
  'signature-invalid': 401,
  'claims-invalid': 401,
  'session-mismatch': 401,
  'lifetime-exceeded': 401,
  'token-not-yet-valid': 401,
  'token-expired': 401,
  'store-unavailable': 403,
  'session-revoked': 403,
  'session-cutoff': 403,
  'path-not-allowed': 403,
  'binding-missing': 403,
  'binding-mismatch': 403,
} as const;

/** A denial reason; '' stands for "allowed". */
export type Reason = keyof typeof REASON_STATUS;
