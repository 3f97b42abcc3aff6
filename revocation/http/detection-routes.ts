import { Hono } from 'hono';
import * as v from 'valibot';
import type { Detection } from '../detect/detection.ts';
import type { DetectionRun } from '../detect/detection-runs.ts';
import type { SessionFeatures } from '../detect/features.ts';
import { restoredSessions } from '../list/restored-sessions.ts';
import type { RevocationList, RevocationSource } from '../list/revocation-list.ts';
import type { SuspiciousSessions } from '../suspicious/suspicious-sessions.ts';
import type { Authorize, CallerEnv } from './caller.ts';
import { PageQuery, query } from './page-query.ts';
import { problem } from './problem-docs.ts';
import { refuseAsProblem } from './refusal.ts';

/** What the detection routes are made of. */
export interface DetectionOptions {
  authorize: Authorize;
  suspicious: SuspiciousSessions;
  list: RevocationList;
  /** Running it resolves to what the run did, or to undefined when it goes on elsewhere. */
  detection: Pick<Detection, 'latest' | 'isRunning'> & { run(): Promise<DetectionRun | undefined> };
  /** Why those of these sessions get no later token that something is against, by session id: in words of the edge. */
  refusalsOf: (sessionIds: string[]) => Promise<Map<string, string>>;
  /** Told who had detection run. */
  report: (line: string) => void;
  /** Seconds since the epoch. */
  now: () => number;
}

const Time = v.pipe(v.number(), v.integer());
const Count = v.pipe(v.number(), v.integer(), v.minValue(0));

const Features = v.object({
  sessionId: v.string(),
  title: v.string(),
  firstSeen: v.number(),
  lastSeen: v.number(),
  requests: v.number(),
  activeMinutes: v.number(),
  identities: v.number(),
  networks: v.number(),
  asns: v.number(),
  countries: v.number(),
  userAgents: v.number(),
  referers: v.number(),
  concurrentIdentities: v.number(),
  concurrentMinutes: v.number(),
  handOffs: v.number(),
  concurrentCountries: v.number(),
  concurrentEdgeLocations: v.number(),
  segments: v.number(),
  segmentRequests: v.number(),
  sharedSegments: v.number(),
  sharedRatio: v.number(),
  refetchRatio: v.number(),
  rateOverMedian: v.number(),
  segmentSeconds: v.number(),
  mediaSpeed: v.number(),
  fastMinutes: v.number(),
  concurrentSpeed: v.number(),
  playheadDivergence: v.number(),
  divergentMinutes: v.number(),
  hostingRatio: v.number(),
  edgeLocations: v.number(),
} satisfies Record<keyof SessionFeatures, v.GenericSchema>);

/**
 * Answer of `GET /v1/sessions/suspicious`, the highest score first; times in seconds since the epoch. `source`: who revoked
 * it, when it is; `restored`: a person took that back; `reason`: why it gets no later token, when it gets none. `minutes` of an
 * identity: `[minute, requests]`.
 */
export const SuspiciousSessionsResponse = v.object({
  sessions: v.array(
    v.object({
      sessionId: v.string(),
      score: v.number(),
      verdict: v.picklist(['review', 'auto']),
      reasons: v.array(v.string()),
      title: v.string(),
      firstSeen: v.number(),
      lastSeen: v.number(),
      detectedAt: Time,
      revoked: v.boolean(),
      source: v.optional(v.picklist(['manual', 'auto'])),
      restored: v.optional(v.literal(true)),
      reason: v.optional(v.string()),
      features: Features,
      timeline: v.array(v.object({ label: v.string(), minutes: v.array(v.tuple([Time, Count])) })),
    }),
  ),
  next: v.optional(v.string()),
});

/** Answer of `POST /v1/detections`; `DetectionRun` says what each field is. */
export const DetectionResponse = v.object({
  ranAt: Time,
  checkedAt: Time,
  mode: v.picklist(['off', 'log', 'enforce']),
  objects: Count,
  rows: Count,
  sessionCount: Count,
  flagged: Count,
  auto: Count,
  reviewScore: v.number(),
  autoScore: v.number(),
  revoked: Count,
  odd: Count,
  refused: v.array(v.object({ name: v.string(), why: v.string() })),
  alarm: v.optional(v.object({ candidates: Count, allowed: Count, message: v.string(), digest: v.string() })),
  cost: v.optional(v.object({ bytesScanned: v.number(), usd: v.number() })),
});

/** Answer of `GET /v1/detections/latest`: what the last run did that had something to do, and whether there is one now. */
export const LatestDetectionResponse = v.object({ ...DetectionResponse.entries, running: v.boolean() });

/** Answer of `POST /v1/detections` about a run that goes on, which began at `startedAt` or later. */
export const StartedDetectionResponse = v.object({ started: v.literal(true), startedAt: Time });

/**
 * How long `POST /v1/detections` waits for its run, in milliseconds: the edge waits 30 s for an answer, and API Gateway as
 * long (AWS, "Quotas for configuring and running a REST API", integration timeout).
 */
export const ANSWER_WITHIN_MS = 10_000;

/** `GET /v1/sessions/suspicious`, `POST /v1/detections`, `GET /v1/detections/latest`: what detection found, and running it. */
export function detectionRoutes(options: DetectionOptions): Hono<CallerEnv> {
  const { authorize, suspicious, list, detection, refusalsOf, report, now } = options;
  const app = new Hono<CallerEnv>();

  app.get('/v1/sessions/suspicious', authorize('security'), query(PageQuery), async (c) => {
    const { sessions, next } = await refuseAsProblem(suspicious.page(now(), c.req.valid('query')));
    const ids = sessions.map(({ sessionId }) => sessionId);
    const standing = await standings(list, ids, now());
    const refusals = await refusalsOf(ids);
    const listed = sessions.map(({ features, expiresAt: _, ...session }) => {
      const { title, firstSeen, lastSeen } = features;
      return {
        ...session,
        title,
        firstSeen,
        lastSeen,
        ...standing(session.sessionId),
        reason: refusals.get(session.sessionId),
        features,
      };
    });
    return c.json({ sessions: listed, next });
  });

  app.post('/v1/detections', authorize('security'), async (c) => {
    report(`${c.get('caller').subject} had detection run`);
    const startedAt = now();
    const run = detection.run();
    const done = await inTime(refuseAsProblem(run));
    if (done) return c.json(done);
    run.catch((error: Error) => report(`detection failed: ${error.message}`));
    return c.json({ started: true, startedAt }, 202);
  });

  app.get('/v1/detections/latest', authorize('security'), async (c) => {
    // In this order: a run that ends in between is not running, and its result is read.
    const running = await detection.isRunning();
    const latest = await detection.latest();
    if (latest) return c.json({ ...latest, running });
    if (running) throw problem('ERR_DETECTION_RUNNING', 'Detection is running for the first time; ask in a moment.');
    throw problem('ERR_DETECTION_NONE', 'Detection has not run yet; POST /v1/detections runs it.');
  });

  return app;
}

/** What a run did, unless it takes longer than a caller can wait. */
async function inTime(run: Promise<DetectionRun | undefined>): Promise<DetectionRun | undefined> {
  let cancel = () => {};
  const late = new Promise<undefined>((resolve) => {
    const timer = setTimeout(() => resolve(undefined), ANSWER_WITHIN_MS);
    cancel = () => clearTimeout(timer);
  });
  return Promise.race([run, late]).finally(cancel);
}

/** Whether each of these sessions is revoked, and by whom; or that a person took that back. */
async function standings(list: RevocationList, sessionIds: string[], now: number) {
  const keys = sessionIds.map((id) => ({ kind: 'session', id }) as const);
  const entries = await refuseAsProblem(list.holding(keys, now));
  const sources = new Map(entries.map(({ id, source }) => [id, source]));
  const others = sessionIds.filter((id) => !sources.has(id));
  const restored = await restoredSessions(list, others, now);
  return (id: string): { revoked: boolean; source?: RevocationSource; restored?: true } => {
    const source = sources.get(id);
    if (source) return { revoked: true, source };
    return { revoked: false, ...(restored.has(id) && { restored: true }) };
  };
}
