import { STATUS_CODES } from 'node:http';
import type { Context } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { ProblemCode } from './problem-docs.ts';

/** Codes of what the framework refuses before a route sees it. */
const CODES: Record<number, ProblemCode> = { 400: 'ERR_BODY_INVALID' };

/** The stable code of an error that a route threw. */
export function problemCode(error: Error): string {
  if (!(error instanceof HTTPException)) return 'ERR_INTERNAL';
  const { code = CODES[error.status] ?? 'ERR_REQUEST' } = (error.cause ?? {}) as { code?: string };
  return code;
}

/** When to come back to what passes by itself. */
const RETRY_AFTER_SECONDS = '5';

/**
 * Any error as problem details (RFC 9457), with a stable `code` and the id of the request beside the registered
 * members, and `reason` where the edge has one for the same. Routes throw a `problem`, which is an `HTTPException` whose
 * `cause` is `{ code, reason? }`; anything else is our fault: it is reported to `report` and told to nobody.
 */
export function problemDetails(
  report: (error: Error, requestId: string) => void,
): (error: Error, c: Context) => Response {
  return (error, c) => {
    const known = error instanceof HTTPException;
    const requestId: string = c.get('requestId');
    if (!known) report(error, requestId);
    const status = (known ? error.status : 500) as ContentfulStatusCode;
    const title = STATUS_CODES[status] ?? 'Error';
    const detail = known ? error.message : 'The request failed on our side; the log says why.';
    const { reason } = (known ? (error.cause ?? {}) : {}) as { reason?: string };
    const code = problemCode(error);
    const headers: Record<string, string> = { 'content-type': 'application/problem+json', 'cache-control': 'no-store' };
    if (status === 401) headers['www-authenticate'] = 'Bearer realm="portcullis"';
    if (status === 503) headers['retry-after'] = RETRY_AFTER_SECONDS;
    return c.json({ type: 'about:blank', title, status, detail, code, reason, requestId }, status, headers);
  };
}
