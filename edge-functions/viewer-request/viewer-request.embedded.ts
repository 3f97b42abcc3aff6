import type { VerificationKey } from '../../token/keys.ts';
import { parse, stripTokens } from '../../token/parse.ts';
import { verify } from '../../token/verify.ts';
import { answerPreflight, conclude } from './answer.ts';
import { edgeCrypto } from './crypto.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from './event.ts';
import { RULES } from './rules.ts';
import { TOKEN_PREFIX } from './settings.ts';

/** The ring by key id: the last line of the built file, which rotation replaces and nothing else. */
declare const KEYS: { [kid: string]: VerificationKey };

const NOT_REVOKED = { session: false, before: 0 };

/**
 * The key with this id, or none. What an object inherits is no key either: `verify` looks at its shape. In a function of
 * its own: njs 0.7.9 takes `const key = KEYS[…]` for a use before the declaration, which comes last.
 */
function keyOf(kid: string): VerificationKey | null {
  return KEYS[kid] || null;
}

/** The viewer-request function without an edge store: keys and mode in the code, revocation left to WAF. */
export function handler(event: ViewerRequestEvent): EdgeRequest | EdgeResponse {
  const request = event.request;
  // Text, whatever it is: nothing below may throw.
  const uri = '' + request.uri;
  const preflight = answerPreflight(request);
  if (preflight) return preflight;
  const parsed = parse(uri, TOKEN_PREFIX, edgeCrypto);
  if (typeof parsed === 'string') return conclude(request, stripTokens(uri), '', parsed, undefined);
  const decision = verify(parsed, keyOf(parsed.kid), NOT_REVOKED, event, Date.now() / 1000, RULES);
  return conclude(request, parsed.path, parsed.sid, typeof decision === 'string' ? decision : '', undefined);
}
