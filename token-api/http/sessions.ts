import { Hono } from 'hono';
import * as v from 'valibot';
import type { Sessions } from '../sessions/sessions.ts';
import type { Authorize, CallerEnv } from './authorize.ts';
import { pageQuery } from './page-query.ts';
import { refuseAsProblem } from './refusal.ts';

/** What the session routes are made of. */
export interface SessionOptions {
  authorize: Authorize;
  sessions: Sessions;
  /** Which of these sessions are on the revocation list. */
  revokedSessions: (sessionIds: string[]) => Promise<Set<string>>;
  /** Seconds since the epoch. */
  now: () => number;
}

const time = v.pipe(v.number(), v.integer());

/** Answer of `GET /v1/sessions`, times in seconds since the epoch; `next` is the cursor of the next page, absent on the last. */
export const SessionsResponse = v.object({
  sessions: v.array(
    v.object({
      sessionId: v.string(),
      asset: v.string(),
      subject: v.optional(v.string()),
      startedAt: time,
      expiresAt: time,
      lastSeenAt: time,
      /** Id of the key that its latest token is signed with. */
      kid: v.optional(v.string()),
      revoked: v.boolean(),
    }),
  ),
  next: v.optional(v.string()),
});

/** `GET /v1/sessions`: the live ones. */
export function sessionRoutes({ authorize, sessions, revokedSessions, now }: SessionOptions): Hono<CallerEnv> {
  const app = new Hono<CallerEnv>();

  app.get('/v1/sessions', authorize('security'), pageQuery(), async (c) => {
    const { items, next } = await refuseAsProblem(() => sessions.live(now(), c.req.valid('query')));
    const revoked = await revokedSessions(items.map(({ sessionId }) => sessionId));
    return c.json({
      sessions: items.map((session) => ({ ...session, revoked: revoked.has(session.sessionId) })),
      next,
    });
  });

  return app;
}
