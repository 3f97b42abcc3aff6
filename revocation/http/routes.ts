import { type Context, Hono } from 'hono';
import type { HTTPException } from 'hono/http-exception';
import { streamSSE } from 'hono/streaming';
import * as v from 'valibot';
import { SESSION_ID } from '../../token/index.ts';
import type { RevocationEntry, RevocationList } from '../list/revocation-list.ts';
import type { Publication } from '../publish/publication.ts';
import { parseBody } from './body.ts';
import type { Authorize, CallerEnv } from './caller.ts';
import type { Decision, DecisionFeed } from './decisions.ts';
import { problem } from './problem-docs.ts';

/** What the revocation routes are made of. */
export interface RevocationOptions {
  authorize: Authorize;
  list: RevocationList;
  publication: Pick<Publication, 'publish'>;
  decisions: DecisionFeed;
  /** How long a revocation must live, in seconds: maximum token lifetime plus leeway. */
  revocationSeconds: number;
  /** Seconds since the epoch. */
  now: () => number;
}

const SessionId = v.pipe(v.string(), v.regex(SESSION_ID));
/** As claim `sub`. */
const Subject = v.pipe(v.string(), v.minLength(1), v.maxLength(128));

/** Body of the revocation of a session or a subject; none at all is right too. */
export const RevocationRequest = v.strictObject({ reason: v.optional(v.pipe(v.string(), v.maxLength(200)), '') });

const entry = {
  reason: v.string(),
  reasons: v.array(v.string()),
  source: v.picklist(['manual', 'auto']),
  score: v.optional(v.number()),
  by: v.string(),
  revokedAt: v.pipe(v.number(), v.integer()),
};

/** A revoked session; times in seconds since the epoch. */
export const SessionRevocationResponse = v.object({
  sessionId: v.string(),
  ...entry,
  expiresAt: v.pipe(v.number(), v.integer()),
});

/** A revoked subject: until it is taken back, so there is no `expiresAt`. */
export const SubjectRevocationResponse = v.object({ subject: v.string(), ...entry });

/** Decisions that may wait for a client who reads slowly; beyond that they are left out for it. */
const BACKLOG = 1000;
/** How often an idle decision stream says that it is alive, in milliseconds: proxies close silent connections. */
const HEARTBEAT_MS = 15_000;

/** `POST` and `DELETE /v1/sessions/{id}/revocation` and `/v1/subjects/{id}/revocation`, `GET /v1/decisions`. */
export function revocationRoutes(options: RevocationOptions): Hono<CallerEnv> {
  const { authorize, list, publication, decisions, revocationSeconds, now } = options;
  const app = new Hono<CallerEnv>();

  app.post('/v1/sessions/:id/revocation', authorize('security'), async (c) => {
    const sessionId = sessionIdOf(c);
    const { reason } = parseBody(RevocationRequest, await c.req.text());
    const revokedAt = now();
    // Long enough for any token of the session, also one that was minted elsewhere and never seen here.
    const expiresAt = revokedAt + revocationSeconds;
    const { subject: by } = c.get('caller');
    const asked = { source: 'manual' as const, reasons: reason === '' ? [] : [reason], by, revokedAt, expiresAt };
    const { entry, outcome } = await list.add({ kind: 'session', id: sessionId, ...asked });
    await publication.publish([{ kind: 'session', id: sessionId }]);
    return c.json({ sessionId, ...describe(entry) }, outcome === 'added' ? 201 : 200);
  });

  app.delete('/v1/sessions/:id/revocation', authorize('security'), async (c) => {
    const sessionId = sessionIdOf(c);
    const removed = await list.remove('session', sessionId, c.get('caller').subject, now());
    await publication.publish([{ kind: 'session', id: sessionId }]);
    if (!removed) throw notRevoked('session');
    return c.body(null, 204);
  });

  app.post('/v1/subjects/:id/revocation', authorize('security'), async (c) => {
    const subject = subjectOf(c);
    const { reason } = parseBody(RevocationRequest, await c.req.text());
    const { subject: by } = c.get('caller');
    // Until it is taken back: a subject could otherwise return after a day, with a new session.
    const asked = { source: 'manual' as const, reasons: reason === '' ? [] : [reason], by, revokedAt: now() };
    const { entry, outcome } = await list.add({ kind: 'subject', id: subject, ...asked });
    return c.json({ subject, ...describe(entry) }, outcome === 'added' ? 201 : 200);
  });

  app.delete('/v1/subjects/:id/revocation', authorize('security'), async (c) => {
    const removed = await list.remove('subject', subjectOf(c), c.get('caller').subject, now());
    if (!removed) throw notRevoked('subject');
    return c.body(null, 204);
  });

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

/** An entry as the API tells it. */
function describe({ kind: _, id: __, reasons, ...rest }: RevocationEntry) {
  return { reason: reasons.join('; '), reasons, ...rest };
}

function sessionIdOf(c: Context): string {
  const result = v.safeParse(SessionId, c.req.param('id'));
  if (result.success) return result.output;
  throw problem('ERR_SESSION_ID_INVALID', 'A session id is 12–64 letters and digits.');
}

function subjectOf(c: Context): string {
  const result = v.safeParse(Subject, c.req.param('id'));
  if (result.success) return result.output;
  throw problem('ERR_SUBJECT_INVALID', 'A subject has 1–128 characters.');
}

function notRevoked(what: 'session' | 'subject'): HTTPException {
  return problem('ERR_NOT_REVOKED', `The ${what} is not revoked.`);
}
