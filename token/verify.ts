import { bindingInput } from './bindings.ts';
import { type ClaimsSet, readClaims } from './claims.ts';
import type { TokenCrypto } from './crypto.ts';
import type { VerificationKey } from './keys.ts';
import type { ParsedToken } from './parse.ts';
import { isInScope } from './path-scope.ts';
import type { Reason } from './reasons.ts';
import type { Viewer } from './viewer.ts';

/** What was looked up about revocation. */
export interface Revocation {
  /** Whether the session is on the revocation list. */
  session: boolean;
  /** Sessions that began before this time (seconds since the epoch) are revoked; 0 when none are. */
  before: number;
}

/** What a verifier is told about its surroundings. */
export interface VerifyContext {
  crypto: TokenCrypto;
  /** Seconds since the epoch, an integer. */
  now: number;
  /** Largest `exp − iat` accepted, in seconds. */
  maxLifetimeSeconds: number;
  /** Tolerated clock difference for `exp` and `nbf`, in seconds. */
  leewaySeconds: number;
}

/** `reason` is '' when the request is allowed; `claims` is null unless the signature matched and the claims could be read. */
export interface Verdict {
  reason: Reason | '';
  claims: ClaimsSet | null;
}

/** Whether this is a 32-byte key as base64url: HMAC takes any key, so an empty or missing one would verify forgeries. */
function isKeyText(text: unknown): boolean {
  return typeof text === 'string' && text.length === 43;
}

function denied(reason: Reason, claims: ClaimsSet | null): Verdict {
  return { reason: reason, claims: claims };
}

/**
 * Decides about a parsed token. The signature comes first, so that nothing an attacker wrote is interpreted; then each
 * claim in turn (RFC 7519 §7.2, RFC 8725 §3). Never throws. `key` is null when the key id is unknown.
 */
export function verify(
  parsed: ParsedToken,
  key: VerificationKey | null,
  revocation: Revocation,
  viewer: Viewer,
  context: VerifyContext,
): Verdict {
  if (parsed.reason !== '') return denied(parsed.reason, null);
  if (!key || !isKeyText(key.sign) || !isKeyText(key.bind)) return denied('token-key-unknown', null);

  const crypto = context.crypto;
  if (!crypto.isMac(key.sign, parsed.signed, parsed.signature)) return denied('token-signature-invalid', null);

  const claims = readClaims(crypto.decode(parsed.payload));
  if (!claims) return denied('token-claims-invalid', null);
  if (claims.sid !== parsed.sid) return denied('token-session-mismatch', claims);

  const now = context.now;
  const leeway = context.leewaySeconds;
  const latest = Math.min(claims.iat, now + leeway) + context.maxLifetimeSeconds;
  // An `iat` in the future must not stretch the lifetime: what counts is the earlier of `iat` and now.
  if (claims.exp > latest) return denied('token-lifetime-exceeded', claims);
  if (claims.nbf !== undefined && now + leeway < claims.nbf) return denied('token-not-yet-valid', claims);
  if (now - leeway >= claims.exp) return denied('token-expired', claims);

  if (revocation.session) return denied('session-revoked', claims);
  // Written so that a cut-off that is no number denies.
  if (!(claims.sst >= revocation.before)) return denied('session-cutoff', claims);

  if (!isInScope(parsed.path, claims.paths)) return denied('path-not-allowed', claims);

  if (claims.bnd && claims.bmac) {
    const input = bindingInput(claims.sid, claims.bnd, viewer);
    if (input === '') return denied('binding-missing', claims);
    if (!crypto.isMac(key.bind, input, claims.bmac)) return denied('binding-mismatch', claims);
  }
  return { reason: '', claims: claims };
}
