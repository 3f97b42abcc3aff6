import type { MiddlewareHandler } from 'hono';
import { matchedRoutes } from 'hono/route';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Caller } from './authorize.ts';
import { problemCode } from './problem.ts';

/** Reports every request once it is answered: one line, and what it counts for. */
export function requestLog(telemetry: Telemetry): MiddlewareHandler {
  return async (c, next) => {
    const startedAt = performance.now();
    await next();
    const durationMs = Math.round((performance.now() - startedAt) * 10) / 10;
    const { status, headers } = c.res;
    const code = c.error && problemCode(c.error);
    telemetry.metric('Latency', durationMs);
    if (status >= 500) telemetry.metric('Failed', 1);
    else if (status >= 400) telemetry.metric('Denied', 1, { code: code ?? `HTTP_${status}` });
    if (status === 429) telemetry.metric('RateLimited', 1);
    const caller = c.get('caller') as Caller | undefined;
    telemetry.request({
      requestId: c.get('requestId'),
      method: c.req.method,
      // Middleware matches every path; a route has a method.
      route: matchedRoutes(c).findLast(({ method }) => method !== 'ALL')?.path ?? '(none)',
      status,
      code,
      caller: caller?.subject,
      replayed: headers.get('idempotent-replayed') === 'true' ? true : undefined,
      durationMs,
    });
  };
}
