import type { IncomingHttpHeaders } from 'node:http';
import { LRUCache } from 'lru-cache';
import parseRange from 'range-parser';

/** A complete response of the origin. */
export interface CachedResponse {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
}

/** Query parameters that reach cache and origin: the delivery directives of low-latency HLS (RFC 8216bis §6.2.5). */
const FORWARDED_PARAMETERS = new Set(['_HLS_msn', '_HLS_part', '_HLS_skip']);

const CACHE_BYTES = 256 * 1024 * 1024;
/** Larger bodies are streamed and not kept. */
export const MAX_OBJECT_BYTES = 32 * 1024 * 1024;
/** CloudFront's default when the origin says nothing, in seconds. */
const DEFAULT_TTL_SECONDS = 86400;
// The behaviour of content keys, */keys/*.key, and its minimum TTL: for so long CloudFront keeps what it got, `no-store` or not.
const KEY_PATH = /\/keys\/[^/?]+\.key$/;
const KEY_SECONDS = 60;

/** Path and allowed query parameters of a rewritten request: what is asked of the origin, and the cache key. */
export function originTarget(path: string, query: string): string {
  const kept = query.split('&').filter((pair) => FORWARDED_PARAMETERS.has(pair.split('=', 1)[0] ?? ''));
  return kept.length > 0 ? `${path}?${kept.join('&')}` : path;
}

/** The edge cache: keyed by the rewritten URI, so that all sessions share an object and no token reaches the key. */
export class EdgeCache {
  readonly #objects = new LRUCache<string, CachedResponse>({
    maxSize: CACHE_BYTES,
    sizeCalculation: ({ body }) => body.length + 1024,
  });

  get(target: string): CachedResponse | undefined {
    return this.#objects.get(target);
  }

  put(target: string, response: CachedResponse): void {
    const minimum = KEY_PATH.test(target) ? KEY_SECONDS : 0;
    const seconds = Math.max(minimum, freshSeconds(response.headers['cache-control'] ?? ''));
    if (seconds > 0) this.#objects.set(target, response, { ttl: seconds * 1000 });
  }
}

/** Seconds for which a shared cache may keep a response (RFC 9111 §5.2.2). */
function freshSeconds(cacheControl: string): number {
  if (/\b(?:no-store|no-cache|private)\b/i.test(cacheControl)) return 0;
  const age = /\bs-maxage=(\d+)/i.exec(cacheControl) ?? /\bmax-age=(\d+)/i.exec(cacheControl);
  return age ? Number(age[1]) : DEFAULT_TTL_SECONDS;
}

const NO_BODY = Buffer.alloc(0);

/** Whether the viewer has this version already (weak comparison, RFC 9110 §13.1.2). */
function isUnchanged(etag: string | undefined, ifNoneMatch: string | undefined): boolean {
  if (!etag || !ifNoneMatch) return false;
  const opaque = (tag: string) => tag.trim().replace(/^W\//, '');
  return ifNoneMatch.trim() === '*' || ifNoneMatch.split(',').some((tag) => opaque(tag) === opaque(etag));
}

/** What a request gets from a complete object: 304, the one range it asks for (RFC 9110 §14.2), or all of it. */
export function answerFromCache({ headers, body }: CachedResponse, request: IncomingHttpHeaders): CachedResponse {
  const { 'content-length': _length, ...common } = headers;
  if (isUnchanged(common.etag, request['if-none-match'])) return { status: 304, headers: common, body: NO_BODY };
  const whole = { status: 200, headers: common, body };
  if (!request.range || request['if-range']) return whole;
  const ranges = parseRange(body.length, request.range);
  if (ranges === -1) {
    return { status: 416, headers: { ...common, 'content-range': `bytes */${body.length}` }, body: NO_BODY };
  }
  const [range, ...more] = ranges === -2 || ranges.type !== 'bytes' ? [] : ranges;
  if (!range || more.length > 0) return whole;
  const contentRange = `bytes ${range.start}-${range.end}/${body.length}`;
  return {
    status: 206,
    headers: { ...common, 'content-range': contentRange },
    body: body.subarray(range.start, range.end + 1),
  };
}
