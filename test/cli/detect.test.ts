import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { FIELDS } from '../../local/edge/access-log.ts';
import { portcullis } from '../harness/cli.ts';
import { LONG } from '../harness/programs.ts';
import { CLI, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));
const path = (name: string) => join(folder, name);

interface Request {
  /** Seconds after midday. */
  at: number;
  sessionId: string;
  segment: number;
  ip?: string;
  country?: string;
  asn?: string;
}

/** An access log as CloudFront writes it. */
function log(requests: Request[]): string {
  const lines = requests.map(({ at, sessionId, segment, ip = '203.0.113.7', country = 'DE', asn = '3320' }) => {
    const time = new Date(Date.UTC(2026, 10, 22, 12, 0, at)).toISOString();
    const token = `${sessionId}.eyJ${'h'.repeat(40)}.eyJ${'p'.repeat(280)}.${'s'.repeat(43)}`;
    const path = `/aurora/360p/segment-${String(segment).padStart(4, '0')}.m4s`;
    const entry: Record<string, string> = {
      date: time.slice(0, 10),
      time: time.slice(11, 19),
      'x-edge-location': 'FRA56-P1',
      'c-ip': ip,
      'cs-method': 'GET',
      'cs-uri-stem': `/${token}${path}`,
      'sc-status': '200',
      'cs(User-Agent)': 'Player/1.0',
      asn,
      'c-country': country,
      'viewer-request-log-data': `${sessionId},allowed,${path}`,
    };
    return FIELDS.map((field) => entry[field] ?? '-').join('\t');
  });
  return `#Version: 1.0\n#Fields: ${FIELDS.join(' ')}\n${lines.map((line) => `${line}\n`).join('')}`;
}

const ORDINARY = ['Ordinary0001', 'Ordinary0002', 'Ordinary0003', 'Ordinary0004'];
const SHARED = 'SharedByMany';
/** Twenty minutes: four sessions of one viewer each, and one of eight viewers in eight countries. */
const requests = Array.from({ length: 300 }, (_, i): Request[] => [
  ...ORDINARY.map((sessionId, n) => ({ at: i * 4, sessionId, segment: i, ip: `203.0.${n}.7` })),
  ...['DE', 'FR', 'US', 'GB', 'ES', 'IT', 'PL', 'SE'].map((country, n) => ({
    ...{ at: i * 4, sessionId: SHARED, segment: i, ip: `198.51.${n}.7`, country, asn: String(64500 + n) },
  })),
]).flat();
const [first, second] = [requests.slice(0, requests.length / 2), requests.slice(requests.length / 2)];
writeFileSync(path('one.2026-11-22-12.aaaa.gz'), gzipSync(log(first)));
writeFileSync(path('two.2026-11-22-12.bbbb.gz'), gzipSync(log(second)));

const ATHENA = path('athena.json');
const athena = { database: 'cdn', table: 'logs', location: 's3://logs/cdn/', distributionId: 'E1A2B3', workgroup: 'w' };
writeFileSync(ATHENA, JSON.stringify({ revocation: { athena: { ...athena, region: 'eu-central-1' } } }));

const detect = (...args: string[]) => portcullis('session', 'detect', ...args);
const GLOB = path('*.gz');

describe('session detect --dry-run', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('leaves nothing behind when %s ends it', async (signal, code) => {
    const temporary = temporaryDirectory();
    const logs = temporaryDirectory();
    // Not compressed, so that their lines are copied one after the other: there is time.
    for (let i = 0; i < 20; i++) writeFileSync(join(logs, `${i}.log`), log(requests));
    const env = { ...process.env, TMPDIR: temporary };
    const child = spawn(process.execPath, [CLI, 'session', 'detect', '--dry-run', '--logs', logs], { env });
    const output = Promise.all([text(child.stdout), text(child.stderr)]);
    const exit = once(child, 'exit');
    await vi.waitUntil(() => readdirSync(temporary, { recursive: true }).length > 1, { timeout: 60_000, interval: 5 });
    child.kill(signal);
    expect(await exit).toEqual([code, null]);
    expect(await output).toEqual(['', '']);
    expect(readdirSync(temporary)).toEqual([]);
    removeDirectory(temporary);
    removeDirectory(logs);
  });

  test('prints the suspicious sessions with score, reasons and features, and leaves nothing behind', async () => {
    const before = readdirSync(folder);
    const { code, stdout, stderr } = await detect('--logs', GLOB, '--dry-run', '--json');
    const { sessions, ...rest } = JSON.parse(stdout);
    expect([code, stderr]).toEqual([0, '']);
    const known = { odd: 0, proven: true, located: true, refused: [], notLogs: [], mode: 'log' };
    expect(rest).toEqual({ rows: 3600, sessionCount: 5, ...known, enforce: { revoke: 1 } });
    expect(sessions).toMatchObject([
      { sessionId: SHARED, verdict: 'auto', enforce: 'revoke', title: 'aurora', segments: 300, countries: 8 },
    ]);
    expect(sessions[0].score).toBeGreaterThanOrEqual(70);
    expect(sessions[0].reasons).toContain('8 countries in the same minute (+20)');
    expect(readdirSync(folder)).toEqual(before);
  });

  test('with --all every session has its score, the worst first', async () => {
    const { stdout } = await detect('--logs', GLOB, '--dry-run', '--json', '--all');
    const { sessions } = JSON.parse(stdout);
    const scores = sessions.map(({ score }: { score: number }) => score);
    expect(scores).toEqual(scores.toSorted((a: number, b: number) => b - a));
    expect(sessions.map(({ sessionId }: { sessionId: string }) => sessionId)).toEqual([SHARED, ...ORDINARY]);
    expect(sessions.at(-1)).toMatchObject({ verdict: 'harmless', requests: 300, identities: 1 });
  });

  test('for people it is a table with the reasons below each session', async () => {
    const { stdout } = await detect('--logs', path('one*'), path('two*'), '--dry-run');
    const lines = stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^score +session +title +verdict +in mode enforce$/);
    expect(lines[1]).toMatch(/^\d+\.\d +SharedByMany +aurora +auto +revoke$/);
    expect(lines[2]).toMatch(/^ {7}\S.* \(\+\d+\)$/);
    expect(lines.slice(-2)).toEqual([
      '5 sessions in 3600 lines: 0 for review, 1 auto',
      'mode enforce would revoke 1 of them (the mode is log)',
    ]);
  });

  test.each<[string, object, string, RegExp]>([
    ['the allow-list', { allow: { sessions: [SHARED] } }, 'allowed', /^$/],
    ['the allow-list, by title', { allow: { titles: ['aurora'] } }, 'allowed', /^$/],
    ['the cap', { maxAutoShare: 0 }, 'stopped', /note: a run in mode enforce would alarm: 1 of 5 sessions/],
  ])('says what mode enforce would do, held by %s', async (_, detection, enforce, said) => {
    const config = path('guard.json');
    writeFileSync(config, JSON.stringify({ revocation: { detection } }));
    const { code, stdout, stderr } = await detect('--logs', GLOB, '--config', config, '--dry-run', '--json');
    expect([code, stderr]).toEqual([0, expect.stringMatching(said)]);
    expect(JSON.parse(stdout)).toMatchObject({ sessions: [{ verdict: 'auto', enforce }], enforce: { revoke: 0 } });
    // As a table for one of them; for all in the long tests.
    if (enforce !== 'stopped' && !LONG) return;
    const { stdout: table } = await detect('--logs', GLOB, '--config', config, '--dry-run');
    expect(table).toMatch(new RegExp(`auto +${enforce}\\n`));
    expect(table).toMatch(/\nmode enforce would revoke none of them \(the mode is log\)\n$/);
  });

  test('compares with labels: of each scenario how many are found', async () => {
    const labels = path('labels.tsv');
    const rows = [...ORDINARY.map((id) => [id, 'household', 'harmless']), [SHARED, 'sharedVod', 'leak']];
    const more = [['NotInTheLogs', 'sharedVod', 'leak']];
    const write = (all: string[][]) =>
      writeFileSync(labels, [['session', 'scenario', 'kind'], ...all].map((row) => `${row.join('\t')}\n`).join(''));
    write(rows);
    const told = ['--logs', GLOB, '--labels', labels, '--dry-run'];
    const { stdout, stderr } = await detect(...told);
    expect(stderr).toBe('');
    expect(stdout).toMatch(/\n\nscenario +kind +sessions +review +auto\nhousehold +harmless +4 +0\.0 % +0\.0 %\n/);
    expect(stdout).toMatch(/\nsharedVod +leak +1 +100\.0 % +100\.0 %\n$/);
    write([...more, ...rows]);
    const partly = await detect(...told, '--json', '--all');
    expect(JSON.parse(partly.stdout).labels).toEqual([
      { scenario: 'household', kind: 'harmless', sessions: 4, review: 0, auto: 0 },
      { scenario: 'sharedVod', kind: 'leak', sessions: 2, review: 0.5, auto: 0.5 },
    ]);
    expect(partly.stderr).toMatch(/note: 6 sessions have a label, and 5 are in these logs/);
    write(rows.slice(0, 4));
    expect((await detect(...told)).stderr).toMatch(/note: 1 of the sessions found have no label/);
  });

  test('says when the logs lack operator and country, and what the edge allowed', async () => {
    const fields = FIELDS.filter((field) => !['asn', 'c-country', 'viewer-request-log-data'].includes(field));
    const [version, , ...lines] = log(requests).trimEnd().split('\n');
    const cut = lines.map((line) => line.split('\t').slice(0, fields.length).join('\t'));
    expect(FIELDS.slice(0, fields.length)).toEqual(fields);
    writeFileSync(path('plain.log'), [version, `#Fields: ${fields.join(' ')}`, ...cut, ''].join('\n'));
    const { stdout, stderr } = await detect('--logs', path('plain.log'), '--dry-run', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ proven: false, located: false });
    expect(stderr).toMatch(/note: these logs lack asn or c-country: .*less is found/);
    expect(stderr).toMatch(/viewer-request-log-data/);
  });

  test('takes several patterns, and the settings of a configuration', async () => {
    const config = path('portcullis.json');
    writeFileSync(config, JSON.stringify({ revocation: { detection: { autoScore: 100, reviewScore: 100 } } }));
    const options = ['--logs', path('one*'), '--logs', path('two*'), '--config', config, '--dry-run', '--json'];
    const { code, stdout } = await detect(...options);
    const { sessions, rows } = JSON.parse(stdout);
    expect([code, rows]).toEqual([0, 3600]);
    for (const { score } of sessions) expect(score).toBe(100);
  });

  test('looks at no more than the time it is told', async () => {
    // Without an end it finds five, as the first test here says.
    const none = JSON.parse((await detect('--logs', GLOB, '--dry-run', '--json', '--to', '1')).stdout);
    expect(none.sessionCount).toBe(0);
  });

  test('names what it could not read, and exits with 1; the result is of the rest', async () => {
    const whole = readFileSync(path('two.2026-11-22-12.bbbb.gz'));
    writeFileSync(path('cut.log.gz'), whole.subarray(0, whole.length - 200));
    const { code, stdout, stderr } = await detect('--logs', path('one*'), path('cut*'), '--dry-run', '--json');
    const { rows, refused } = JSON.parse(stdout);
    expect([code, rows]).toEqual([1, 1800]);
    expect(refused).toEqual([{ name: path('cut.log.gz'), why: expect.any(String) }]);
    expect(stderr).toMatch(/note: not read: .*cut\.log\.gz: /);
    const none = await detect('--logs', path('cut*'), '--dry-run', '--json');
    expect([none.code, none.stdout]).toEqual([2, '']);
  });

  test('names what is no log, and leaves it out: that is no failure', async () => {
    const mixed = temporaryDirectory();
    writeFileSync(join(mixed, 'access.log'), log(requests));
    writeFileSync(join(mixed, 'api.log'), '{"level":"INFO","message":"GET /v1/sessions","date":"2026-11-22"}\n');
    const { code, stdout, stderr } = await detect('--logs', join(mixed, '*'), '--dry-run', '--json');
    expect([code, stderr]).toEqual([0, expect.stringMatching(/note: left out: .*api\.log: it is no access log\n$/)]);
    expect(JSON.parse(stdout)).toMatchObject({ rows: 3600, refused: [], notLogs: [join(mixed, 'api.log')] });
    const none = await detect('--logs', join(mixed, 'api.log'), '--dry-run');
    expect([none.code, none.stdout]).toEqual([2, '']);
    removeDirectory(mixed);
  });
});

describe('session detect --athena', () => {
  /** Athena as the command meets it over HTTP: every query succeeds at once, and answers one row. */
  async function standIn(): Promise<{ url: string; queries: string[]; close: () => Promise<unknown> }> {
    const queries: string[] = [];
    const numbers = ['requests', 'first_seen', 'last_seen', 'active_minutes', 'identities', 'networks', 'asns'];
    const more = ['countries', 'user_agents', 'referers', 'concurrent_identities', 'concurrent_minutes', 'hand_offs'];
    const others = ['concurrent_countries', 'concurrent_edge_locations', 'segments', 'segment_requests'];
    const ratios = [
      'shared_segments',
      'shared_ratio',
      'refetch_ratio',
      'rate_over_median',
      'segment_seconds',
      'media_speed',
    ];
    const last = ['fast_minutes', 'concurrent_speed', 'playhead_divergence', 'divergent_minutes', 'hosting_ratio'];
    const counts = [...numbers, ...more, ...others, ...ratios, ...last, 'edge_locations'];
    const columns = ['session_id', 'title', 'session_count', 'request_count', ...counts];
    const row = ['AthenaSess01', 'aurora', '3', '120', ...counts.map(() => '0.5')];
    const answers: Record<string, (body: { QueryString: string }) => object> = {
      GetWorkGroup: () => ({ WorkGroup: { Name: 'w', Configuration: { BytesScannedCutoffPerQuery: 1e9 } } }),
      StartQueryExecution: ({ QueryString }) => ({ QueryExecutionId: `q-${queries.push(QueryString)}` }),
      GetQueryExecution: () => ({
        QueryExecution: { Status: { State: 'SUCCEEDED' }, Statistics: { DataScannedInBytes: 1e7 } },
      }),
      GetQueryResults: () => ({
        ResultSet: {
          Rows: [columns, row].map((cells) => ({ Data: cells.map((VarCharValue) => ({ VarCharValue })) })),
          ResultSetMetadata: { ColumnInfo: columns.map((Name) => ({ Name, Type: 'varchar' })) },
        },
      }),
    };
    const server = http.createServer(async (request, response) => {
      const [, operation = ''] = String(request.headers['x-amz-target']).split('.');
      const answer = answers[operation]?.(JSON.parse(await text(request)));
      response.writeHead(answer ? 200 : 400, { 'content-type': 'application/x-amz-json-1.1' });
      response.end(JSON.stringify(answer ?? { __type: 'InvalidRequestException' }));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const close = () => once(server.close(), 'close');
    return { url: `http://127.0.0.1:${port}`, queries, close };
  }

  test('asks Athena for the hours given, says what it cost, and changes nothing', async () => {
    const { url, queries, close } = await standIn();
    vi.stubEnv('AWS_ENDPOINT_URL', url);
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'test');
    const hours = ['--from', '2026-11-22T12:00:00Z', '--to', '2026-11-22T14:00:00Z'];
    const result = await detect('--athena', ...hours, '--config', ATHENA, '--dry-run', '--json', '--all');
    vi.unstubAllEnvs();
    await close();
    expect([result.code, result.stderr]).toEqual([0, '']);
    const { sessions, ...rest } = JSON.parse(result.stdout);
    expect(sessions).toMatchObject([
      { sessionId: 'AthenaSess01', title: 'aurora', verdict: 'harmless', requests: 0.5 },
    ]);
    expect(rest).toEqual({
      ...{ rows: 120, sessionCount: 3, odd: 0, proven: true, located: true, refused: [], notLogs: [] },
      ...{ mode: 'log', enforce: { revoke: 0 } },
      cost: { bytesScanned: expect.any(Number), usd: expect.any(Number) },
    });
    expect(rest.cost.usd).toBeGreaterThan(0);
    expect(queries.join()).toContain("'2026/11/22/11'");
    expect(queries.join()).not.toContain("'2026/11/22/10'");
  });
});

describe('session detect says what to do', () => {
  test.each([
    [['--logs', GLOB], /--logs and --athena are for a dry run: add --dry-run; .* ledger/],
    [['--athena'], /--logs and --athena are for a dry run/],
    [['--dry-run'], /a dry run needs logs: either --logs <glob> or --athena/],
    [['--logs', GLOB, '--athena', '--dry-run'], /either --logs <glob> or --athena/],
    [['--all'], /--all and --labels are for a dry run/],
    [['--from', '2026-11-22T12:00:00Z'], /--from, --to, --config, --all and --labels are for a dry run/],
    [['--labels', path('labels.tsv')], /--labels are for a dry run/],
    [['--logs', GLOB, '--dry-run', '--labels', path('none.tsv')], /cannot read/],
    [['--logs', GLOB, '--dry-run', '--labels', ATHENA], /is no table of labels: its first line must name/],
    [['--logs', GLOB, '--dry-run', '--from', '9', '--to', '9'], /--to must be later than --from/],
    [['--athena', '--dry-run'], /needs revocation.athena in the configuration/],
    [['--athena', '--dry-run', '--config', ATHENA], /needs --from <time> and a later --to/],
    [['--athena', '--dry-run', '--config', ATHENA, '--from', '200', '--to', '100'], /a later --to/],
    [['--logs', path('none*'), '--dry-run'], /there are no log files at/],
    [['--data', folder], /no stack is running/],
    [['--logs', GLOB, '--dry-run', '--config', path('none.json')], /cannot read configuration/],
  ])('%j', async (args, message) => {
    const { code, stdout, stderr } = await detect(...args);
    expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(message)]);
  });
});
