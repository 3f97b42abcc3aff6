import { SESSION_ID } from '../../token/index.ts';
import type { IdentityTimeline } from './detection-engine.ts';
import type { SessionFeatures } from './features.ts';

/** A row of a result by column: numbers from DuckDB, text from Athena. */
export type Row = Record<string, unknown>;

/** The numbers of `SessionFeatures`, and the columns they come from: the same words, in snake case. */
const NUMBERS = [
  'firstSeen',
  'lastSeen',
  'requests',
  'activeMinutes',
  'identities',
  'networks',
  'asns',
  'countries',
  'userAgents',
  'referers',
  'concurrentIdentities',
  'concurrentMinutes',
  'handOffs',
  'concurrentCountries',
  'concurrentEdgeLocations',
  'segments',
  'segmentRequests',
  'sharedSegments',
  'sharedRatio',
  'refetchRatio',
  'rateOverMedian',
  'segmentSeconds',
  'mediaSpeed',
  'fastMinutes',
  'concurrentSpeed',
  'playheadDivergence',
  'divergentMinutes',
  'hostingRatio',
  'edgeLocations',
] as const satisfies (keyof SessionFeatures)[];

const columnOf = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** A number of a row, from zero to the last that can be counted to; undefined for anything else. */
function numberOf(row: Row, column: string): number | undefined {
  const value = row[column];
  if (typeof value !== 'number' && (typeof value !== 'string' || value.trim() === '')) return undefined;
  const number = Number(value);
  return number >= 0 && number <= Number.MAX_SAFE_INTEGER ? number : undefined;
}

/** A text of a row; '' for nothing, which CloudFront writes as `-`. */
const textOf = (row: Row, column: string) =>
  typeof row[column] === 'string' && row[column] !== '-' ? row[column] : '';

/** What the rows of `featuresSql` say. */
export interface FeatureRows {
  sessions: SessionFeatures[];
  /** Sessions in the window, and requests of theirs. */
  sessionCount: number;
  requestCount: number;
  /** Rows that say what cannot be: counted as harmless in that, or left out when even the session id is none. */
  odd: number;
}

/**
 * Reads the rows of `featuresSql`. What is no number, below zero or beyond counting is taken for zero, so that an odd value
 * hides nothing else of its session; a row whose session id is none is left out. Both are counted, and fail nothing.
 */
export function readFeatureRows(rows: Iterable<Row>): FeatureRows {
  const result: FeatureRows = { sessions: [], sessionCount: 0, requestCount: 0, odd: 0 };
  for (const row of rows) {
    result.sessionCount = Math.max(result.sessionCount, numberOf(row, 'session_count') ?? 0);
    result.requestCount = Math.max(result.requestCount, numberOf(row, 'request_count') ?? 0);
    // Totals of a window in which there is no session to tell of.
    if ((row.session_id ?? '') === '') continue;
    const sessionId = textOf(row, 'session_id');
    const isSession = SESSION_ID.test(sessionId);
    const numbers = NUMBERS.map((name) => [name, numberOf(row, columnOf(name))] as const);
    if (!isSession || numbers.some(([, value]) => value === undefined)) result.odd++;
    if (!isSession) continue;
    const sound = numbers.map(([name, value = 0]) => [name, value]);
    result.sessions.push({
      sessionId,
      title: textOf(row, 'title'),
      ...(Object.fromEntries(sound) as Record<(typeof NUMBERS)[number], number>),
    });
  }
  return result;
}

/** A network as people write it, in CIDR notation. */
function networkLabel(network: string): string {
  if (network.includes(':')) return `${network}::/48`;
  return /^\d+\.\d+\.\d+$/.test(network) ? `${network}.0/24` : network || 'unknown network';
}

/** Reads the rows of `TIMELINES`, in their order: identities of a session one after the other, minutes ascending. */
export function readTimelineRows(rows: Iterable<Row>): Map<string, IdentityTimeline[]> {
  const timelines = new Map<string, Map<number, IdentityTimeline>>();
  for (const row of rows) {
    const sessionId = textOf(row, 'session_id');
    const [identity, minute, requests] = ['identity', 'minute', 'requests'].map((column) => numberOf(row, column));
    if (!SESSION_ID.test(sessionId) || identity === undefined || minute === undefined || requests === undefined)
      continue;
    const ofSession = timelines.get(sessionId) ?? new Map<number, IdentityTimeline>();
    timelines.set(sessionId, ofSession);
    const asn = textOf(row, 'asn');
    const parts = [networkLabel(textOf(row, 'network')), ...(asn ? [`AS${asn}`] : []), textOf(row, 'country')];
    const timeline = ofSession.get(identity) ?? { label: parts.filter(Boolean).join(', '), minutes: [] };
    ofSession.set(identity, timeline);
    timeline.minutes.push([minute, requests]);
  }
  return new Map([...timelines].map(([sessionId, ofSession]) => [sessionId, [...ofSession.values()]]));
}
