import type { VerificationKey } from '../../token/keys.ts';
import type { ParsedToken } from '../../token/parse.ts';
import { type Reason, statusOf } from '../../token/reasons.ts';
import { type Revocation, type VerifyRules, verify } from '../../token/verify.ts';
import { type Field, type Fields, fieldValue } from '../../token/viewer.ts';
import { edgeCrypto } from './crypto.ts';
import type { EdgeRequest, EdgeResponse, ViewerRequestEvent } from './event.ts';
import { ALLOWED_ORIGINS, ANY_ORIGIN, LEEWAY_SECONDS, MAX_TOKEN_LIFETIME_SECONDS } from './settings.ts';

const ANY: Field = { value: '*' };
const NEVER: Field = { value: 'no-store' };
const REASON: Field = { value: 'x-portcullis-reason' };

/** Adds what lets the page of the request read the answer (CORS), when its origin is one of those allowed. */
function allowOrigin(request: EdgeRequest, headers: Fields): void {
  if (ANY_ORIGIN) {
    headers['access-control-allow-origin'] = ANY;
    return;
  }
  const origin = fieldValue(request.headers, 'origin');
  if (ALLOWED_ORIGINS.indexOf(origin) >= 0) headers['access-control-allow-origin'] = { value: origin };
  headers['vary'] = { value: 'origin' };
}

/** Answers a browser that asks beforehand if a page may send a request (CORS preflight): no token is needed, nothing is shown. */
export function answerPreflight(request: EdgeRequest): EdgeResponse {
  const headers: Fields = {
    'access-control-allow-methods': { value: 'GET, HEAD' },
    'access-control-allow-headers': ANY,
    'access-control-max-age': { value: '600' },
  };
  allowOrigin(request, headers);
  return { statusCode: 204, statusDescription: 'No Content', headers: headers };
}

/** Whether a request is a CORS preflight (Fetch standard). */
export function isPreflight(request: EdgeRequest): boolean {
  return request.method === 'OPTIONS' && fieldValue(request.headers, 'access-control-request-method') !== '';
}

/** A denial that a player can read: status, reason, CORS for the page's origin, and never cached. */
export function deny(request: EdgeRequest, reason: Reason): EdgeResponse {
  const status = statusOf(reason);
  const headers: Fields = {
    'x-portcullis-reason': { value: reason },
    'cache-control': NEVER,
    'access-control-expose-headers': REASON,
  };
  allowOrigin(request, headers);
  return { statusCode: status, statusDescription: status === 401 ? 'Unauthorized' : 'Forbidden', headers: headers };
}

const RULES: VerifyRules = {
  crypto: edgeCrypto,
  maxLifetimeSeconds: MAX_TOKEN_LIFETIME_SECONDS,
  leewaySeconds: LEEWAY_SECONDS,
};

/** Verifies a parsed token with what was looked up: the request without its token, or a denial. */
export function decide(
  event: ViewerRequestEvent,
  parsed: ParsedToken,
  key: VerificationKey | null,
  revocation: Revocation,
): EdgeRequest | EdgeResponse {
  const request = event.request;
  const reason = verify(parsed, key, revocation, event, Date.now() / 1000, RULES);
  if (reason !== '') return deny(request, reason);
  request.uri = parsed.path;
  return request;
}
