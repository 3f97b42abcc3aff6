import { bindingInput, bindingValue } from './bindings.ts';
import { readClaims } from './claims.ts';
import type { TokenCrypto } from './crypto.ts';
import type { VerificationKey } from './keys.ts';
import type { ParsedToken } from './parse.ts';
import { isInScope } from './path-scope.ts';
import type { Reason } from './reasons.ts';
import type { Viewing } from './viewer.ts';

/** What was looked up about revocation. */
export interface Revocation {
  /** Whether the session is on the revocation list. */
  session: boolean;
  /** Sessions that began before this time (seconds since the epoch) are revoked; 0 when none are. */
  before: number;
}

/** What is the same for every request. */
export interface VerifyRules {
  crypto: TokenCrypto;
  /** Largest `exp − iat` accepted, in seconds. */
  maxLifetimeSeconds: number;
  /** Tolerated clock difference for `exp` and `nbf`, in seconds. */
  leewaySeconds: number;
}

/** Length of a 32-byte key as base64url. HMAC takes any key, so an empty or missing one would verify forgeries. */
const KEY_LENGTH = 43;

/**
 * Decides about a parsed token: '' when the request is allowed, else the reason why not. The signature comes first, so
 * that nothing an attacker wrote is interpreted; then each claim in turn (RFC 7519 §7.2, RFC 8725 §3). Never throws. `key`
 * is null when the key id is unknown, `now` is in seconds since the epoch, fractions allowed.
 */
export function verify(
  parsed: ParsedToken,
  key: VerificationKey | null,
  revocation: Revocation,
  viewing: Viewing,
  now: number,
  rules: VerifyRules,
): Reason | '' {
  if (!key || typeof key.sign !== 'string' || key.sign.length !== KEY_LENGTH) return 'token-key-unknown';

  const crypto = rules.crypto;
  if (!crypto.isMac(key.sign, parsed.signed, parsed.signature)) return 'token-signature-invalid';

  const claims = readClaims(crypto.decode(parsed.payload));
  if (!claims) return 'token-claims-invalid';
  if (claims.sid !== parsed.sid) return 'token-session-mismatch';

  const latest = now + rules.leewaySeconds;
  // An `iat` in the future must not stretch the lifetime: what counts is the earlier of `iat` and now.
  if (claims.exp > Math.min(claims.iat, latest) + rules.maxLifetimeSeconds) return 'token-lifetime-exceeded';
  if (claims.nbf !== undefined && latest < claims.nbf) return 'token-not-yet-valid';
  if (now - rules.leewaySeconds >= claims.exp) return 'token-expired';

  if (revocation.session) return 'session-revoked';
  // Written so that a cut-off that is no number denies.
  if (!(claims.sst >= revocation.before)) return 'session-cutoff';

  if (!isInScope(parsed.path, claims.paths)) return 'path-not-allowed';

  if (claims.cty && claims.cty.indexOf(bindingValue('country', viewing)) < 0) return 'country-not-allowed';

  if (claims.bnd && claims.bmac) {
    const input = bindingInput(claims.sid, claims.bnd, viewing);
    if (input === '') return 'binding-missing';
    if (typeof key.bind !== 'string' || key.bind.length !== KEY_LENGTH) return 'token-key-unknown';
    if (!crypto.isMac(key.bind, input, claims.bmac)) return 'binding-mismatch';
  }
  return '';
}
