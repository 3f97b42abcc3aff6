import { parse, stripTokens } from '../../token/parse.ts';
import { verify } from '../../token/verify.ts';
import { answerPreflight, conclude } from './answer.ts';
import { edgeCrypto } from './crypto.ts';
import { keyOf, NOT_REVOKED } from './embedded-keys.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from './event.ts';
import { RULES } from './rules.ts';
import { MODE, TOKEN_PREFIX } from './settings.ts';

/** The viewer-request function without an edge store: keys and mode in the code, revocation left to WAF. */
export function handler(event: ViewerRequestEvent): EdgeRequest | EdgeResponse {
  const request = event.request;
  // Text, whatever it is: nothing below may throw.
  const uri = '' + request.uri;
  const preflight = answerPreflight(request);
  if (preflight) return preflight;
  const parsed = parse(uri, TOKEN_PREFIX, edgeCrypto);
  if (typeof parsed === 'string') return conclude(request, stripTokens(uri, TOKEN_PREFIX.length - 1), '', parsed, MODE);
  const decision = verify(parsed, /*@__NOINLINE__*/ keyOf(parsed.kid), NOT_REVOKED, event, Date.now() / 1000, RULES);
  return conclude(request, parsed.path, parsed.sid, typeof decision === 'string' ? decision : '', MODE);
}
