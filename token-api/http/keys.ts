import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import * as v from 'valibot';
import { isCompatKey, type KeyRing } from '../key-ring/key-ring.ts';
import type { KeyRingStore } from '../key-ring/key-ring-store.ts';
import { type Rotation, resumesAt } from '../key-ring/rotation.ts';
import { activatesAt, type KeyTimes, nextKey, withoutKey } from '../key-ring/transitions.ts';
import type { SessionKeys } from '../sessions/sessions.ts';
import type { Authorize, CallerEnv } from './authorize.ts';
import { jsonBody } from './json-body.ts';
import { refuseAsProblem } from './refusal.ts';

/** What the key routes are made of. */
export interface KeyOptions {
  authorize: Authorize;
  store: KeyRingStore;
  rotation: Pick<Rotation, 'rotate' | 'dropKey'>;
  /** The unexpired sessions of which any token was signed with a key. */
  sessionsWithKey: (kid: string) => Promise<SessionKeys[]>;
  /** Revokes sessions: why, and who says so. */
  endSessions: (sessionIds: string[], reason: string, by: string) => Promise<void>;
  /** Called when the ring has changed. */
  onChange: () => Promise<void>;
  times: KeyTimes;
  /** Told who changed what. */
  report: (line: string) => void;
  /** Seconds since the epoch. */
  now: () => number;
}

/** Answer of `GET /v1/keys`. */
export const KeysResponse = v.object({
  keys: v.array(v.object({ kid: v.string(), state: v.picklist(['next', 'current', 'previous', 'retired']) })),
});

/** Body of `POST /v1/keys/rotation`. */
export const RotationRequest = v.pipe(
  v.strictObject({
    /** Key id of a key that somebody else may have: it is dropped at once. */
    compromised: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(64))),
    /** Whether to say only what that would do. */
    dryRun: v.optional(v.boolean(), false),
  }),
  v.check(
    ({ compromised, dryRun }) => !dryRun || compromised !== undefined,
    'dryRun needs compromised, the key id that would be dropped',
  ),
);

/** Answer of `POST /v1/keys/rotation`. */
export const RotationResponse = v.object({
  ...KeysResponse.entries,
  /** The key that is to be minted with next, and from when on (seconds since the epoch); null when there is none. */
  next: v.nullable(v.object({ kid: v.string(), activatesAt: v.number() })),
  /** How many sessions the drop of a key ends: those of which any token was signed with it. */
  endedSessions: v.number(),
  /** How long minting pauses, in seconds; 0 when it does not. */
  pausedSeconds: v.number(),
});

/** `GET /v1/keys`: ids and states only; `POST /v1/keys/rotation`: a new key, or without one that is compromised. */
export function keyRoutes(options: KeyOptions): Hono<CallerEnv> {
  const { authorize, store, rotation, sessionsWithKey, endSessions, onChange, times, report, now } = options;
  const app = new Hono<CallerEnv>();

  app.get('/v1/keys', authorize('backend', 'security'), async (c) => {
    const { ring } = await refuseAsProblem(() => store.current());
    return c.json({ keys: listed(ring) });
  });

  app.post('/v1/keys/rotation', authorize('security'), jsonBody(RotationRequest), async (c) => {
    const { compromised, dryRun } = c.req.valid('json');
    const { subject: caller } = c.get('caller');
    const ring = await refuseAsProblem(() => (dryRun ? planned(compromised) : changed(compromised, caller)));
    // After the key is dropped: from then on no renewal carries a session of it over to another key.
    const ended = compromised === undefined ? [] : await sessionsWithKey(compromised);
    if (compromised !== undefined && !dryRun) await endDescendants(compromised, ended, caller);
    const resumes = ring && resumesAt(ring, times, now());
    const next = ring && nextKey(ring);
    return c.json({
      keys: listed(ring),
      next: next ? { kid: next.kid, activatesAt: activatesAt(next, times) ?? now() + times.bakeSeconds } : null,
      endedSessions: ended.length,
      pausedSeconds: resumes ? Math.max(resumes - now(), 0) : 0,
    });
  });

  /** The ring as it would be. */
  async function planned(compromised: string | undefined): Promise<KeyRing | null> {
    const { ring } = await store.current();
    return ring && compromised !== undefined ? withoutKey(ring, compromised, randomUUID(), now()) : ring;
  }

  async function changed(compromised: string | undefined, caller: string): Promise<KeyRing | null> {
    const change =
      compromised === undefined ? rotation.rotate(randomUUID()) : rotation.dropKey(compromised, randomUUID());
    // Also when it ended half-way: the ring may be another by then.
    await change.finally(() => onChange().catch(() => undefined));
    report(compromised === undefined ? `${caller} rotated the key ring` : `${caller} dropped key '${compromised}'`);
    return (await store.current()).ring;
  }

  /**
   * Revokes the sessions that go on under another key. The edge denies the others without that, and they may be as many as
   * there are viewers: the edge store would not hold them.
   */
  async function endDescendants(kid: string, sessions: SessionKeys[], caller: string): Promise<void> {
    const descendants = sessions.filter(({ kids }) => kids.some((other) => other !== kid));
    const ids = descendants.map(({ sessionId }) => sessionId);
    if (ids.length > 0) await endSessions(ids, `key ${kid} was dropped`, caller);
  }

  return app;
}

/** Ids and states of the keys of ours. */
function listed(ring: KeyRing | null): v.InferOutput<typeof KeysResponse>['keys'] {
  return (ring?.keys ?? []).filter((key) => !isCompatKey(key)).map(({ kid, state }) => ({ kid, state }));
}
