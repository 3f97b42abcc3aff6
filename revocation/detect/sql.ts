import { SESSION_ID } from '../../token/index.ts';
import type { DetectionSettings } from './settings.ts';

/**
 * The one SQL text of detection. It runs on Athena (Trino) and, with the macros of `duckdb.ts`, on DuckDB, and means the same
 * there: every number is cast, every divisor is at least one, counts and medians are exact, nothing depends on whether a value
 * is NULL or '' (docs/access-logs.md).
 */

/** Columns of an access log that detection reads, as v2 Parquet names them. */
export const LOG_COLUMNS = [
  'date',
  'time',
  'x_edge_location',
  'c_ip',
  'cs_method',
  'cs_uri_stem',
  'sc_status',
  'cs_referer',
  'cs_user_agent',
  'asn',
  'c_country',
  'viewer_request_log_data',
] as const;

export type LogColumn = (typeof LOG_COLUMNS)[number];

/** The columns that a log must have: with what the function logged, the address, which holds the token, need not be there. */
export function neededColumns(columns: ReadonlySet<LogColumn>): LogColumn[] {
  const always = ['date', 'time', 'x_edge_location', 'c_ip', 'sc_status', 'cs_user_agent'] as const;
  const isByAddress = !isProven(columns) && columns.has('cs_uri_stem');
  return isByAddress ? [...always, 'cs_method', 'cs_uri_stem'] : [...always, 'viewer_request_log_data'];
}

/**
 * Whether what the edge function logged is among the columns. Without it nothing tells requests with a signed token from others
 * in the edge modes `off` and `log`.
 */
export function isProven(columns: ReadonlySet<LogColumn>): boolean {
  return columns.has('viewer_request_log_data');
}

/** Where log lines come from: a table of text columns, named as in `LOG_COLUMNS`. */
export interface LogTable {
  /** Name of the table, quoted where it has to be: `"portcullis"."access_logs"`. */
  name: string;
  /** Those of `LOG_COLUMNS` that it has. */
  columns: ReadonlySet<LogColumn>;
  /** Further columns that the requests keep, of denied ones too. */
  kept?: string[] | undefined;
  /** What restricts the scan to the hours from `from` to `to` (seconds since the epoch), as a condition; undefined for a table of no partitions. */
  partitions?: ((from: number, to: number) => string) | undefined;
}

/** What the text depends on. */
export interface DetectionQuery {
  settings: DetectionSettings;
  /** The path before the token (`edge.tokenPosition`), `/` or like `/live/`. */
  tokenPrefix: string;
  table: LogTable;
  /** Requests at `from` or later and before `to` count, seconds since the epoch. */
  from: number;
  to: number;
}

/** A relation of the text: a common table expression for Athena; DuckDB keeps some of them as tables. */
export interface Relation {
  name: string;
  sql: string;
}

/** Two fetches of a segment by different identities count as shared when no more than this lies between them, in seconds. */
const SHARED_WITHIN = 600;
/** From how many seconds of media on two identities in the same minute are said to be apart. */
const APART = 60;
/** How many seconds of media a second make a minute a fast one. */
const FAST = 2;
/** Fast minutes that a player may have: it fills its buffer when it starts and when it seeks. */
const FAST_MINUTES = 2;
/** Sessions of a title, and minutes of each, from which on they say what its segments last. */
const [DURATION_SESSIONS, DURATION_MINUTES] = [20, 10];
/** Characters of a user-agent and of a referer that count. */
const HEADER_LENGTH = 200;
/** A session id (`SESSION_ID` in `token/`). */
const SESSION = '[A-Za-z0-9]{12,64}';
/** How the header of a token begins after the session id: `{` of a JSON object and what may follow it, in base64url. */
const HEADER = 'e[w-z]';

const double = (value: number | string) => `CAST(${value} AS double)`;
/** A string literal. */
const text = (value: string) => `'${value.replaceAll("'", "''")}'`;
/** `a` divided by `b`, which is at least one. */
const ratio = (a: string, b: string) => `${double(a)} / greatest(${double(b)}, ${double(1)})`;

/** A column that the log does not have. Cast: Trino keeps no table with a column of varchar(0). */
const NOTHING = `CAST('' AS varchar)`;

/** What a column holds: '' for nothing, which CloudFront writes as `-`, or not at all. */
const orNothing = (column: string) => `coalesce(nullif(${column}, '-'), '')`;

/** A text whose escapes are those of ASCII and of characters of two or three bytes (RFC 3629 §4): others cannot be undone. */
const ESCAPES = [
  '[^%]',
  '%[2-7][0-9A-Fa-f]',
  '%(?:[Cc][2-9A-Fa-f]|[Dd][0-9A-Fa-f])%[89ABab][0-9A-Fa-f]',
  '%(?:[Ee]0%[ABab]|[Ee][1-9ABCEFabcef]%[89ABab])[0-9A-Fa-f]%[89ABab][0-9A-Fa-f]',
].join('|');

/**
 * What was logged, with percent-escapes undone: those of the viewer, which the edge lets through where they are harmless and
 * the origin undoes, and those of CloudFront, which may be escapes of these (a `%` in an allowed path always begins an escape).
 */
function unescaped(logged: string): string {
  const once = `replace(${logged}, '%25', '%')`;
  return `CASE
      WHEN strpos(${logged}, '%') = 0 THEN ${logged}
      WHEN regexp_like(${once}, '^(?:${ESCAPES})*$') THEN url_decode(replace(${once}, '+', '%2B'))
      ELSE ${logged}
    END`;
}

/** Part `index` of a text, from 1; '' when it has fewer. */
const part = (value: string, delimiter: string, index: number) =>
  `coalesce(split_part(${value}, '${delimiter}', ${index}), '')`;

/** The number of a group of an IPv6 address: no leading zeroes, `0` for an empty one. */
const group = (index: number) => `coalesce(nullif(trim(LEADING '0' FROM ${part('ip', ':', index)}), ''), '0')`;

/**
 * The network of an address: of IPv4 the /24, of IPv6 the /48. `::` stands for a run of zeroes (RFC 4291 §2.2); the first
 * three groups are compared as CloudFront writes them, lower-case and without leading zeroes.
 */
const NETWORK = `CASE
        WHEN strpos(ip, ':') = 0 THEN coalesce(nullif(regexp_extract(ip, '^[0-9]+[.][0-9]+[.][0-9]+'), ''), ip)
        WHEN ${part('ip', ':', 2)} = '' THEN concat(lower(${group(1)}), ':0:0')
        ELSE concat(lower(${group(1)}), ':', lower(${group(2)}), ':', lower(${group(3)}))
      END`;

/** A time as the log writes it: date and time of day, UTC. */
function logTime(seconds: number): [date: string, time: string] {
  const [date = '', time = ''] = new Date(seconds * 1000).toISOString().split(/[T.]/);
  return [text(date), text(time)];
}

/** Lines at `from` or later and before `to`; compared as text, which sorts as the times do. */
function inWindow(from: number, to: number): string {
  const [firstDate, firstTime] = logTime(from);
  const [lastDate, lastTime] = logTime(to);
  return (
    `("date" > ${firstDate} OR ("date" = ${firstDate} AND "time" >= ${firstTime})) ` +
    `AND ("date" < ${lastDate} OR ("date" = ${lastDate} AND "time" < ${lastTime}))`
  );
}

/** How a request is read from the column that tells most of it, named `logged` once its escapes are undone. */
interface LoggedRequest {
  column: string;
  /** '' where there is none. */
  session: string;
  /** Path behind the token. */
  path: string;
  /** The first segment of the path. Not taken from `path`: who needs no path is spared making it. */
  title: string;
}

/**
 * The entry that the function logged (`<session or ->,<reason or allowed>,<path>`), which is short and names no session but by a
 * valid signature; where the log does not have it, the address.
 */
function loggedRequest(columns: ReadonlySet<LogColumn>, tokenPrefix: string): LoggedRequest {
  if (isProven(columns)) {
    return {
      column: '"viewer_request_log_data"',
      session: `regexp_extract(logged, '^(${SESSION}),allowed,', 1)`,
      path: `CASE WHEN strpos(logged, '/') > 0 THEN substr(logged, strpos(logged, '/')) ELSE '' END`,
      title: part('logged', '/', 2),
    };
  }
  const tokenPart = tokenPrefix.split('/').length;
  return {
    column: '"cs_uri_stem"',
    // Of the address as it stands: the edge takes no token that has escapes.
    session: `regexp_extract("cs_uri_stem", '^${tokenPrefix}(${SESSION})[.]${HEADER}', 1)`,
    path: `replace(logged, concat(${text(tokenPrefix)}, ${part('logged', '/', tokenPart)}), '')`,
    title: part('logged', '/', tokenPart + 1),
  };
}

/**
 * The requests of the window that the edge allowed, without tokens; `session_id` is NULL where there is none. When there are
 * columns to be kept, the other lines are there too, without a session. What was denied, redirected or answered without a look
 * at the token (preflights) does not count: anybody can send that with the session id of somebody else. In the modes `off` and
 * `log` others are served too, which only the function's entry tells.
 * @param sessions What the sessions have to be among: literals, or a SELECT.
 */
function lines({ settings, tokenPrefix, table, from, to }: DetectionQuery, sessions?: string): string {
  const { columns, kept = [], partitions } = table;
  const { column, session, path, title } = loggedRequest(columns, tokenPrefix);
  const allowed = [
    inWindow(from, to),
    `"sc_status" IN ('200', '206', '304')`,
    ...(columns.has('cs_method') ? [`"cs_method" = 'GET'`] : []),
  ];
  const wanted = [...(kept.length > 0 ? [] : allowed), ...(sessions ? [`${session} IN (${sessions})`] : [])];
  const known = `nullif(${session}, '')`;
  const raw = (name: LogColumn) => (columns.has(name) ? `"${name}"` : NOTHING);
  return `SELECT
  ${kept.length > 0 ? `CASE WHEN ${allowed.join(' AND ')} THEN ${known} END` : known} AS session_id,
  date_diff('second', TIMESTAMP '1970-01-01 00:00:00', TRY_CAST(concat("date", ' ', "time") AS timestamp)) AS time,
  ${path} AS path,
  ${title} AS title,
  TRY_CAST(regexp_extract(logged, ${text(settings.segmentPattern)}, 1) AS bigint) AS segment,
  ${orNothing('"c_ip"')} AS ip,
  ${raw('asn')} AS asn,
  ${raw('c_country')} AS country,
  ${raw('cs_user_agent')} AS user_agent,
  ${raw('cs_referer')} AS referer,
  ${['substr("x_edge_location", 1, 3) AS edge_location', ...kept].join(',\n  ')}
FROM (
  SELECT
    *,
    ${unescaped(column)} AS logged
  FROM ${table.name}${partitions ? `\n  WHERE ${partitions(from, to)}` : ''}
) read${wanted.length > 0 ? `\nWHERE ${wanted.join('\n  AND ')}` : ''}`;
}

/** What an address did in a minute: all that is needed of a request but its path. */
const ADDRESSES = `SELECT
  session_id,
  time - time % 60 AS minute,
  title,
  ip,
  asn,
  country,
  user_agent,
  referer,
  edge_location,
  count(*) AS requests,
  count(segment) AS segment_requests,
  min(segment) AS first_segment,
  max(segment) AS last_segment,
  min(time) AS first_seen,
  max(time) AS last_seen
FROM lines
GROUP BY session_id, time - time % 60, title, ip, asn, country, user_agent, referer, edge_location`;

/** Who sent a request: the network instead of the address, and '' for what the log does not say. */
const VIEWER = `${NETWORK} AS network,
  ${orNothing('asn')} AS asn,
  ${orNothing('country')} AS country,
  ${orNothing(`substr(user_agent, 1, ${HEADER_LENGTH})`)} AS user_agent`;

/** The same by viewers. What is costly a line is done here, where there is much less; what is of no session or no time goes. */
const ACTIVITY = `SELECT
  session_id,
  minute,
  title,
  ${VIEWER},
  ${orNothing(`substr(referer, 1, ${HEADER_LENGTH})`)} AS referer,
  ${orNothing('edge_location')} AS edge_location,
  requests,
  segment_requests,
  first_segment,
  last_segment,
  first_seen,
  last_seen
FROM addresses
WHERE session_id IS NOT NULL AND minute IS NOT NULL`;

/**
 * The minutes of a session. `media` is a bound on the different segments fetched: as many as there were requests at most, and
 * as lie between the first and the last.
 */
const SESSION_MINUTES = `SELECT
  session_id,
  minute,
  sum(requests) AS requests,
  sum(segment_requests) AS segment_requests,
  sum(least(${double('segment_requests')}, coalesce(${double('last_segment')} - ${double('first_segment')} + 1, 0))) AS media
FROM activity
GROUP BY session_id, minute`;

/** What a session requested most. */
const TITLES = `SELECT session_id, title
FROM (
  SELECT session_id, title, row_number() OVER (PARTITION BY session_id ORDER BY requests DESC, title) AS place
  FROM (SELECT session_id, title, sum(requests) AS requests FROM activity GROUP BY session_id, title) counted
) ranked
WHERE place = 1`;

/** Every session by what is cheap to know of it. */
function sessions({ hostingAsns }: DetectionSettings): string {
  const hosting = hostingAsns.length > 0 ? `asn IN (${hostingAsns.map(text).join(', ')})` : '1 = 0';
  const several = (value: string) => `min(${value}) <> max(${value})`;
  const ofFamily = (isIpv6: boolean) => `CASE WHEN strpos(network, ':') ${isIpv6 ? '>' : '='} 0 THEN network END`;
  return `SELECT
  s.session_id,
  t.title,
  s.first_seen,
  s.last_seen,
  s.requests,
  s.has_viewers,
  m.active_minutes,
  m.segment_requests,
  m.segment_minutes,
  m.media,
  ${ratio('s.hosting_requests', 's.requests')} AS hosting_ratio,
  ${ratio('m.media', '60 * m.segment_minutes')} AS segment_rate,
  ${ratio('s.requests', 'm.active_minutes')} AS rate
FROM (
  SELECT
    session_id,
    min(first_seen) AS first_seen,
    max(last_seen) AS last_seen,
    sum(requests) AS requests,
    sum(CASE WHEN ${hosting} THEN requests ELSE 0 END) AS hosting_requests,
    CASE
      WHEN ${several('asn')} OR ${several('country')} OR ${several('user_agent')} THEN 1
      WHEN ${several(ofFamily(false))} OR ${several(ofFamily(true))} THEN 1
      ELSE 0
    END AS has_viewers
  FROM activity
  GROUP BY session_id
) s
JOIN (
  SELECT
    session_id,
    count(*) AS active_minutes,
    sum(CASE WHEN segment_requests > 0 THEN 1 ELSE 0 END) AS segment_minutes,
    sum(segment_requests) AS segment_requests,
    sum(media) AS media
  FROM session_minutes
  GROUP BY session_id
) m ON m.session_id = s.session_id
JOIN titles t ON t.session_id = s.session_id`;
}

/** The median rate of the sessions of a title: the middle one, or the mean of the middle two. */
const MEDIANS = `SELECT title, avg(rate) AS median
FROM (
  SELECT
    title,
    rate,
    2 * row_number() OVER (PARTITION BY title ORDER BY rate) AS twice_place,
    count(*) OVER (PARTITION BY title) AS number_of_sessions
  FROM sessions
) ranked
WHERE twice_place BETWEEN number_of_sessions AND number_of_sessions + 2
GROUP BY title`;

/**
 * The duration of a segment, of the titles whose segments seem to have another one than is set: where the middle one of twenty
 * sessions or more, of ten minutes or more each, fetches less than 0.8 or more than 1.25 seconds of media a second. Viewers of
 * one title may be somebody's own, so that a verdict by such a duration is for people (`evaluate.ts`).
 */
const durations = ({ segmentSeconds }: DetectionSettings) => `SELECT
  title,
  ${double(1)} / greatest(segment_rate, ${double(1e-9)}) AS segment_seconds
FROM (
  SELECT title, avg(segment_rate) AS segment_rate
  FROM (
    SELECT
      title,
      segment_rate,
      2 * row_number() OVER (PARTITION BY title ORDER BY segment_rate) AS twice_place,
      count(*) OVER (PARTITION BY title) AS number_of_sessions
    FROM sessions
    WHERE segment_minutes >= ${DURATION_MINUTES}
  ) ranked
  WHERE number_of_sessions >= ${DURATION_SESSIONS}
    AND twice_place BETWEEN number_of_sessions AND number_of_sessions + 2
  GROUP BY title
) middle
WHERE segment_rate * ${double(segmentSeconds)} NOT BETWEEN ${double(0.8)} AND ${double(1.25)}`;

/** Every session with the duration of a segment of its title, and its fast minutes. */
const paced = ({ segmentSeconds }: DetectionSettings) => `SELECT p.*, coalesce(f.fast_minutes, 0) AS fast_minutes
FROM (
  SELECT s.*, coalesce(d.segment_seconds, ${double(segmentSeconds)}) AS segment_seconds
  FROM sessions s
  LEFT JOIN durations d ON d.title = s.title
) p
LEFT JOIN (
  SELECT n.session_id, count(*) AS fast_minutes
  FROM session_minutes n
  JOIN sessions s ON s.session_id = n.session_id
  LEFT JOIN durations d ON d.title = s.title
  WHERE n.media * coalesce(d.segment_seconds, ${double(segmentSeconds)}) >= ${double(60 * FAST)}
  GROUP BY n.session_id
) f ON f.session_id = p.session_id`;

/**
 * Screening: which sessions are worth a closer look, because there may be a second viewer or because one of the other signals
 * begins to count. What is left out is as harmless as these values say.
 */
const screening = ({ weights }: DetectionSettings) => `SELECT
  *,
  CASE
    WHEN has_viewers = 1 THEN 1
    WHEN fast_minutes > ${FAST_MINUTES} THEN 1
    WHEN (media_speed - ${double(1)}) * ${double('active_minutes')} > ${double(weights.mediaAhead.from)} THEN 1
    WHEN hosting_ratio * ${double('active_minutes')} > ${double(weights.hostingMinutes.from)} THEN 1
    WHEN rate_over_median > ${double(weights.rateOverMedian.from)} THEN 1
    WHEN ${double('active_minutes')} > ${double(weights.activeMinutes.from)} THEN 1
    ELSE 0
  END AS is_candidate
FROM (
  SELECT
    s.*,
    s.segment_rate * s.segment_seconds AS media_speed,
    s.rate / greatest(m.median, ${double(1e-9)}) AS rate_over_median
  FROM paced s
  JOIN medians m ON m.title = s.title
) rated`;

const CANDIDATES = `SELECT session_id, title, segment_seconds FROM screening WHERE is_candidate = 1`;

/**
 * The identities of the candidates, numbered. Of the same operator, country and user-agent the first IPv4 network and the first
 * IPv6 network are one identity, the second ones another, and so on.
 */
const VIEWERS = `SELECT
  session_id,
  network,
  asn,
  country,
  user_agent,
  dense_rank() OVER (PARTITION BY session_id ORDER BY asn, country, user_agent, place) AS identity
FROM (
  SELECT
    *,
    row_number() OVER (
      PARTITION BY session_id, asn, country, user_agent, strpos(network, ':') > 0
      ORDER BY first_seen, network
    ) AS place
  FROM (
    SELECT a.session_id, a.network, a.asn, a.country, a.user_agent, min(a.first_seen) AS first_seen
    FROM activity a
    JOIN candidates c ON c.session_id = a.session_id
    GROUP BY a.session_id, a.network, a.asn, a.country, a.user_agent
  ) seen
) ranked`;

const SAME_VIEWER = (left: string) => `v.session_id = ${left}.session_id
  AND v.network = ${left}.network
  AND v.asn = ${left}.asn
  AND v.country = ${left}.country
  AND v.user_agent = ${left}.user_agent`;

/** Who fetched segments in which minute, and how far they were in the title. */
const IDENTITY_MINUTES = `SELECT
  a.session_id,
  a.minute,
  v.identity,
  max(CASE WHEN a.title = c.title THEN a.last_segment END) AS playhead
FROM activity a
JOIN candidates c ON c.session_id = a.session_id
JOIN viewers v ON ${SAME_VIEWER('a')}
WHERE a.segment_requests > 0
GROUP BY a.session_id, a.minute, v.identity`;

/**
 * Minutes of the candidates in which segments were fetched, with what hands over from one identity to another: a minute with
 * both between one of the first alone and one of the second alone, or the first minute of the second alone. Where the minute
 * before or after is not there, the other one decides.
 */
const MINUTES = `SELECT
  *,
  CASE WHEN identities > 1 AND is_hand_off = 0 THEN 1 ELSE 0 END AS is_concurrent
FROM (
  SELECT
    session_id,
    minute,
    identities,
    divergence,
    CASE
      WHEN identities = 1 AND identities_before = 1 AND identity_before <> first_identity THEN 1
      WHEN identities = 2
        AND coalesce(identities_before, 1) = 1
        AND coalesce(identities_after, 1) = 1
        AND coalesce(identity_before, first_identity + last_identity - identity_after) IN (first_identity, last_identity)
        AND coalesce(identity_before, first_identity + last_identity - identity_after)
          + coalesce(identity_after, first_identity + last_identity - identity_before) = first_identity + last_identity
        THEN 1
      ELSE 0
    END AS is_hand_off
  FROM (
    SELECT
      *,
      lag(identities) OVER (PARTITION BY session_id ORDER BY minute) AS identities_before,
      lead(identities) OVER (PARTITION BY session_id ORDER BY minute) AS identities_after,
      lag(first_identity) OVER (PARTITION BY session_id ORDER BY minute) AS identity_before,
      lead(first_identity) OVER (PARTITION BY session_id ORDER BY minute) AS identity_after
    FROM (
      SELECT
        session_id,
        minute,
        count(*) AS identities,
        min(identity) AS first_identity,
        max(identity) AS last_identity,
        coalesce(${double('max(playhead)')} - ${double('min(playhead)')}, 0) AS divergence
      FROM identity_minutes
      GROUP BY session_id, minute
    ) counted
  ) neighbours
) shaped`;

const CANDIDATE_REQUESTS = `SELECT
  session_id,
  time,
  path,
  title,
  segment,
  ${VIEWER}
FROM candidate_lines`;

/**
 * The segments that candidates fetched, by identity and minute. What is no segment is left out at the end: as a condition on the
 * lines it would be looked for in those of every session.
 */
const FETCHES = `SELECT
  r.session_id,
  r.path,
  r.title,
  r.segment,
  v.identity,
  r.time - r.time % 60 AS minute,
  count(*) AS requests,
  min(r.time) AS first_fetch,
  max(r.time) AS last_fetch
FROM candidate_requests r
JOIN viewers v ON ${SAME_VIEWER('r')}
GROUP BY r.session_id, r.path, r.title, r.segment, v.identity, r.time - r.time % 60
HAVING count(r.segment) > 0`;

/** What was fetched by whom: shared when another identity fetched it shortly before and no hand-off was near. */
const SEGMENTS = `SELECT
  session_id,
  count(*) AS segments,
  sum(requests) AS requests,
  sum(is_shared) AS shared_segments,
  sum(identities) AS identity_segments
FROM (
  SELECT
    session_id,
    path,
    sum(requests) AS requests,
    count(DISTINCT identity) AS identities,
    max(CASE
      WHEN identity_before <> identity AND first_fetch - fetched_before <= ${SHARED_WITHIN} AND hand_off_minute IS NULL THEN 1
      ELSE 0
    END) AS is_shared
  FROM (
    SELECT
      f.session_id,
      f.path,
      f.identity,
      f.requests,
      f.first_fetch,
      h.minute AS hand_off_minute,
      lag(f.identity) OVER (PARTITION BY f.session_id, f.path ORDER BY f.first_fetch, f.identity) AS identity_before,
      lag(f.last_fetch) OVER (PARTITION BY f.session_id, f.path ORDER BY f.first_fetch, f.identity) AS fetched_before
    FROM fetches f
    LEFT JOIN (
      SELECT session_id, minute + aside AS minute
      FROM minutes
      CROSS JOIN (SELECT -60 AS aside UNION ALL SELECT 0 UNION ALL SELECT 60) beside
      WHERE is_hand_off = 1
      GROUP BY session_id, minute + aside
    ) h ON h.session_id = f.session_id AND h.minute = f.minute
  ) ordered
  GROUP BY session_id, path
) fetched
GROUP BY session_id`;

/**
 * The numbers of the segments fetched in a minute, and how many identities fetched each, of whatever rendition. Of a segment in
 * parts (low-latency HLS) it is how many fetched a part on average: a viewer whose address changes takes each part once.
 */
const numbers = ({ segmentPattern }: DetectionSettings) => {
  const piece = `nullif(regexp_extract(path, ${text(segmentPattern)}), '')`;
  return `SELECT session_id, minute, title, segment, avg(${double('identities')}) AS identities
FROM (
  SELECT session_id, minute, title, segment, count(DISTINCT identity) AS identities
  FROM fetches
  GROUP BY session_id, minute, title, segment, ${piece}
) pieces
GROUP BY session_id, minute, title, segment`;
};

/** Seconds of media that candidates fetched: in all, in fast minutes, and by each identity in the concurrent ones. */
const MEDIA = `SELECT
  t.session_id,
  ${double('t.media')} * m.segment_seconds / greatest(60 * ${double('m.segment_minutes')}, ${double(1)}) AS media_speed,
  m.fast_minutes,
  ${double('m.concurrent_media')} * m.segment_seconds
    / greatest(60 * ${double('m.concurrent_minutes')}, ${double(1)}) AS concurrent_speed
FROM (
  SELECT session_id, count(*) AS media
  FROM (SELECT session_id, title, segment FROM numbers GROUP BY session_id, title, segment) different
  GROUP BY session_id
) t
JOIN (
  SELECT
    n.session_id,
    max(c.segment_seconds) AS segment_seconds,
    count(*) AS segment_minutes,
    sum(CASE WHEN ${double('n.media')} * c.segment_seconds >= ${double(60 * FAST)} THEN 1 ELSE 0 END) AS fast_minutes,
    sum(CASE WHEN m.is_concurrent = 1 THEN n.media_of_all ELSE 0 END) AS concurrent_media,
    sum(m.is_concurrent) AS concurrent_minutes
  FROM (
    SELECT session_id, minute, count(*) AS media, sum(identities) AS media_of_all
    FROM numbers
    GROUP BY session_id, minute
  ) n
  JOIN candidates c ON c.session_id = n.session_id
  JOIN minutes m ON m.session_id = n.session_id AND m.minute = n.minute
  GROUP BY n.session_id
) m ON m.session_id = t.session_id`;

/** How many there were of everything, in the whole window. */
const COUNTS = `SELECT
  a.session_id,
  count(DISTINCT v.identity) AS identities,
  greatest(
    count(DISTINCT CASE WHEN strpos(a.network, ':') = 0 THEN a.network END),
    count(DISTINCT CASE WHEN strpos(a.network, ':') > 0 THEN a.network END)
  ) AS networks,
  count(DISTINCT a.asn) AS asns,
  count(DISTINCT a.country) AS countries,
  count(DISTINCT a.user_agent) AS user_agents,
  count(DISTINCT a.referer) AS referers,
  count(DISTINCT a.edge_location) AS edge_locations
FROM activity a
JOIN viewers v ON ${SAME_VIEWER('a')}
GROUP BY a.session_id`;

/** What happened in the minutes of a candidate. */
const CONCURRENCY = `SELECT
  m.session_id,
  max(CASE WHEN m.is_concurrent = 1 THEN m.identities ELSE 1 END) AS concurrent_identities,
  sum(m.is_concurrent) AS concurrent_minutes,
  sum(m.is_hand_off) AS hand_offs,
  max(coalesce(w.countries, 1)) AS concurrent_countries,
  max(coalesce(w.edge_locations, 1)) AS concurrent_edge_locations,
  max(CASE WHEN m.is_concurrent = 1 THEN m.divergence * c.segment_seconds ELSE 0 END) AS playhead_divergence,
  sum(CASE WHEN m.is_concurrent = 1 AND m.divergence * c.segment_seconds > ${double(APART)} THEN 1 ELSE 0 END) AS divergent_minutes
FROM minutes m
JOIN candidates c ON c.session_id = m.session_id
LEFT JOIN (
  SELECT
    a.session_id,
    a.minute,
    count(DISTINCT a.country) AS countries,
    count(DISTINCT a.edge_location) AS edge_locations
  FROM activity a
  JOIN minutes m ON m.session_id = a.session_id AND m.minute = a.minute
  WHERE m.is_concurrent = 1 AND a.segment_requests > 0
  GROUP BY a.session_id, a.minute
) w ON w.session_id = m.session_id AND w.minute = m.minute
GROUP BY m.session_id`;

/** A column of the result; numbers are doubles. */
const number = (value: string, name: string) => `${double(value)} AS ${name}`;

/**
 * The features of every session, or of the candidates: the columns are named for `SessionFeatures`. Each row has the number of
 * all sessions and of their requests too; when there is no session to tell of, these stand in a row without a session.
 */
export function featuresSql(everySession: boolean): string {
  return `SELECT
  s.session_id,
  s.title,
  ${[
    number('s.first_seen', 'first_seen'),
    number('s.last_seen', 'last_seen'),
    number('s.requests', 'requests'),
    number('s.active_minutes', 'active_minutes'),
    number('coalesce(c.identities, 1)', 'identities'),
    number('coalesce(c.networks, 1)', 'networks'),
    number('coalesce(c.asns, 1)', 'asns'),
    number('coalesce(c.countries, 1)', 'countries'),
    number('coalesce(c.user_agents, 1)', 'user_agents'),
    number('coalesce(c.referers, 1)', 'referers'),
    number('coalesce(m.concurrent_identities, 1)', 'concurrent_identities'),
    number('coalesce(m.concurrent_minutes, 0)', 'concurrent_minutes'),
    number('coalesce(m.hand_offs, 0)', 'hand_offs'),
    number('coalesce(m.concurrent_countries, 1)', 'concurrent_countries'),
    number('coalesce(m.concurrent_edge_locations, 1)', 'concurrent_edge_locations'),
    number('coalesce(g.segments, s.media)', 'segments'),
    number('s.segment_requests', 'segment_requests'),
    number('coalesce(g.shared_segments, 0)', 'shared_segments'),
    `coalesce(${ratio('g.shared_segments', 'g.segments')}, ${double(0)}) AS shared_ratio`,
    `coalesce(${ratio('g.requests - g.identity_segments', 'g.requests')}, ${double(0)}) AS refetch_ratio`,
    number('s.rate_over_median', 'rate_over_median'),
    number('s.segment_seconds', 'segment_seconds'),
    number('coalesce(e.media_speed, s.media_speed)', 'media_speed'),
    number('coalesce(e.fast_minutes, s.fast_minutes)', 'fast_minutes'),
    number('coalesce(e.concurrent_speed, 0)', 'concurrent_speed'),
    number('coalesce(m.playhead_divergence, 0)', 'playhead_divergence'),
    number('coalesce(m.divergent_minutes, 0)', 'divergent_minutes'),
    number('s.hosting_ratio', 'hosting_ratio'),
    number('coalesce(c.edge_locations, 1)', 'edge_locations'),
    number('t.sessions', 'session_count'),
    number('t.requests', 'request_count'),
  ].join(',\n  ')}
FROM (SELECT count(*) AS sessions, coalesce(sum(requests), 0) AS requests FROM screening) t
LEFT JOIN screening s ON ${everySession ? '1 = 1' : 's.is_candidate = 1'}
LEFT JOIN counts c ON c.session_id = s.session_id
LEFT JOIN concurrency m ON m.session_id = s.session_id
LEFT JOIN segments g ON g.session_id = s.session_id
LEFT JOIN media e ON e.session_id = s.session_id`;
}

/** All relations between the log lines and the features, each made of those before it. */
export function relations(query: DetectionQuery): Relation[] {
  const { settings } = query;
  return [
    { name: 'lines', sql: lines(query) },
    { name: 'addresses', sql: ADDRESSES },
    { name: 'activity', sql: ACTIVITY },
    { name: 'session_minutes', sql: SESSION_MINUTES },
    { name: 'titles', sql: TITLES },
    { name: 'sessions', sql: sessions(settings) },
    { name: 'medians', sql: MEDIANS },
    { name: 'durations', sql: durations(settings) },
    { name: 'paced', sql: paced(settings) },
    { name: 'screening', sql: screening(settings) },
    { name: 'candidates', sql: CANDIDATES },
    { name: 'viewers', sql: VIEWERS },
    { name: 'identity_minutes', sql: IDENTITY_MINUTES },
    { name: 'minutes', sql: MINUTES },
    { name: 'candidate_lines', sql: lines(query, 'SELECT session_id FROM candidates') },
    { name: 'candidate_requests', sql: CANDIDATE_REQUESTS },
    { name: 'fetches', sql: FETCHES },
    { name: 'segments', sql: SEGMENTS },
    { name: 'numbers', sql: numbers(settings) },
    { name: 'media', sql: MEDIA },
    { name: 'counts', sql: COUNTS },
    { name: 'concurrency', sql: CONCURRENCY },
  ];
}

/** Identities of a session in a timeline. */
const TIMELINE_IDENTITIES = 8;

/**
 * All relations between the log lines and the timelines of a few sessions: who requested how much in which minute, of each
 * session the busiest identities. Throws a `TypeError` for what is no session id.
 */
export function timelineRelations(query: DetectionQuery, sessionIds: string[]): Relation[] {
  const odd = sessionIds.find((id) => !SESSION_ID.test(id));
  if (odd !== undefined || sessionIds.length === 0) throw new TypeError('sessionIds must be session ids, one at least');
  const ids = sessionIds.map(text).join(', ');
  const candidates = `SELECT session_id, '' AS title
FROM activity
WHERE session_id IN (${ids})
GROUP BY session_id`;
  return [
    { name: 'lines', sql: lines(query, ids) },
    { name: 'addresses', sql: ADDRESSES },
    { name: 'activity', sql: ACTIVITY },
    { name: 'candidates', sql: candidates },
    { name: 'viewers', sql: VIEWERS },
  ];
}

/** The timelines, a row an identity and minute (`rows.ts` reads them). */
export const TIMELINES = `SELECT
  session_id,
  ${number('identity', 'identity')},
  network,
  asn,
  country,
  ${number('minute', 'minute')},
  ${number('requests', 'requests')}
FROM (
  SELECT
    *,
    dense_rank() OVER (PARTITION BY session_id ORDER BY requests_of_identity DESC, identity) AS place
  FROM (
    SELECT
      *,
      sum(requests) OVER (PARTITION BY session_id, identity) AS requests_of_identity,
      min(any_network) OVER (PARTITION BY session_id, identity) AS network
    FROM (
      SELECT
        a.session_id,
        v.identity,
        min(a.network) AS any_network,
        a.asn,
        a.country,
        a.minute,
        sum(a.requests) AS requests
      FROM activity a
      JOIN viewers v ON ${SAME_VIEWER('a')}
      GROUP BY a.session_id, v.identity, a.asn, a.country, a.minute
    ) counted
  ) summed
) ranked
WHERE place <= ${TIMELINE_IDENTITIES}
ORDER BY session_id, identity, minute`;
