import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { connect } from '../../revocation/detect/duckdb.ts';
import type { LogObject } from '../../revocation/detect/log-objects.ts';

/** The beginning of every log made here: 2026-11-22 14:00:00 UTC. */
export const HOUR = Date.UTC(2026, 10, 22, 14) / 1000;

/** A request of a viewer; what is left out is as it is for most. */
export interface LoggedRequest {
  session?: string;
  /** Seconds after `HOUR`. */
  at: number;
  ip?: string;
  path?: string;
  userAgent?: string;
  referer?: string;
  asn?: string;
  country?: string;
  edge?: string;
  status?: string;
  method?: string;
  /** The whole path, instead of one made of `session` and `path`. */
  uri?: string;
  /** What the function logged: the request as allowed, when it is left out. */
  logData?: string;
}

export const SESSION = 'AbCdEf012345';
export const PHONE = 'Mozilla/5.0%20(iPhone)';
export const TV = 'Mozilla/5.0%20(SmartTV)';

/** A path with what is shaped like a token; its signature is of no consequence here. */
export const tokenised = (session: string, path: string, prefix = '/') =>
  `${prefix}${session}.ey${'h'.repeat(98)}.${'p'.repeat(200)}.${'s'.repeat(43)}${path}`;

const segmentPath = (number: number, rendition: string) =>
  `/aurora/${rendition}/segment-${String(number).padStart(3, '0')}.m4s`;

/** A viewer who fetches segments `from`, `from` + 1, … one every `every` seconds from second `at` on. */
export function watching(
  count: number,
  {
    at = 0,
    from = 0,
    every = 4,
    rendition = '360p',
    ...rest
  }: Partial<LoggedRequest> & { from?: number; every?: number; rendition?: string } = {},
): LoggedRequest[] {
  return Array.from({ length: count }, (_, index) => ({
    ...rest,
    at: at + index * every,
    path: segmentPath(from + index, rendition),
  }));
}

/** The fields of standard logs v1, in their order. */
export const V1_FIELDS =
  'date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status cs(Referer) cs(User-Agent) cs-uri-query cs(Cookie) x-edge-result-type x-edge-request-id x-host-header cs-protocol cs-bytes time-taken x-forwarded-for ssl-protocol ssl-cipher x-edge-response-result-type cs-protocol-version fle-status fle-encrypted-fields c-port time-to-first-byte x-edge-detailed-result-type sc-content-type sc-content-len sc-range-start sc-range-end'.split(
    ' ',
  );
/** Fields that standard logs v2 can have besides. */
export const V2_FIELDS = [...V1_FIELDS, 'asn', 'c-country', 'viewer-request-log-data'];

/** A request by the names of the fields. */
function fieldsOf(request: LoggedRequest): Record<string, string> {
  const { at, session = SESSION, path = '/aurora/master.m3u8', uri = tokenised(session, path) } = request;
  const [date = '', time = ''] = new Date((HOUR + at) * 1000).toISOString().split(/[T.]/);
  return {
    date,
    time,
    'x-edge-location': request.edge ?? 'FRA56-P4',
    'c-ip': request.ip ?? '203.0.113.7',
    'cs-method': request.method ?? 'GET',
    'cs-uri-stem': uri,
    'sc-status': request.status ?? '200',
    'cs(Referer)': request.referer ?? '-',
    'cs(User-Agent)': request.userAgent ?? PHONE,
    asn: request.asn ?? '3320',
    'c-country': request.country ?? 'DE',
    'viewer-request-log-data': request.logData ?? `${session},allowed,${path}`,
  };
}

const values = (request: LoggedRequest, fields: string[]) => {
  const known = fieldsOf(request);
  return fields.map((field) => known[field] ?? '-');
};

/** The text of standard logs: two header lines, tabs. */
export function tsv(requests: LoggedRequest[], fields = V2_FIELDS): string {
  const lines = requests.map((request) => values(request, fields).join('\t'));
  return `#Version: 1.0\n#Fields: ${fields.join(' ')}\n${lines.map((line) => `${line}\n`).join('')}`;
}

/** The text of standard logs v2 as JSON. */
export const json = (requests: LoggedRequest[], nameOf = (field: string) => field) =>
  requests
    .map((request) => values(request, V2_FIELDS).map((value, index) => [nameOf(V2_FIELDS[index] ?? ''), value]))
    .map((entries) => `${JSON.stringify(Object.fromEntries(entries))}\n`)
    .join('');

export const snakeCase = (field: string) =>
  field
    .replaceAll(/[^A-Za-z0-9]+/g, '_')
    .replace(/_$/, '')
    .toLowerCase();

/** A log object with this content; `.gz` names are gzipped unless the content is bytes. */
export function logFile(folder: string, name: string, content: string | Uint8Array): LogObject {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' && name.endsWith('.gz') ? gzipSync(content) : content);
  return { name: path, bytes: statSync(path).size, version: '1', hour: HOUR };
}

/** A log object as Parquet: text columns in snake case. */
export async function parquetFile(
  folder: string,
  name: string,
  requests: LoggedRequest[],
  fields = V2_FIELDS,
): Promise<LogObject> {
  const source = join(folder, `${name}.json`);
  writeFileSync(source, json(requests, snakeCase));
  const connection = await connect(':memory:');
  const path = join(folder, name);
  const columns = fields.map((field) => `"${snakeCase(field)}": 'VARCHAR'`).join(', ');
  await connection.run(
    `COPY (SELECT * FROM read_json('${source}', format = 'newline_delimited', columns = {${columns}})) TO '${path}' (FORMAT parquet)`,
  );
  connection.closeSync();
  return { name: path, bytes: statSync(path).size, version: '1', hour: HOUR };
}
