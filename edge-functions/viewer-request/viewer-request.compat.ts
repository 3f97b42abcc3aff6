import { parseCompat } from '../../token/compat/parse.ts';
import { verifyCompat } from '../../token/compat/verify.ts';
import { parse, stripTokens } from '../../token/parse.ts';
import { verify } from '../../token/verify.ts';
import { answerPreflight, conclude } from './answer.ts';
import { edgeCrypto } from './crypto.ts';
import { keyOf, NOT_REVOKED } from './embedded-keys.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from './event.ts';
import { RULES } from './rules.ts';
import { LEEWAY_SECONDS, MODE, TOKEN_PREFIX } from './settings.ts';

/** The viewer-request function that takes our tokens and those of the AWS solution v1; revocation is left to WAF. */
export function handler(event: ViewerRequestEvent): EdgeRequest | EdgeResponse {
  const request = event.request;
  // Text, whatever it is: nothing below may throw.
  const uri = '' + request.uri;
  const preflight = answerPreflight(request);
  if (preflight) return preflight;
  const now = Date.now() / 1000;
  const ours = parse(uri, TOKEN_PREFIX, edgeCrypto);
  if (typeof ours !== 'string') {
    const decision = verify(ours, /*@__NOINLINE__*/ keyOf(ours.kid), NOT_REVOKED, event, now, RULES);
    return conclude(request, ours.path, ours.sid, typeof decision === 'string' ? decision : '', MODE);
  }
  const theirs = parseCompat(uri, edgeCrypto);
  if (!theirs) return conclude(request, stripTokens(uri, TOKEN_PREFIX.length - 1), '', ours, MODE);
  const key = /*@__NOINLINE__*/ keyOf(theirs.kid);
  const reason = verifyCompat(theirs, key ? key.compat : undefined, event, now, LEEWAY_SECONDS, edgeCrypto);
  // What session it is, is proven for some tokens of that format only.
  return conclude(request, theirs.path, '', reason, MODE);
}
