import { Hono } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { Authorize, CallerEnv } from './caller.ts';
import type { Decision, DecisionFeed } from './decisions.ts';

/** What the decision route is made of. */
export interface DecisionOptions {
  authorize: Authorize;
  decisions: DecisionFeed;
}

/** Decisions that may wait for a client who reads slowly; beyond that they are left out for it. */
const BACKLOG = 1000;
/** How often an idle decision stream says that it is alive, in milliseconds: proxies close silent connections. */
const HEARTBEAT_MS = 15_000;

/** `GET /v1/decisions`: the decisions of the edge as they are made, as server-sent events. */
export function decisionRoutes({ authorize, decisions }: DecisionOptions): Hono<CallerEnv> {
  const app = new Hono<CallerEnv>();

  app.get('/v1/decisions', authorize('security'), (c) => {
    c.header('cache-control', 'no-store');
    return streamSSE(c, async (stream) => {
      // Everything that can end or add to the stream first, in one turn: what happens later than now is not missed.
      const aborted = new Promise<void>((resolve) => stream.onAbort(resolve));
      let waiting = 0;
      const send = (decision: Decision) => {
        if (waiting >= BACKLOG) return;
        waiting++;
        void stream.writeSSE({ event: 'decision', data: JSON.stringify(decision) }).finally(() => waiting--);
      };
      for (const decision of decisions.recent()) send(decision);
      const unsubscribe = decisions.subscribe(send);
      const heartbeat = setInterval(() => void stream.write(': alive\n\n'), HEARTBEAT_MS).unref();
      await aborted;
      clearInterval(heartbeat);
      unsubscribe();
    });
  });

  return app;
}
