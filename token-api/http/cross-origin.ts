import type { MiddlewareHandler } from 'hono';
import { cors } from 'hono/cors';

/** Headers that a page may send. */
const REQUEST_HEADERS = ['authorization', 'content-type', 'idempotency-key', 'x-request-id'];
/** Headers of an answer that a page may read. */
const RESPONSE_HEADERS = ['x-request-id', 'retry-after', 'ratelimit', 'ratelimit-policy', 'idempotent-replayed'];
/** How long a browser may remember the answer to a preflight, in seconds. */
const PREFLIGHT_SECONDS = 600;

/** Lets pages of these origins call the API (CORS, Fetch standard §3.2). Without cookies: callers carry a bearer token. */
export function crossOrigin(allowedOrigins: string[]): MiddlewareHandler {
  return cors({
    origin: allowedOrigins.includes('*') ? '*' : allowedOrigins,
    allowMethods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'],
    allowHeaders: REQUEST_HEADERS,
    exposeHeaders: RESPONSE_HEADERS,
    maxAge: PREFLIGHT_SECONDS,
  });
}
