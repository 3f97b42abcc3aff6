import type { SessionFeatures } from './features.ts';

/** What speaks for a session being shared, restreamed or ripped. */
interface Signal {
  /** What it measures. */
  value: (features: SessionFeatures) => number;
  /** What it says of a session, in words for people. */
  reason: (features: SessionFeatures) => string;
  /** The value at which it begins to count, and the one from which on it counts in full. */
  from: number;
  to: number;
  /** Points that it adds to the score when it counts in full. */
  points: number;
}

const percent = (ratio: number) => `${Math.round(ratio * 100)} %`;
const rounded = (value: number) => String(Math.round(value * 10) / 10);

/** One row a signal: the defaults of the configuration, the reasons and the documentation are made from it. */
export const SIGNALS = {
  concurrentIdentities: {
    value: ({ concurrentIdentities, concurrentMinutes }) => (concurrentMinutes > 0 ? concurrentIdentities : 0),
    reason: ({ concurrentIdentities }) => `${concurrentIdentities} viewers fetched in the same minute`,
    from: 1,
    to: 5,
    points: 30,
  },
  concurrentMinutes: {
    value: ({ concurrentMinutes }) => concurrentMinutes,
    reason: ({ concurrentMinutes, activeMinutes }) =>
      `two or more viewers at once in ${concurrentMinutes} of ${activeMinutes} minutes`,
    from: 1,
    to: 10,
    points: 20,
  },
  sharedSegments: {
    value: ({ sharedRatio }) => sharedRatio,
    reason: ({ sharedSegments, segments }) => `${sharedSegments} of ${segments} segments were fetched by two viewers`,
    from: 0.05,
    to: 0.5,
    points: 30,
  },
  concurrentCountries: {
    value: ({ concurrentCountries }) => concurrentCountries,
    reason: ({ concurrentCountries }) => `${concurrentCountries} countries in the same minute`,
    from: 1,
    to: 3,
    points: 15,
  },
  playheadDivergence: {
    value: ({ playheadDivergence }) => playheadDivergence,
    reason: ({ playheadDivergence }) => `viewers ${rounded(playheadDivergence)} s apart in the same minute`,
    from: 60,
    to: 600,
    points: 10,
  },
  mediaSpeed: {
    value: ({ mediaSpeed }) => mediaSpeed,
    reason: ({ mediaSpeed }) => `${rounded(mediaSpeed)} seconds of media fetched a second`,
    from: 2,
    to: 6,
    points: 50,
  },
  rateOverMedian: {
    value: ({ rateOverMedian }) => rateOverMedian,
    reason: ({ rateOverMedian }) => `${rounded(rateOverMedian)} times as many requests as is usual for the title`,
    from: 3,
    to: 10,
    points: 15,
  },
  refetchRatio: {
    value: ({ refetchRatio }) => refetchRatio,
    reason: ({ refetchRatio }) => `${percent(refetchRatio)} of the segments were fetched again by the same viewer`,
    from: 0.5,
    to: 0.9,
    points: 5,
  },
  hostingRatio: {
    value: ({ hostingRatio }) => hostingRatio,
    reason: ({ hostingRatio }) => `${percent(hostingRatio)} of the requests came from hosting or VPN services`,
    from: 0.2,
    to: 0.9,
    points: 25,
  },
  activeMinutes: {
    value: ({ activeMinutes }) => activeMinutes,
    reason: ({ activeMinutes }) => `watched for ${activeMinutes} minutes`,
    from: 300,
    to: 720,
    points: 10,
  },
  edgeLocations: {
    value: ({ concurrentEdgeLocations }) => concurrentEdgeLocations,
    reason: ({ concurrentEdgeLocations }) => `${concurrentEdgeLocations} edge locations in the same minute`,
    from: 1,
    to: 4,
    points: 10,
  },
} as const satisfies Record<string, Signal>;

export type SignalName = keyof typeof SIGNALS;
export const SIGNAL_NAMES = Object.keys(SIGNALS) as SignalName[];
