import type { VerificationKey } from '../../token/keys.ts';
import { parse } from '../../token/parse.ts';
import { edgeCrypto } from './crypto.ts';
import { answerPreflight, decide, deny, isPreflight } from './decide.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from './event.ts';

/** The ring by key id: the last line of the built file, which rotation replaces and nothing else. */
declare const KEYS: { [kid: string]: VerificationKey };

const NOT_REVOKED = { session: false, before: 0 };

/** The viewer-request function without an edge store: keys in the code, revocation left to WAF. */
export function handler(event: ViewerRequestEvent): EdgeRequest | EdgeResponse {
  if (isPreflight(event.request)) return answerPreflight(event.request);
  const parsed = parse(event.request.uri, edgeCrypto);
  if (typeof parsed === 'string') return deny(event.request, parsed);
  // What an object inherits is no key either: `verify` looks at its shape.
  // Within an expression: njs 0.7.9 takes `const key = KEYS[…]` for a use before the declaration, which comes last.
  return decide(event, parsed, KEYS[parsed.kid] || null, NOT_REVOKED);
}
