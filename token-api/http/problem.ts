import { STATUS_CODES } from 'node:http';
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';

/** Codes of what the framework refuses before a route sees it. */
const CODES: Record<number, string> = { 400: 'ERR_BODY_INVALID', 404: 'ERR_NOT_FOUND', 500: 'ERR_INTERNAL' };

/** When to come back to what passes by itself. */
const RETRY_AFTER_SECONDS = '5';

/**
 * Any error as problem details (RFC 9457), with a stable `code` beside the registered members, and `reason` where the edge
 * has one for the same. Routes throw an `HTTPException` whose `cause` is `{ code, reason? }`; anything else is our fault: it
 * is reported to `report` and told to nobody.
 */
export function problemDetails(report: (error: Error) => void): (error: Error, c: Context) => Response {
  return (error, c) => {
    const known = error instanceof HTTPException;
    if (!known) report(error);
    const status = (known ? error.status : 500) as ContentfulStatusCode;
    const title = STATUS_CODES[status] ?? 'Error';
    const detail = known ? error.message : 'The request failed on our side; the log says why.';
    const cause = (known ? (error.cause ?? {}) : {}) as { code?: string; reason?: string };
    const { code = CODES[status] ?? 'ERR_REQUEST', reason } = cause;
    const headers: Record<string, string> = { 'content-type': 'application/problem+json', 'cache-control': 'no-store' };
    if (status === 401) headers['www-authenticate'] = 'Bearer realm="portcullis"';
    if (status === 503) headers['retry-after'] = RETRY_AFTER_SECONDS;
    return c.json({ type: 'about:blank', title, status, detail, code, reason }, status, headers);
  };
}
