// npm run bench:detect [-- --rows N --data DIR --json]: rows a second that full detection reads (screening, features, scores)
// with two threads, from Parquet and from gzipped standard logs, and the most memory that it took, each in a process of its own;
// beside it, in the same process, a query that does no more than COUNT(DISTINCT) of four columns for each session.
// The logs are made once: fifty lines a session in an hour, tokens of 370 characters as random as ours. With --data they are kept.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import * as v from 'valibot';
import { connect, openDuckDbEngine } from '../dist/lib/revocation/detect/duckdb.js';
import { logFiles } from '../dist/lib/revocation/detect/files.js';
import { columnOf, STANDARD_FIELDS, V2_FIELDS } from '../dist/lib/revocation/detect/log-fields.js';
import { score } from '../dist/lib/revocation/detect/score.js';
import { DetectionSettingsSchema } from '../dist/lib/revocation/detect/settings.js';

const LINES_A_SESSION = 50;
const OBJECTS = 20;
const THREADS = 2;
const FROM = Date.UTC(2026, 10, 22, 14) / 1000;

const { values: options } = parseArgs({
  options: {
    rows: { type: 'string', default: '10000000' },
    data: { type: 'string' },
    json: { type: 'boolean', default: false },
    measure: { type: 'string' },
  },
});

/** What the fields hold, as SQL; nothing (`-`) where it does not say. */
const VALUES = {
  date: `strftime(requested_at, '%Y-%m-%d')`,
  time: `strftime(requested_at, '%H:%M:%S')`,
  'x-edge-location': `['FRA56-P4', 'CDG50-P1', 'LHR61-P2', 'AMS1-C1'][1 + who % 4]`,
  'sc-bytes': `CAST(rnd % 900000 AS VARCHAR)`,
  'c-ip': `CASE WHEN kind = 'dual stack' AND rnd % 2 = 0 THEN format('2001:db8:{:x}::{:x}', who % 60000, who % 50000)
    ELSE concat(80 + who % 100, '.', (who // 100 + 3 * viewer) % 250, '.', who // 25000 % 250, '.', who % 250) END`,
  'cs-method': `'GET'`,
  'cs(Host)': `'d111111abcdef8.cloudfront.net'`,
  'cs-uri-stem': `concat('/', substr(md5(session::VARCHAR), 1, 12), token, '/title-', session % 200, '/', rendition, '/',
    CASE WHEN request % 3 = 2 THEN 'index.m3u8' ELSE format('segment-{:04d}.m4s', who % 400 + request * 2 // 3) END)`,
  'sc-status': `CASE WHEN rnd % 97 = 0 THEN '403' WHEN rnd % 31 = 0 THEN '304' ELSE '200' END`,
  'cs(Referer)': `'https://play.example.com/'`,
  'cs(User-Agent)': `concat('Mozilla/5.0%20(Windows%20NT%2010.0;%20Win64;%20x64)%20AppleWebKit/537.36%20(KHTML,%20like%20Gecko)',
    '%20Chrome/', 100 + (who + viewer) % 30, '.0.0.0%20Safari/537.36')`,
  'x-edge-result-type': `'Hit'`,
  'x-edge-request-id': `concat(substr(to_base64(unhex(sha256(rnd::VARCHAR))), 1, 43), substr(to_base64(unhex(md5(rnd::VARCHAR))), 1, 11), '==')`,
  'x-host-header': `'media.example.com'`,
  'cs-protocol': `'https'`,
  'cs-bytes': `'412'`,
  'time-taken': `format('0.{:03d}', rnd % 400)`,
  'ssl-protocol': `'TLSv1.3'`,
  'ssl-cipher': `'TLS_AES_128_GCM_SHA256'`,
  'x-edge-response-result-type': `'Hit'`,
  'cs-protocol-version': `'HTTP/2.0'`,
  'c-port': `CAST(1024 + rnd % 60000 AS VARCHAR)`,
  'time-to-first-byte': `format('0.{:03d}', rnd % 300)`,
  'x-edge-detailed-result-type': `'Hit'`,
  'sc-content-type': `'video/mp4'`,
  'sc-content-len': `CAST(rnd % 900000 AS VARCHAR)`,
  asn: `CAST(3000 + who % 50 AS VARCHAR)`,
  'c-country': `['DE', 'FR', 'GB'][1 + (who + viewer) % 3]`,
  'viewer-request-log-data': `concat(substr(md5(session::VARCHAR), 1, 12), ',allowed,', replace(cs_uri_stem, split_part(cs_uri_stem, '/', 2), '')[2:])`,
};
const select = (fields) => fields.map((field) => `${VALUES[field] ?? `'-'`} AS ${columnOf(field)}`).join(',\n');

/** Claims as a policy with address, country and two paths makes them, and their MAC. */
const CLAIMS = `concat('{"iss":"portcullis","aid":"title-', range % 200, '","sid":"', substr(md5(range::VARCHAR), 1, 12),
  '","exp":', ${FROM} + 3600 + range % 3400, ',"iat":', ${FROM} + range % 3400, ',"sst":', ${FROM} + range % 3400,
  ',"paths":["/title-', range % 200, '/"],"bnd":["ip","country"],"bmac":"', substr(to_base64(unhex(sha256('b' || range))), 1, 43), '"}')`;
const base64url = (value) => `rtrim(replace(replace(to_base64((${value})::BLOB), '+', '-'), '/', '_'), '=')`;

/**
 * Lines of the sessions from `first` to before `end`: seventy in a hundred of one viewer, the others dual stack, with a hand-off,
 * with addresses that change, or shared by two; one in five hundred copies at six times the speed.
 */
const lines = (first, end, fields) => `
WITH sessions AS (
  SELECT range AS session, CAST(hash(range) % 1000000007 AS BIGINT) AS who,
    concat('.', ${base64url(`'{"alg":"HS256","typ":"portcullis+jwt","kid":"k20261122-57fee3"}'`)}, '.', ${base64url(CLAIMS)}, '.',
      substr(${base64url(`unhex(sha256('s' || range))`)}, 1, 43)) AS token,
    ['360p', '720p', '1080p'][1 + range % 3] AS rendition,
    CASE WHEN range % 100 < 70 THEN 'one' WHEN range % 100 < 78 THEN 'dual stack' WHEN range % 100 < 88 THEN 'hand-off'
      WHEN range % 100 < 96 THEN 'changing' ELSE 'shared' END AS kind
  FROM range(${first}, ${end})
), requests AS (
  SELECT *, range AS request, CAST(hash(session * 1000 + range) % 1000000007 AS BIGINT) AS rnd,
    CASE kind WHEN 'hand-off' THEN range // ${LINES_A_SESSION / 2} WHEN 'changing' THEN rnd % 2 WHEN 'shared' THEN range % 2 ELSE 0 END AS viewer,
    to_timestamp(${FROM} + who % 3400 + CAST(range * CASE WHEN session % 500 = 0 THEN 0.3 ELSE 2.7 END AS INTEGER)) AT TIME ZONE 'UTC' AS requested_at
  FROM sessions, range(${LINES_A_SESSION})
)
SELECT ${select(fields)} FROM requests ORDER BY requested_at`;

async function makeLogs(folder, rows) {
  const connection = await connect(':memory:', {
    threads: String(THREADS),
    memory_limit: '2GB',
    temp_directory: folder,
  });
  await connection.run(`SET TimeZone = 'UTC'`);
  const sessions = Math.ceil(rows / LINES_A_SESSION);
  for (const format of ['parquet', 'gz']) mkdirSync(join(folder, format));
  for (let i = 0; i < OBJECTS; i++) {
    // Made of sessions, not of hours: the lines of each object are in the order of their times all the same.
    const [first, end] = [i, i + 1].map((share) => Math.round((sessions * share) / OBJECTS));
    const parquet = join(folder, 'parquet', `${i}.parquet`);
    await connection.run(
      `COPY (${lines(first, end, [...STANDARD_FIELDS, ...V2_FIELDS])}) TO '${parquet}' (FORMAT parquet)`,
    );
    const text = join(folder, `${i}.tsv`);
    const v1 = STANDARD_FIELDS.map(columnOf).join(', ');
    await connection.run(
      `COPY (SELECT ${v1} FROM '${parquet}') TO '${text}' (FORMAT csv, HEADER false, DELIMITER '\t', QUOTE '', ESCAPE '')`,
    );
    const header = `#Version: 1.0\\n#Fields: ${STANDARD_FIELDS.join(' ')}\\n`;
    const gz = join(folder, 'gz', `E2EXAMPLE.2026-11-22-14.${String(i).padStart(8, '0')}.gz`);
    execFileSync('sh', ['-c', `(printf '${header}'; cat '${text}') | gzip -4 > '${gz}'`]);
    rmSync(text);
  }
  connection.closeSync();
}

/** The most memory that this process has held, in bytes. */
const peak = () => Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;

/** What is measured of the logs in a folder: in a process of its own. */
async function measure(folder, format) {
  const detection = v.parse(DetectionSettingsSchema, {});
  const objects = await logFiles([join(folder, format)]).list(0);
  const engine = await openDuckDbEngine({ detection, tokenPrefix: '/' }, { threads: THREADS });
  const timed = async (work) => {
    const [began, cpu] = [performance.now(), process.cpuUsage()];
    const result = await work();
    const { user, system } = process.cpuUsage(cpu);
    return { result, seconds: (performance.now() - began) / 1000, cpuSeconds: (user + system) / 1e6 };
  };
  const full = await timed(async () => {
    const found = await engine.features({ from: FROM, to: FROM + 7200, objects, everySession: false });
    const scores = found.sessions.map((features) => score(features, detection.weights).score);
    return { ...found, flagged: scores.filter((value) => value >= detection.reviewScore).length };
  });
  await engine.close();
  const peakBytes = peak();
  const names = `[${objects.map(({ name }) => `'${name}'`)}]`;
  const columns = STANDARD_FIELDS.map((field) => `${columnOf(field)}: 'VARCHAR'`);
  const source =
    format === 'parquet'
      ? `read_parquet(${names})`
      : `read_csv(${names}, auto_detect = false, header = false, skip = 2, delim = '\t', quote = '', escape = '', columns = {${columns}})`;
  const connection = await connect(':memory:', { threads: String(THREADS) });
  const naive = await timed(() =>
    connection.run(`SELECT count(*) FROM (SELECT split_part(cs_uri_stem, '.', 1), count(*), count(DISTINCT c_ip),
      count(DISTINCT cs_user_agent), count(DISTINCT cs_referer), count(DISTINCT x_edge_location) FROM ${source} GROUP BY 1)`),
  );
  connection.closeSync();
  const { rows, sessionCount, sessions, refused, flagged } = full.result;
  if (refused.length > 0) throw new Error(`refused: ${refused[0].name}: ${refused[0].why}`);
  const rates = ({ seconds, cpuSeconds }) => ({ seconds, cpuSeconds, rowsPerSecond: Math.round(rows / seconds) });
  return {
    ...{ format, rows, sessions: sessionCount, candidates: sessions.length, flagged },
    ...{ bytes: objects.reduce((sum, { bytes }) => sum + bytes, 0), peakBytes },
    detection: rates(full),
    fourCountDistinct: rates(naive),
  };
}

if (options.measure) {
  process.stdout.write(JSON.stringify(await measure(options.data, options.measure)));
} else {
  const rows = Number(options.rows);
  const folder = options.data ?? mkdtempSync(join(tmpdir(), 'portcullis-bench-detect-'));
  mkdirSync(folder, { recursive: true });
  try {
    if (readdirSync(folder).length === 0) await makeLogs(folder, rows);
    const results = ['parquet', 'gz'].map((format) =>
      JSON.parse(
        execFileSync(process.execPath, [fileURLToPath(import.meta.url), '--measure', format, '--data', folder]),
      ),
    );
    const report = { node: process.version, threads: THREADS, results };
    if (options.json) process.stdout.write(`${JSON.stringify(report)}\n`);
    else process.stdout.write(readable(report));
  } finally {
    if (!options.data) rmSync(folder, { recursive: true, force: true });
  }
}

function readable({ results, threads }) {
  const million = (value) => `${(value / 1e6).toFixed(2)} M`;
  return results
    .map(
      ({ format, rows, sessions, candidates, bytes, peakBytes, detection, fourCountDistinct }) =>
        `${format}: ${million(rows)} lines, ${sessions} sessions, ${(bytes / 1e9).toFixed(2)} GB, ${threads} threads\n` +
        `  full detection        ${million(detection.rowsPerSecond)} rows/s (${detection.seconds.toFixed(1)} s, CPU ${detection.cpuSeconds.toFixed(1)} s), ` +
        `${candidates} candidates, peak ${Math.round(peakBytes / 2 ** 20)} MiB\n` +
        `  four COUNT(DISTINCT)  ${million(fourCountDistinct.rowsPerSecond)} rows/s (${fourCountDistinct.seconds.toFixed(1)} s, CPU ${fourCountDistinct.cpuSeconds.toFixed(1)} s)\n`,
    )
    .join('');
}
