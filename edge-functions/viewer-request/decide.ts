import type { VerificationKey } from '../../token/keys.ts';
import type { ParsedToken } from '../../token/parse.ts';
import { REASON_STATUS, type Reason } from '../../token/reasons.ts';
import { type Revocation, verify } from '../../token/verify.ts';
import { fieldValue } from '../../token/viewer.ts';
import { edgeCrypto } from './crypto.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from './event.ts';
import { ALLOWED_ORIGINS, LEEWAY_SECONDS, MAX_TOKEN_LIFETIME_SECONDS } from './settings.ts';

/** A denial that a player can read: status, reason, CORS for the page's origin, and never cached. */
export function deny(request: EdgeRequest, reason: Reason): EdgeResponse {
  const status = REASON_STATUS[reason];
  const response: EdgeResponse = {
    statusCode: status,
    statusDescription: status === 401 ? 'Unauthorized' : 'Forbidden',
    headers: { 'x-portcullis-reason': { value: reason }, 'cache-control': { value: 'no-store' } },
  };
  const headers = response.headers;
  const origin = ALLOWED_ORIGINS.indexOf('*') < 0 ? fieldValue(request.headers, 'origin') : '*';
  if (ALLOWED_ORIGINS.indexOf(origin) >= 0) {
    headers['access-control-allow-origin'] = { value: origin };
    headers['access-control-expose-headers'] = { value: 'x-portcullis-reason' };
  }
  if (origin !== '*') headers['vary'] = { value: 'origin' };
  return response;
}

/** Verifies a parsed token with what was looked up: the request without its token, or a denial. */
export function decide(
  event: ViewerRequestEvent,
  parsed: ParsedToken,
  key: VerificationKey | null,
  revocation: Revocation,
): EdgeRequest | EdgeResponse {
  const request = event.request;
  const verdict = verify(
    parsed,
    key,
    revocation,
    { ip: event.viewer ? event.viewer.ip : '', headers: request.headers, querystring: request.querystring },
    {
      crypto: edgeCrypto,
      now: Math.floor(Date.now() / 1000),
      maxLifetimeSeconds: MAX_TOKEN_LIFETIME_SECONDS,
      leewaySeconds: LEEWAY_SECONDS,
    },
  );
  if (verdict.reason !== '') return deny(request, verdict.reason);
  request.uri = parsed.path;
  return request;
}
