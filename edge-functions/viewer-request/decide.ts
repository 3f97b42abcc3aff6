import type { VerificationKey } from '../../token/keys.ts';
import type { ParsedToken } from '../../token/parse.ts';
import { type Reason, statusOf } from '../../token/reasons.ts';
import { type Revocation, verify } from '../../token/verify.ts';
import { type Fields, fieldValue } from '../../token/viewer.ts';
import { edgeCrypto } from './crypto.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from './event.ts';
import { ALLOWED_ORIGINS, LEEWAY_SECONDS, MAX_TOKEN_LIFETIME_SECONDS } from './settings.ts';

/** Adds what lets the page of the request read the answer (CORS), when its origin is one of those allowed. */
function allowOrigin(request: EdgeRequest, headers: Fields): void {
  const origin = ALLOWED_ORIGINS.indexOf('*') < 0 ? fieldValue(request.headers, 'origin') : '*';
  if (ALLOWED_ORIGINS.indexOf(origin) >= 0) headers['access-control-allow-origin'] = { value: origin };
  if (origin !== '*') headers['vary'] = { value: 'origin' };
}

/** Whether a browser asks beforehand if a page may send a request (Fetch standard, CORS-preflight request). */
export function isPreflight(request: EdgeRequest): boolean {
  return request.method === 'OPTIONS' && fieldValue(request.headers, 'access-control-request-method') !== '';
}

/** Answers a preflight; it has no token to check and shows nothing. */
export function answerPreflight(request: EdgeRequest): EdgeResponse {
  const headers: Fields = {
    'access-control-allow-methods': { value: 'GET, HEAD' },
    'access-control-allow-headers': { value: '*' },
    'access-control-max-age': { value: '600' },
  };
  allowOrigin(request, headers);
  return { statusCode: 204, statusDescription: 'No Content', headers: headers };
}

/** A denial that a player can read: status, reason, CORS for the page's origin, and never cached. */
export function deny(request: EdgeRequest, reason: Reason): EdgeResponse {
  const status = statusOf(reason);
  const headers: Fields = {
    'x-portcullis-reason': { value: reason },
    'cache-control': { value: 'no-store' },
    'access-control-expose-headers': { value: 'x-portcullis-reason' },
  };
  allowOrigin(request, headers);
  return { statusCode: status, statusDescription: status === 401 ? 'Unauthorized' : 'Forbidden', headers: headers };
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
