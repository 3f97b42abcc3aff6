import {
  type DetectionEngine,
  DetectionError,
  type FeatureRequest,
  type RefusedObject,
} from '../../revocation/detect/detection-engine.ts';
import type { SessionFeatures } from '../../revocation/detect/features.ts';
import type { LogObject } from '../../revocation/detect/log-objects.ts';
import { NOW } from './minting.ts';

/** What is known of a session that does nothing odd, but for what is told. */
export function sessionFeatures(told: Partial<SessionFeatures> = {}): SessionFeatures {
  return {
    sessionId: 'AbCdEf012345',
    title: 'aurora',
    firstSeen: NOW - 600,
    lastSeen: NOW,
    requests: 150,
    activeMinutes: 10,
    identities: 1,
    networks: 1,
    asns: 1,
    countries: 1,
    userAgents: 1,
    referers: 1,
    concurrentIdentities: 1,
    concurrentMinutes: 0,
    handOffs: 0,
    concurrentCountries: 1,
    concurrentEdgeLocations: 1,
    segments: 145,
    segmentRequests: 145,
    sharedSegments: 0,
    sharedRatio: 0,
    refetchRatio: 0,
    rateOverMedian: 1,
    segmentSeconds: 4,
    mediaSpeed: 1,
    fastMinutes: 1,
    concurrentSpeed: 0,
    playheadDivergence: 0,
    divergentMinutes: 0,
    hostingRatio: 0,
    edgeLocations: 1,
    ...told,
  };
}

/** A session that anybody would call shared. */
export function sharedSession(told: Partial<SessionFeatures> = {}): SessionFeatures {
  return sessionFeatures({
    identities: 20,
    networks: 20,
    asns: 10,
    countries: 5,
    concurrentIdentities: 20,
    concurrentMinutes: 60,
    concurrentCountries: 5,
    sharedSegments: 140,
    sharedRatio: 0.97,
    playheadDivergence: 1000,
    divergentMinutes: 60,
    rateOverMedian: 20,
    mediaSpeed: 20,
    fastMinutes: 60,
    concurrentSpeed: 20,
    hostingRatio: 1,
    ...told,
  });
}

/** A line of a log object, as the engine of `engineOfLines` reads it. */
export interface Line {
  /** Seconds since the epoch. */
  at: number;
  sessionId: string;
  /** What is known of the session when the line is in the window. */
  features?: SessionFeatures;
}

/** Why an object cannot be read just now. */
export class PassingError extends Error {}

/** An engine that answers from lines: it counts, and knows of a session what its lines say. */
export function engineOfLines(
  linesOf: (object: LogObject) => Line[] | Error,
): DetectionEngine & { windows: string[][]; loads: number } {
  const windows: string[][] = [];
  let loaded = '';
  let loads = 0;
  // One window at hand, as DuckDB has it.
  const load = ({ from, to, objects }: FeatureRequest) => {
    const asked = JSON.stringify([from, to, objects]);
    if (asked !== loaded) loads++;
    loaded = asked;
  };
  return {
    windows,
    get loads() {
      return loads;
    },
    async features(request) {
      const { from, to, objects } = request;
      load(request);
      windows.push(objects.map(({ name }) => name));
      const refused: RefusedObject[] = [];
      const lines = objects.flatMap((object) => {
        const read = linesOf(object);
        if (!(read instanceof Error)) return read.filter(({ at }) => at >= from && at < to);
        refused.push({ name: object.name, why: read.message, mayPass: read instanceof PassingError });
        return [];
      });
      if (refused.length === objects.length) {
        throw new DetectionError('ERR_DETECTION_LOGS', 'no object can be read', refused);
      }
      const sessions = new Map<string, SessionFeatures>();
      for (const { sessionId, features } of lines) {
        sessions.set(sessionId, features ?? sessions.get(sessionId) ?? sessionFeatures({ sessionId }));
      }
      return {
        sessions: [...sessions.values()],
        sessionCount: sessions.size,
        rows: lines.length,
        refused,
        odd: 0,
        proven: true,
        located: true,
      };
    },
    async timelines(request, ids) {
      load(request);
      const { from } = request;
      return new Map(ids.map((id) => [id, [{ label: 'AS64500, DE', minutes: [[from, 3]] }]]));
    },
    async close() {},
  };
}
