/**
 * What is known of a session from the access logs of a window. Every value is a finite number; what cannot be known from the
 * logs at hand (no `asn` in standard logs v1) is as harmless as can be.
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
  /** The most identities that fetched segments in the same minute. */
  concurrentIdentities: number;
  /** Minutes with two or more identities that are no hand-off: there the one stops as the other starts. */
  concurrentMinutes: number;
  /** Minutes in which one identity handed over to another. */
  handOffs: number;
  /** The most countries, and the most edge locations (by airport code), in the same minute. */
  concurrentCountries: number;
  concurrentEdgeLocations: number;
  /** Different media segments fetched, and requests for them. */
  segments: number;
  segmentRequests: number;
  /** Different segments that two identities fetched, without those that a hand-off explains. */
  sharedSegments: number;
  /** `sharedSegments` to `segments`, 0 to 1. */
  sharedRatio: number;
  /** Requests for a segment that the same identity had fetched before, to all for segments, 0 to 1. */
  refetchRatio: number;
  /** Requests a minute, to the median of the sessions of the title. */
  rateOverMedian: number;
  /** Seconds of media fetched in a second, over the active minutes. */
  mediaSpeed: number;
  /** Greatest distance, in seconds of media, between two identities in the same minute. */
  playheadDivergence: number;
  /** Requests from operators of hosting and VPN services, to all, 0 to 1. */
  hostingRatio: number;
  /** Edge locations (by airport code). */
  edgeLocations: number;
}
