import { Hono } from 'hono';
import * as v from 'valibot';
import type { Detection } from '../detect/detection.ts';
import type { SessionFeatures } from '../detect/features.ts';
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
  detection: Detection;
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
 * it, when it is; `restored`: a person took that back. `minutes` of an identity: `[minute, requests]`.
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
      features: Features,
      timeline: v.array(v.object({ label: v.string(), minutes: v.array(v.tuple([Time, Count])) })),
    }),
  ),
  next: v.optional(v.string()),
});

/** Answer of `POST /v1/detections` and `GET /v1/detections/latest`; `DetectionRun` says what each field is. */
export const DetectionResponse = v.object({
  ranAt: Time,
  mode: v.picklist(['off', 'log', 'enforce']),
  objects: Count,
  rows: Count,
  sessionCount: Count,
  flagged: Count,
  auto: Count,
  revoked: Count,
  odd: Count,
  refused: v.array(v.object({ name: v.string(), why: v.string() })),
  alarm: v.optional(v.object({ candidates: Count, allowed: Count, message: v.string() })),
  cost: v.optional(v.object({ bytesScanned: v.number(), usd: v.number() })),
});

/** `GET /v1/sessions/suspicious`, `POST /v1/detections`, `GET /v1/detections/latest`: what detection found, and running it. */
export function detectionRoutes(options: DetectionOptions): Hono<CallerEnv> {
  const { authorize, suspicious, list, detection, report, now } = options;
  const app = new Hono<CallerEnv>();

  app.get('/v1/sessions/suspicious', authorize('security'), query(PageQuery), async (c) => {
    const { sessions, next } = await refuseAsProblem(suspicious.page(now(), c.req.valid('query')));
    const listed = sessions.map(async ({ features, expiresAt: _, ...session }) => {
      const { title, firstSeen, lastSeen } = features;
      return { ...session, title, firstSeen, lastSeen, ...(await standing(list, session.sessionId, now())), features };
    });
    return c.json({ sessions: await Promise.all(listed), next });
  });

  app.post('/v1/detections', authorize('security'), async (c) => {
    report(`${c.get('caller').subject} had detection run`);
    return c.json(await refuseAsProblem(detection.run()));
  });

  app.get('/v1/detections/latest', authorize('security'), async (c) => {
    const latest = await detection.latest();
    if (!latest) throw problem('ERR_DETECTION_NONE', 'Detection has not run yet; POST /v1/detections runs it.');
    return c.json(latest);
  });

  return app;
}

/** Whether a session is revoked, and by whom; or that a person took that back. */
async function standing(
  list: RevocationList,
  sessionId: string,
  now: number,
): Promise<{ revoked: boolean; source?: RevocationSource; restored?: true }> {
  const entry = await list.get('session', sessionId, now);
  if (entry) return { revoked: true, source: entry.source };
  const [latest] = await list.history('session', sessionId);
  return { revoked: false, ...(latest?.action === 'restored' && { restored: true }) };
}
