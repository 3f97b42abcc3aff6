import { bindingInput, bindingValue, countryOf, rowOf } from './bindings.ts';
import { type ClaimsSet, readClaims } from './claims.ts';
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

/** Length of a MAC as base64url. */
const MAC_LENGTH = 43;

/** Whether this is a 32-byte key as base64url. HMAC takes any key, so an empty or missing one would verify forgeries. */
function isKey(key: unknown): boolean {
  return typeof key === 'string' && key.length === 43;
}

/**
 * Verifies a parsed token: its claims set when the request is allowed, else the reason why not. The signature comes first,
 * so that nothing an attacker wrote is interpreted; then each claim in turn (RFC 7519 §7.2, RFC 8725 §3). Never throws.
 * `key` is null when the key id is unknown, `now` is in seconds since the epoch, fractions allowed.
 */
export function verify(
  parsed: ParsedToken,
  key: VerificationKey | null,
  revocation: Revocation,
  viewing: Viewing,
  now: number,
  rules: VerifyRules,
): ClaimsSet | Reason {
  if (!key || !isKey(key.sign) || !isKey(key.bind)) return 'token-key-unknown';

  const crypto = rules.crypto;
  if (!crypto.isMac(key.sign, parsed.signed, parsed.signature)) return 'token-signature-invalid';

  const claims = readClaims(crypto.decode(parsed.payload));
  if (!claims) return 'token-claims-invalid';
  if (claims.sid !== parsed.sid) return 'token-session-mismatch';

  const leewaySeconds = rules.leewaySeconds;
  const exp = claims.exp;
  const latest = now + leewaySeconds;
  const longest = rules.maxLifetimeSeconds;
  // Also from now on, because an `iat` in the future must not stretch the lifetime.
  if (exp - claims.iat > longest || exp - latest > longest) return 'token-lifetime-exceeded';
  // Nothing is before an `nbf` that is absent.
  if (latest < (claims.nbf as number)) return 'token-not-yet-valid';
  if (now - leewaySeconds >= exp) return 'token-expired';

  if (revocation.session) return 'session-revoked';
  if (!(claims.sst >= revocation.before)) return 'session-cutoff';

  const isOpen = isInScope(parsed.path, claims.paths) || (claims.files && claims.files.indexOf(parsed.path) >= 0);
  if (!isOpen) return 'path-not-allowed';
  if (claims.cty && claims.cty.indexOf(countryOf(viewing)) < 0) return 'country-not-allowed';
  if (claims.bnd || claims.btol) return verifyBindings(claims, key, viewing, crypto) || claims;
  return claims;
}

/** Verifies what the token is bound to; '' when all of it matches. */
function verifyBindings(claims: ClaimsSet, key: VerificationKey, viewing: Viewing, crypto: TokenCrypto): Reason | '' {
  if (claims.bnd) {
    const input = bindingInput(claims.sid, claims.bnd, viewing);
    if (input === '') return 'binding-missing';
    if (!crypto.isMac(key.bind, input, claims.bmac as string)) return 'binding-mismatch';
  }
  const tolerant = claims.btol || [];
  for (let i = 0; i < tolerant.length; i++) {
    const entry = tolerant[i] as string;
    const binding = entry.slice(0, -MAC_LENGTH - 1);
    // What is not of this shape would otherwise bind nothing, and nobody would notice.
    if (entry[binding.length] !== '=' || !rowOf(binding)) return 'token-claims-invalid';
    const isMet =
      bindingValue(binding, viewing) === '' ||
      crypto.isMac(key.bind, bindingInput(claims.sid, [binding], viewing), entry.slice(-MAC_LENGTH));
    if (!isMet) return 'binding-mismatch';
  }
  return '';
}
