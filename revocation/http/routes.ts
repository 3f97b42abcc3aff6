import { setTimeout as sleep } from 'node:timers/promises';
import { type Context, Hono } from 'hono';
import type { HTTPException } from 'hono/http-exception';
import * as v from 'valibot';
import { SESSION_ID } from '../../token/index.ts';
import {
  type Added,
  REVOCATION_KINDS,
  type RevocationEntry,
  type RevocationKey,
  type RevocationKind,
  type RevocationList,
  SESSIONS_BEFORE_ID,
} from '../list/revocation-list.ts';
import type { Publication } from '../publish/publication.ts';
import { parseBody } from './body.ts';
import type { Authorize, CallerEnv } from './caller.ts';
import { PageQuery, query, RevocationsQuery } from './page-query.ts';
import { problem } from './problem-docs.ts';
import { refuseAsProblem } from './refusal.ts';

/** What the revocation routes are made of. */
export interface RevocationOptions {
  authorize: Authorize;
  list: RevocationList;
  publication: Pick<Publication, 'publish'>;
  /** Where the edge lets through what is revoked, because it does not enforce there. */
  unenforced: (what: RevocationKey) => Promise<UnenforcedPrefix[]>;
  /** How long a revocation must live, in seconds: maximum token lifetime plus leeway. */
  revocationSeconds: number;
  /** Seconds since the epoch. */
  now: () => number;
}

/** A path prefix in a mode that denies nothing. */
export interface UnenforcedPrefix {
  prefix: string;
  mode: 'off' | 'log';
}

const SessionId = v.pipe(v.string(), v.regex(SESSION_ID));
/** As claim `sub`. */
const Subject = v.pipe(v.string(), v.minLength(1), v.maxLength(128));
/** As claim `aid`: tokens that were minted elsewhere may name assets in ways that the catalogue does not take. */
const AssetId = Subject;
const Time = v.pipe(v.number(), v.integer(), v.minValue(0));

const reason = v.optional(v.pipe(v.string(), v.maxLength(200)), '');

/** Body of the revocation of a session, an asset or a subject; none at all is right too. */
export const RevocationRequest = v.strictObject({ reason });

/** Body of `PUT /v1/sessions/cutoff`: sessions that began before this time, in seconds since the epoch, are revoked. */
export const CutoffRequest = v.strictObject({ before: v.pipe(Time, v.minValue(1)), reason });

const entry = {
  source: v.picklist(['manual', 'auto']),
  reasons: v.array(v.string()),
  /** Of detection, 0 to 100. */
  score: v.optional(v.number()),
  by: v.string(),
  revokedAt: Time,
};
/** `reason`: all reasons in one text. */
const told = { reason: v.string(), ...entry };
/**
 * `outcome`: as in `Added`. `unenforced`: prefixes of paths below which the edge lets it through all the same, because of
 * their mode; absent when there are none, and when the edge store could not be asked in time.
 */
const done = {
  ...told,
  outcome: v.picklist(['added', 'changed', 'kept']),
  unenforced: v.optional(v.array(v.object({ prefix: v.string(), mode: v.picklist(['off', 'log']) }))),
};

/** A session that was revoked; times in seconds since the epoch. */
export const SessionRevocationResponse = v.object({ sessionId: v.string(), ...done, expiresAt: Time });

/** A subject that was revoked: until it is taken back, so there is no `expiresAt`. */
export const SubjectRevocationResponse = v.object({ subject: v.string(), ...done });

/** An asset that was revoked: until it is taken back. */
export const AssetRevocationResponse = v.object({ asset: v.string(), ...done });

/** The cut-off. */
export const CutoffResponse = v.object({ before: Time, ...told, expiresAt: Time });

/** The cut-off that was asked for, or the later one that holds. */
export const CutoffRevocationResponse = v.object({ ...CutoffResponse.entries, ...done });

const Revocation = v.object({
  kind: v.picklist(REVOCATION_KINDS),
  id: v.string(),
  ...entry,
  before: v.optional(Time),
  expiresAt: v.optional(Time),
});

/** Answer of `GET /v1/revocations`; `next` is the cursor of the next page, absent on the last. */
export const RevocationsResponse = v.object({ revocations: v.array(Revocation), next: v.optional(v.string()) });

/**
 * Answer of `GET /v1/revocations/{kind}/{id}/history`, the latest event first; `at` in seconds, with fraction; `next` is the
 * cursor of the next page, absent on the last.
 */
export const HistoryResponse = v.object({
  events: v.array(
    v.object({ at: v.number(), action: v.picklist(['revoked', 'restored']), by: v.string(), revocation: Revocation }),
  ),
  next: v.optional(v.string()),
});

/** For how long an answer waits for the edge, in milliseconds; after that it says that the edge is still being told. */
const PATIENCE_MS = 5000;

/**
 * `POST` and `DELETE /v1/sessions/{id}/revocation`, the same of assets and subjects; `GET`, `PUT` and `DELETE
 * /v1/sessions/cutoff`; `GET /v1/revocations` and the history of each. A change is on the list and at
 * the edge when it is answered, or the status is 202: then it is on the list, and the edge is told again by itself.
 */
export function revocationRoutes(options: RevocationOptions): Hono<CallerEnv> {
  const { authorize, list, revocationSeconds, now } = options;
  const app = new Hono<CallerEnv>();

  /** Adds what the caller revokes to the list, publishes it, and answers. `names`: what the answer calls it, besides. */
  async function revoke(
    c: Context<CallerEnv>,
    what: RevocationKey & Pick<RevocationEntry, 'before' | 'expiresAt'>,
    reason: string,
    names: Record<string, string> = {},
  ): Promise<Response> {
    const { subject: by } = c.get('caller');
    const reasons = reason === '' ? [] : [reason];
    const asked: RevocationEntry = { ...what, source: 'manual', reasons, by, revokedAt: now() };
    const { entry, outcome }: Added = await refuseAsProblem(list.add(asked));
    const [published, unenforced] = await Promise.all([isPublished(what), unenforcedIn(what)]);
    const answer = { ...names, ...tell(entry), outcome, ...(unenforced.length > 0 && { unenforced }) };
    if (!published) return c.json(answer, 202);
    return c.json(answer, outcome === 'added' ? 201 : 200);
  }

  /** Where the edge lets it through all the same; nothing when that cannot be told in time. */
  async function unenforcedIn(what: RevocationKey): Promise<UnenforcedPrefix[]> {
    const unknown: UnenforcedPrefix[] = [];
    return Promise.race([options.unenforced(what).catch(() => unknown), sleep(PATIENCE_MS, unknown, { ref: false })]);
  }

  /** Takes an entry off the list, and publishes that; also when it was not on it, as the edge may not know that yet. */
  async function restore(c: Context<CallerEnv>, { kind, id }: RevocationKey): Promise<Response> {
    const removed = await refuseAsProblem(list.remove(kind, id, c.get('caller').subject, now()));
    const published = await isPublished({ kind, id });
    if (!removed) throw notRevoked(kind);
    return c.body(null, published ? 204 : 202);
  }

  /** Whether the edge was told in time. Whatever keeps it from that is reported and made up for by the publication. */
  async function isPublished({ kind, id }: RevocationKey): Promise<boolean> {
    if (kind === 'subject') return true;
    const told = options.publication.publish([{ kind, id }]).catch(() => false);
    return Promise.race([told, sleep(PATIENCE_MS, false, { ref: false })]);
  }

  app.post('/v1/sessions/:id/revocation', authorize('security'), async (c) => {
    const id = sessionIdOf(c);
    const { reason } = parseBody(RevocationRequest, await c.req.text());
    // Long enough for any token of the session, also one that was minted elsewhere and never seen here.
    const expiresAt = now() + revocationSeconds;
    return revoke(c, { kind: 'session', id, expiresAt }, reason, { sessionId: id });
  });

  app.delete('/v1/sessions/:id/revocation', authorize('security'), (c) =>
    restore(c, { kind: 'session', id: sessionIdOf(c) }),
  );

  app.post('/v1/assets/:id/revocation', authorize('security'), async (c) => {
    const id = assetIdOf(c);
    const { reason } = parseBody(RevocationRequest, await c.req.text());
    // Until it is taken back, as sessions of it could begin at any time.
    return revoke(c, { kind: 'asset', id }, reason, { asset: id });
  });

  app.delete('/v1/assets/:id/revocation', authorize('security'), (c) =>
    restore(c, { kind: 'asset', id: assetIdOf(c) }),
  );

  app.post('/v1/subjects/:id/revocation', authorize('security'), async (c) => {
    const id = subjectOf(c);
    const { reason } = parseBody(RevocationRequest, await c.req.text());
    // Until it is taken back: a subject could otherwise return after a day, with a new session.
    return revoke(c, { kind: 'subject', id }, reason, { subject: id });
  });

  app.delete('/v1/subjects/:id/revocation', authorize('security'), (c) =>
    restore(c, { kind: 'subject', id: subjectOf(c) }),
  );

  const CUTOFF = { kind: 'sessions-before', id: SESSIONS_BEFORE_ID } as const;

  app.get('/v1/sessions/cutoff', authorize('security'), async (c) => {
    const entry = await list.get(CUTOFF.kind, CUTOFF.id, now());
    if (!entry) throw notRevoked(CUTOFF.kind);
    return c.json(tell(entry));
  });

  app.put('/v1/sessions/cutoff', authorize('security'), async (c) => {
    const { before, reason } = parseBody(CutoffRequest, await c.req.text());
    const time = now();
    if (before > time) {
      const message = `The cut-off lies ${before - time} s in the future, where it would end sessions as they begin.`;
      throw problem('ERR_CUTOFF_FUTURE', message);
    }
    return revoke(c, { ...CUTOFF, before, expiresAt: time + revocationSeconds }, reason);
  });

  app.delete('/v1/sessions/cutoff', authorize('security'), (c) => restore(c, CUTOFF));

  app.get('/v1/revocations', authorize('security'), query(RevocationsQuery), async (c) => {
    const { entries, next } = await refuseAsProblem(list.page(now(), c.req.valid('query')));
    return c.json({ revocations: entries, next });
  });

  app.get('/v1/revocations/:kind/:id/history', authorize('security'), query(PageQuery), async (c) => {
    const kind = v.safeParse(v.picklist(REVOCATION_KINDS), c.req.param('kind'));
    if (!kind.success) throw problem('ERR_REVOCATION_KIND', `There are these kinds: ${REVOCATION_KINDS.join(', ')}.`);
    const page = list.historyPage(kind.output, ID_OF[kind.output](c), c.req.valid('query'));
    const { events, next } = await refuseAsProblem(page);
    const told = events.map(({ at, action, by, entry }) => ({ at: at / 1000, action, by, revocation: entry }));
    return c.json({ events: told, next });
  });

  return app;
}

/** An entry as those routes tell it whose path says kind and id. */
function tell({ kind: _, id: __, reasons, ...rest }: RevocationEntry) {
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

function assetIdOf(c: Context): string {
  const result = v.safeParse(AssetId, c.req.param('id'));
  if (result.success) return result.output;
  throw problem('ERR_ASSET_ID_INVALID', 'An asset id has 1–128 characters.');
}

/** What reads the id of each kind from the path. */
const ID_OF: Record<RevocationKind, (c: Context) => string> = {
  session: sessionIdOf,
  asset: assetIdOf,
  subject: subjectOf,
  'sessions-before': () => SESSIONS_BEFORE_ID,
};

const NAMES: Record<RevocationKind, string> = {
  session: 'The session is not revoked.',
  asset: 'The asset is not revoked.',
  subject: 'The subject is not revoked.',
  'sessions-before': 'There is no cut-off.',
};

function notRevoked(kind: RevocationKind): HTTPException {
  return problem('ERR_NOT_REVOKED', NAMES[kind]);
}
