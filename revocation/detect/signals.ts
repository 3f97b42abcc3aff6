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

const rounded = (value: number) => String(Math.round(value * 10) / 10);
const whole = (value: number) => String(Math.round(value));

/** Whether there was more than one line. Devices behind one address are a household, which may watch with as many as it likes. */
const isApart = ({ networks, asns }: SessionFeatures) => networks > 1 || asns > 1;

/**
 * As if how many people watched at once. One who plays faster, through changing addresses, is one all the same: what the speed
 * of the whole session explains is taken out. A few minutes may be chance.
 */
const viewersAtOnce = (features: SessionFeatures) =>
  isApart(features) && features.concurrentMinutes > 4 ? features.concurrentSpeed / Math.max(features.mediaSpeed, 1) : 0;

/** The share of the time of watching that showed nothing new: somebody else watched it again, or the viewer jumped back. */
const repeated = (features: SessionFeatures) => {
  const share = 1 - features.mediaSpeed;
  return isApart(features) && share * features.activeMinutes > 10 ? share : 0;
};

/** Minutes of media fetched beyond the time that passed. */
const mediaAhead = ({ mediaSpeed, activeMinutes }: SessionFeatures) => (mediaSpeed - 1) * activeMinutes;

const hostingMinutes = ({ hostingRatio, activeMinutes }: SessionFeatures) => hostingRatio * activeMinutes;

/** One row a signal: the defaults of the configuration, the reasons and the documentation are made from it. */
export const SIGNALS = {
  viewersAtOnce: {
    value: viewersAtOnce,
    reason: (features) =>
      `as much as ${rounded(viewersAtOnce(features))} viewers fetch at once, over ${features.concurrentMinutes} minutes`,
    from: 1.05,
    to: 1.85,
    points: 55,
  },
  linesOfTheirOwn: {
    // Devices of a household behind a carrier-grade NAT meet on the same networks: more identities than networks.
    value: (features) => (features.identities <= features.networks ? viewersAtOnce(features) : 0),
    reason: ({ networks }) => `each on a line of its own: ${networks} networks, no two devices on the same`,
    from: 1.4,
    to: 1.9,
    points: 12,
  },
  crowdAtOnce: {
    value: viewersAtOnce,
    reason: (features) => `more at once than two devices of one viewer: ${rounded(viewersAtOnce(features))}`,
    from: 2.02,
    to: 2.4,
    points: 30,
  },
  operatorsAtOnce: {
    value: (features) => (viewersAtOnce(features) >= 1.3 ? features.asns : 1),
    reason: ({ asns }) => `these viewers are with ${asns} network operators`,
    from: 1,
    to: 3,
    points: 40,
  },
  viewersApart: {
    value: ({ asns, divergentMinutes }) => (asns > 1 ? divergentMinutes : 0),
    reason: ({ divergentMinutes, playheadDivergence }) =>
      `viewers at different places of the title in ${divergentMinutes} minutes, up to ${whole(playheadDivergence)} s apart`,
    from: 2,
    to: 12,
    points: 10,
  },
  concurrentCountries: {
    value: ({ concurrentCountries }) => concurrentCountries,
    reason: ({ concurrentCountries }) => `${concurrentCountries} countries in the same minute`,
    from: 1,
    to: 3,
    points: 20,
  },
  concurrentEdgeLocations: {
    value: ({ concurrentEdgeLocations }) => concurrentEdgeLocations,
    reason: ({ concurrentEdgeLocations }) => `${concurrentEdgeLocations} edge locations in the same minute`,
    from: 2,
    to: 5,
    points: 10,
  },
  repeatedMedia: {
    value: repeated,
    reason: ({ mediaSpeed, activeMinutes }) =>
      `only ${whole(mediaSpeed * activeMinutes)} minutes of different media in ${activeMinutes} minutes of watching`,
    from: 0.15,
    to: 0.42,
    points: 40,
  },
  repeatedByAnother: {
    value: (features) => (features.asns > 1 && features.userAgents > 1 ? repeated(features) : 0),
    reason: ({ asns, userAgents }) =>
      `watched again by another program and operator: ${userAgents} user-agents, ${asns} operators`,
    from: 0.1,
    to: 0.3,
    points: 45,
  },
  mediaAhead: {
    value: mediaAhead,
    reason: (features) => `fetched ${whole(mediaAhead(features))} minutes of media more than time passed`,
    from: 8,
    to: 26,
    points: 45,
  },
  mediaSpeed: {
    // A player that fills its buffer is fast too, but not minutes ahead.
    value: (features) => (mediaAhead(features) > 10 ? features.mediaSpeed : 0),
    reason: ({ mediaSpeed }) => `${rounded(mediaSpeed)} seconds of media fetched a second: players go to 2`,
    from: 2.2,
    to: 2.6,
    points: 50,
  },
  networks: {
    value: ({ networks }) => networks,
    reason: ({ networks, asns }) => `came from ${networks} networks${asns > 1 ? ` of ${asns} operators` : ''}`,
    from: 6,
    to: 18,
    points: 45,
  },
  crowdOfNetworks: {
    value: ({ networks }) => networks,
    reason: ({ networks }) => `more than a journey or a private relay explains: ${networks} networks`,
    from: 16,
    to: 28,
    points: 30,
  },
  hostingMinutes: {
    value: hostingMinutes,
    reason: (features) =>
      `watched for ${whole(hostingMinutes(features))} minutes from the networks of hosting or VPN services`,
    from: 90,
    to: 180,
    points: 55,
  },
  activeMinutes: {
    value: ({ activeMinutes }) => activeMinutes,
    reason: ({ activeMinutes }) => `watched for ${activeMinutes} minutes`,
    from: 280,
    to: 360,
    points: 20,
  },
  rateOverMedian: {
    value: ({ rateOverMedian }) => rateOverMedian,
    reason: ({ rateOverMedian }) => `${rounded(rateOverMedian)} times as many requests as is usual for the title`,
    from: 2.5,
    to: 8,
    points: 15,
  },
} as const satisfies Record<string, Signal>;

export type SignalName = keyof typeof SIGNALS;
export const SIGNAL_NAMES = Object.keys(SIGNALS) as SignalName[];
