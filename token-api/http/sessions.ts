import { Hono } from 'hono';
import * as v from 'valibot';
import type { Session, Sessions } from '../sessions/sessions.ts';
import { REFUSALS, type Refusal } from '../vending/vending.ts';
import type { Authorize, CallerEnv } from './authorize.ts';
import { pageQuery } from './page-query.ts';
import { refuseAsProblem } from './refusal.ts';

/** What the session routes are made of. */
export interface SessionOptions {
  authorize: Authorize;
  sessions: Sessions;
  /** Why those of these sessions get no later token that the revocation list is against, by session id. */
  listedRefusals: (sessions: Session[]) => Promise<Map<string, Refusal>>;
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
      /** Whether it is revoked itself, and so can be restored. */
      revoked: v.boolean(),
      /** Why it gets no later token; absent when the revocation list has nothing against it. */
      reason: v.optional(v.picklist(Object.keys(REFUSALS) as Refusal[])),
    }),
  ),
  next: v.optional(v.string()),
});

/** `GET /v1/sessions`: the live ones. */
export function sessionRoutes({ authorize, sessions, listedRefusals, now }: SessionOptions): Hono<CallerEnv> {
  const app = new Hono<CallerEnv>();

  app.get('/v1/sessions', authorize('security'), pageQuery(), async (c) => {
    const { items, next } = await refuseAsProblem(() => sessions.live(now(), c.req.valid('query')));
    const refusals = await listedRefusals(items);
    const listed = items.map((session) => {
      const reason = refusals.get(session.sessionId);
      return { ...session, revoked: reason === 'session-revoked', reason };
    });
    return c.json({ sessions: listed, next });
  });

  return app;
}
