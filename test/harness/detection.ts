import type { SessionFeatures } from '../../revocation/detect/features.ts';
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
    mediaSpeed: 1,
    playheadDivergence: 0,
    hostingRatio: 0,
    edgeLocations: 1,
    ...told,
  };
}
