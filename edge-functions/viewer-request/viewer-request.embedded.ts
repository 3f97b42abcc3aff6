import type { VerificationKey } from '../../token/keys.ts';
import { parse } from '../../token/parse.ts';
import { edgeCrypto } from './crypto.ts';
import { answerPreflight, decide, deny, isPreflight } from './decide.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from './event.ts';

/** The ring by key id: the last line of the built file, which rotation replaces and nothing else. */
declare const KEYS: { [kid: string]: VerificationKey };

/** The viewer-request function without an edge store: keys in the code, revocation left to WAF. */
export function handler(event: ViewerRequestEvent): EdgeRequest | EdgeResponse {
  if (isPreflight(event.request)) return answerPreflight(event.request);
  const parsed = parse(event.request.uri, edgeCrypto);
  if (parsed.reason !== '') return deny(event.request, parsed.reason);
  const key = Object.prototype.hasOwnProperty.call(KEYS, parsed.kid) ? KEYS[parsed.kid] : null;
  return decide(event, parsed, key || null, { session: false, before: 0 });
}
