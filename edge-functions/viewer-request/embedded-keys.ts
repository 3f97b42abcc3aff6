import type { VerificationKey } from '../../token/keys.ts';
import type { Revocation } from '../../token/verify.ts';

/** A key of ours, with one of the compatibility dialect (base64url) where the function takes that too. */
type EmbeddedKey = VerificationKey & { compat?: string };

/** The ring by key id: the last line of the built file, which rotation replaces and nothing else. */
declare const KEYS: { [kid: string]: EmbeddedKey };

/** Without an edge store nothing is known to be revoked. */
export const NOT_REVOKED: Revocation = { session: false, before: 0 };

/**
 * The key with this id, or none. What an object inherits is no key either: `verify` looks at its shape. In a function of
 * its own, which callers mark so that the build leaves it one: njs 0.7.9 takes `const key = KEYS[…]` for a use before the
 * declaration, which comes last.
 */
export function keyOf(kid: string): EmbeddedKey | null {
  return KEYS[kid] || null;
}
