/**
 * What is known of a session from the access logs of a window. Every value is a finite number; what cannot be known from the
 * logs at hand (no `asn` in standard logs v1) is as harmless as can be. Of a session that screening found harmless, `segments`,
 * `mediaSpeed` and `fastMinutes` are upper bounds, and `referers`, `edgeLocations` and `refetchRatio` are not looked at.
 *
 * An identity is a viewer as seen from outside: network (IPv4 /24, IPv6 /48), network operator (ASN), country and user-agent.
 * Of the same operator, country and user-agent, an IPv4 and an IPv6 network count as one: a dual-stack household.
 */
export interface SessionFeatures {
  sessionId: string;
  /** First segment of the path behind the token: what is being watched. '' when there is none. */
  title: string;
  /** Seconds since the epoch. */
  firstSeen: number;
  lastSeen: number;
  requests: number;
  /** Minutes in which there was a request. */
  activeMinutes: number;
  /** Different identities, networks (IPv4 and IPv6 merged), operators, countries, user-agents, referers, in the whole window. */
  identities: number;
  networks: number;
  asns: number;
  countries: number;
  userAgents: number;
  referers: number;
  /** The most identities that fetched segments in the same minute, hand-offs left out; 1 when there never were two. */
  concurrentIdentities: number;
  /**
   * Minutes with two or more identities that are no hand-off. A hand-off is a minute with two identities where the minute before
   * has only the first and the minute after only the second.
   */
  concurrentMinutes: number;
  /** Minutes in which one identity handed over to another, or began where another had stopped. */
  handOffs: number;
  /** The most countries, and the most edge locations (by airport code), in a concurrent minute; 1 when there was none. */
  concurrentCountries: number;
  concurrentEdgeLocations: number;
  /** Different media segments fetched (by path, so one of each rendition), and requests for them. */
  segments: number;
  segmentRequests: number;
  /** Different segments that two identities fetched within ten minutes, without those that a hand-off near by explains. */
  sharedSegments: number;
  /** `sharedSegments` to `segments`, 0 to 1. */
  sharedRatio: number;
  /** Requests for a segment that the same identity had fetched before, to all for segments, 0 to 1. */
  refetchRatio: number;
  /** Requests an active minute, to the median of the sessions of the title. */
  rateOverMedian: number;
  /**
   * What a segment lasts, in seconds: `segmentSeconds` of the settings, unless the viewers of the title together say that its
   * segments last longer or shorter. All that is in seconds of media is by this.
   */
  segmentSeconds: number;
  /** Seconds of media fetched in a second, over the minutes in which segments were fetched; renditions count once. */
  mediaSpeed: number;
  /**
   * Minutes in which twice as much media was fetched as lasts a minute, or more. A player has one when it starts and when it
   * seeks; who copies a title has many, however long he pauses between them.
   */
  fastMinutes: number;
  /**
   * Seconds of media fetched in a second, over the concurrent minutes, when what two identities fetch counts for both. One
   * viewer whose address changes has 1, two viewers have 2; 0 when there is no such minute.
   */
  concurrentSpeed: number;
  /** Greatest distance, in seconds of media, between two identities in the same concurrent minute. */
  playheadDivergence: number;
  /** Concurrent minutes in which that distance was more than a minute of media: more than a single seek explains. */
  divergentMinutes: number;
  /** Requests from operators of hosting and VPN services, to all, 0 to 1. */
  hostingRatio: number;
  /** Edge locations (by airport code). */
  edgeLocations: number;
}
