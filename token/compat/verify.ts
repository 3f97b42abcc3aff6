import type { TokenCrypto } from '../crypto.ts';
import { isInScope, isUnsafePath } from '../path-scope.ts';
import type { Reason } from '../reasons.ts';
import type { Viewing } from '../viewer.ts';
import { checkCompatBindings } from './bindings.ts';
import { readCompatClaims } from './claims.ts';
import type { ParsedCompatToken } from './parse.ts';

/**
 * Decides about a parsed token of the AWS solution v1: '' when the request is allowed, else the reason why not. `key` is
 * the HMAC key, base64url; undefined when the key id is unknown. `now` is in seconds since the epoch, fractions allowed,
 * `leewaySeconds` the tolerated clock difference for `exp` and `nbf`. Never throws.
 */
export function verifyCompat(
  parsed: ParsedCompatToken,
  key: string | undefined,
  viewing: Viewing,
  now: number,
  leewaySeconds: number,
  crypto: TokenCrypto,
): Reason | '' {
  if (isUnsafePath(parsed.path)) return 'path-unsafe';

  // HMAC takes any key, so an empty one would verify forgeries.
  if (!key) return 'token-key-unknown';

  if (!crypto.isMac(key, parsed.signed, parsed.signature)) return 'token-signature-invalid';

  const claims = readCompatClaims(crypto.decode(parsed.payload));
  if (!claims) return 'token-claims-invalid';

  // In this format a token is good up to and including the second `exp`.
  if (now - leewaySeconds > claims.exp) return 'token-expired';
  if (now + leewaySeconds < (claims.nbf as number)) return 'token-not-yet-valid';

  // What is excluded is open to every holder of the token, whatever it binds; the root would exclude everything.
  const excluded = claims.exc.filter((path) => path !== '/');
  if (isInScope(parsed.path, excluded)) return '';

  if (!isInScope(parsed.path, claims.paths)) return 'path-not-allowed';

  return checkCompatBindings(claims, parsed.sid, viewing, key, crypto);
}
