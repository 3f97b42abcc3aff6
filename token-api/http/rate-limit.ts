import { createHash } from 'node:crypto';
import { createMiddleware } from 'hono/factory';
import { LRUCache } from 'lru-cache';
import type { RequestCounts } from '../rate-limits/request-counts.ts';
import type { Caller, CallerEnv } from './authorize.ts';
import { problem } from './problem-docs.ts';
import type { ApiSettings } from './settings.ts';

/** What the rate limit is made of. */
export interface RateLimitOptions {
  requestsPerMinute: ApiSettings['requestsPerMinute'];
  counts: RequestCounts;
  /** Told of errors that are ours. */
  report: (error: Error) => void;
  /** Seconds since the epoch. */
  now: () => number;
}

const WINDOW_SECONDS = 60;
/** Callers over their limit that are remembered, so that a flood is refused without a write for each request. */
const REMEMBERED = 10_000;

/**
 * Limits what a caller may ask for in a minute (a fixed window), counted over all instances of the API. Every answer says
 * what is left, in the fields of draft-ietf-httpapi-ratelimit-headers-10; the refusal is 429 with Retry-After (RFC 9110
 * §10.2.3). When requests cannot be counted nobody is served: 503. The role security is not limited, and not counted:
 * whoever cuts off a leak must wait neither for a window nor for a table.
 */
export function rateLimit({ requestsPerMinute, counts, report, now }: RateLimitOptions) {
  const spent = new LRUCache<string, true>({ max: REMEMBERED });
  return createMiddleware<CallerEnv>(async (c, next) => {
    const caller = c.get('caller');
    if (caller.roles.includes('security')) return next();
    const { role, limit } = quotaOf(caller, requestsPerMinute);
    const time = now();
    const windowEnd = (Math.floor(time / WINDOW_SECONDS) + 1) * WINDOW_SECONDS;
    const bucket = bucketOf(caller.subject, role, windowEnd);
    const refuse = () => {
      c.header('retry-after', String(windowEnd - time));
      throw problem('ERR_RATE_LIMITED', `More than ${limit} requests in a minute; Retry-After says when to go on.`);
    };
    const tell = (remaining: number) => {
      c.header('ratelimit-policy', `"${role}";q=${limit};w=${WINDOW_SECONDS}`);
      c.header('ratelimit', `"${role}";r=${remaining};t=${windowEnd - time}`);
    };
    if (spent.has(bucket)) {
      tell(0);
      refuse();
    }
    const used = await counts.add(bucket, windowEnd).catch((error: Error) => {
      report(error);
      throw problem('ERR_UNAVAILABLE', 'Requests cannot be counted just now; try again in a moment.');
    });
    tell(Math.max(limit - used, 0));
    if (used > limit) {
      spent.set(bucket, true);
      refuse();
    }
    await next();
  });
}

/** The role that allows a caller most. */
function quotaOf({ roles }: Caller, { player, backend }: ApiSettings['requestsPerMinute']) {
  return roles.includes('backend') && (backend >= player || !roles.includes('player'))
    ? { role: 'backend', limit: backend }
    : { role: 'player', limit: player };
}

/** A subject may have any length and characters, a key of DynamoDB may not. */
function bucketOf(subject: string, role: string, windowEnd: number): string {
  return createHash('sha256')
    .update(JSON.stringify([role, subject, windowEnd]))
    .digest('base64url');
}
