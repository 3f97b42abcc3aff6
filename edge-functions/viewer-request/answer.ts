import cf from 'cloudfront';
import { stripTokens } from '../../token/parse.ts';
import { isUnsafePath } from '../../token/path-scope.ts';
import { type Reason, statusOf } from '../../token/reasons.ts';
import { type Field, type Fields, fieldValue } from '../../token/viewer.ts';
import type { EdgeRequest, EdgeResponse } from './event.ts';
import { ALLOWED_ORIGINS, LEGACY_USER_AGENTS, type Mode } from './settings.ts';

const ANY: Field = { value: '*' };
const NEVER: Field = { value: 'no-store' };
const REASON: Field = { value: 'x-portcullis-reason' };

/** Lets a page read the answer only when its origin is one of those allowed (CORS). */
function restrictOrigin(request: EdgeRequest, origins: string[], headers: Fields): Fields {
  const origin = fieldValue(request.headers, 'origin');
  if (origins.indexOf(origin) >= 0) headers['access-control-allow-origin'] = { value: origin };
  else delete headers['access-control-allow-origin'];
  headers['vary'] = { value: 'origin' };
  return headers;
}

/**
 * Answers a browser that asks beforehand if a page may send a request (CORS preflight, Fetch standard): no token is
 * needed, nothing is shown. GET and HEAD need not be named. Null for any other request.
 */
export function answerPreflight(request: EdgeRequest): EdgeResponse | null {
  if (request.method !== 'OPTIONS' || fieldValue(request.headers, 'access-control-request-method') === '') return null;
  const headers: Fields = {
    'access-control-allow-origin': ANY,
    'access-control-allow-headers': ANY,
    'access-control-max-age': { value: '600' },
  };
  return { statusCode: 204, headers: ALLOWED_ORIGINS ? restrictOrigin(request, ALLOWED_ORIGINS, headers) : headers };
}

/** A denial that a player can read: status, reason, CORS for the page's origin, and never cached. */
function deny(request: EdgeRequest, reason: Reason): EdgeResponse {
  const headers: Fields = {
    'access-control-allow-origin': ANY,
    'access-control-expose-headers': REASON,
    'cache-control': NEVER,
    'x-portcullis-reason': { value: reason },
  };
  return {
    statusCode: statusOf(reason),
    headers: ALLOWED_ORIGINS ? restrictOrigin(request, ALLOWED_ORIGINS, headers) : headers,
  };
}

/** Lets a request go on without its token. */
export function pass(request: EdgeRequest, path: string): EdgeRequest {
  request.uri = path;
  return request;
}

/** Whether a request comes from one of the players that are let through without a token. */
function isLegacy(request: EdgeRequest, userAgents: string[]): boolean {
  const userAgent = fieldValue(request.headers, 'user-agent');
  return userAgents.some((start) => userAgent.startsWith(start));
}

/** Puts the decision into the log: `<session or ->,<reason or allowed>,<path>`. `sid` is '' unless it is proven. */
function log(sid: string, reason: Reason | '', path: string): void {
  const line = (sid || '-') + ',' + (reason || 'allowed') + ',' + stripTokens(path);
  // At most 800 bytes: an allowed path is ASCII, any other has four bytes a character at worst.
  cf.logCustomData(line.slice(0, reason ? 200 : 800));
}

/**
 * What becomes of a request for which `path` would be allowed, or that is refused for `reason`: the mode tells if that
 * holds. An unsafe path is refused in every mode.
 */
export function conclude(
  request: EdgeRequest,
  path: string,
  sid: string,
  reason: Reason | '',
  mode: Mode,
): EdgeRequest | EdgeResponse {
  const isLegacyPlayer =
    LEGACY_USER_AGENTS !== null && reason === 'token-missing' && isLegacy(request, LEGACY_USER_AGENTS);
  if (reason !== '' && (mode === 'off' || mode === 'log' || isLegacyPlayer)) {
    const isUnsafe = isUnsafePath(path);
    if (mode !== 'off') log(sid, isUnsafe ? 'path-unsafe' : reason, path);
    return isUnsafe ? deny(request, 'path-unsafe') : pass(request, path);
  }
  if (mode !== 'off') log(sid, reason, path);
  return reason === '' ? pass(request, path) : deny(request, reason);
}
