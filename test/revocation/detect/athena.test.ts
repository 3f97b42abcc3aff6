import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { type AthenaQueries, type AthenaRow, athenaEngine, athenaUsd } from '../../../revocation/detect/athena.ts';
import { AthenaSettingsSchema } from '../../../revocation/detect/athena-settings.ts';
import type { FeatureRequest } from '../../../revocation/detect/detection-engine.ts';
import { AthenaService } from '../../harness/athena-service.ts';

const LOGS = {
  database: 'portcullis',
  table: 'access_logs',
  location: 's3://logs/cdn/',
  distributionId: 'E1A2B3',
  workgroup: 'detection',
};
const SETTINGS = v.parse(AthenaSettingsSchema, LOGS);
const REQUEST: FeatureRequest = { from: 0, to: 3600, objects: [], everySession: false };

const failure = (name: string, more: object = {}) =>
  Object.assign(new Error('told by the service'), { name, $fault: 'client', $metadata: { requestId: 'r-1' }, ...more });
const THROTTLED = failure('TooManyRequestsException');
const UNREACHABLE = failure('TimeoutError', { $fault: undefined, $metadata: {} });

/** Throws these at the next calls of a name, one each. */
function throwing(call: string, ...errors: Error[]) {
  return (name: string) => {
    const error = name === call ? errors.shift() : undefined;
    if (error) throw error;
  };
}

/** An engine on a simulated Athena that keeps what it was given to read. */
function world({ relations = [], kept = [] }: { relations?: { name: string; sql: string }[]; kept?: string[] } = {}) {
  const service = new AthenaService();
  const waits: number[] = [];
  const read: AthenaRow[][] = [];
  const queries: AthenaQueries = {
    features: ({ from, to }) => ({ relations, kept: new Set(kept), select: `SELECT ${from}, ${to}` }),
    readFeatures: (rows) => {
      read.push(rows);
      return { sessions: [], sessionCount: 0, rows: rows.length, refused: [], odd: 0, proven: true, located: true };
    },
    timelines: (_, sessionIds) => ({ relations: [], kept: new Set(), select: `SELECT ${sessionIds.length}` }),
    readTimelines: (rows) => {
      read.push(rows);
      return new Map();
    },
  };
  const waited = () => waits.reduce((sum, milliseconds) => sum + milliseconds, 0);
  const engine = athenaEngine(service.client, SETTINGS, queries, async (milliseconds) => waits.push(milliseconds), {
    at: 720_000,
    now: waited,
  });
  return { service, engine, waits, waited, read };
}

describe('a query on Athena', () => {
  test('is started, waited for and read', async () => {
    const { service, engine, read, waits } = world();
    service.columns = ['session_id', 'title', 'requests'];
    service.rows = [
      ['AbCdEf123456', 'aurora', '12.0'],
      ['ZZZZZZ123456', '', null],
    ];
    const result = await engine.features(REQUEST);
    expect([...service.queries.values()].map(({ sql }) => sql)).toEqual(['SELECT 0, 3600']);
    expect(read).toEqual([
      [
        { session_id: 'AbCdEf123456', title: 'aurora', requests: '12.0' },
        { session_id: 'ZZZZZZ123456', title: '', requests: null },
      ],
    ]);
    expect(result).toMatchObject({ rows: 2, sessionCount: 0 });
    expect(service.calls).toEqual(['GetWorkGroup', 'Start', 'Get', 'Get', 'Get', 'Results']);
    expect(waits).toHaveLength(2);
    expect(service.stopped).toEqual([]);
  });

  test.each([0, 1, 998, 999, 1000, 1999, 5000])('all pages of %i rows are read, each row once', async (count) => {
    const { service, engine, read } = world();
    service.columns = ['session_id'];
    // One that says what the column is called is a row like others.
    service.rows = Array.from({ length: count }, (_, i) => [i === 1500 ? 'session_id' : `s${i}`]);
    await engine.features(REQUEST);
    expect(read[0]?.map(({ session_id }) => session_id)).toEqual(service.rows.map(([id]) => id));
  });

  test('pages may be smaller than was asked for', async () => {
    const { service, engine, read } = world();
    Object.assign(service, { columns: ['session_id'], pageSize: 1, rows: [['a'], ['b'], ['c']] });
    await engine.features(REQUEST);
    expect(read).toEqual([[{ session_id: 'a' }, { session_id: 'b' }, { session_id: 'c' }]]);
  });

  test('timelines take a query of their own, and none for no session', async () => {
    const { service, engine } = world();
    expect(await engine.timelines(REQUEST, [])).toEqual(new Map());
    expect(service.calls).toEqual([]);
    await engine.timelines(REQUEST, ['AbCdEf123456']);
    expect([...service.queries.values()].map(({ sql }) => sql)).toEqual(['SELECT 1']);
  });

  test('the cost of timelines is told too', async () => {
    const { service, engine } = world();
    service.bytesScanned = 1024 ** 4;
    const costs: object[] = [];
    await engine.timelines(REQUEST, ['AbCdEf123456'], (cost) => costs.push(cost));
    expect(costs).toEqual([{ bytesScanned: 1024 ** 4, usd: 5 }]);
  });

  test('the cost is told', async () => {
    const { service, engine } = world();
    service.bytesScanned = 1024 ** 4;
    expect((await engine.features(REQUEST)).cost).toEqual({ bytesScanned: 1024 ** 4, usd: 5 });
    // Ten megabytes at least, whole ones.
    expect(athenaUsd(0)).toBe((10 * 5) / 1024 ** 2);
    expect(athenaUsd(10 * 1024 ** 2 + 1)).toBe((11 * 5) / 1024 ** 2);
  });
});

describe('relations', () => {
  const relations = [
    { name: 'requests', sql: 'SELECT * FROM logs' },
    { name: 'activity', sql: 'SELECT a FROM requests' },
    { name: 'titles', sql: 'SELECT b FROM activity' },
    { name: 'viewers', sql: 'SELECT c FROM activity, titles' },
  ];
  /** The queries with the name of the run taken out of them. */
  const asked = ({ queries }: AthenaService) =>
    [...queries.values()].map(({ sql }) => sql.replace(/portcullis_[0-9a-f]{32}_/g, 't_').replace(/\s+/g, ' '));
  const WITH = 'WITH requests AS ( SELECT * FROM logs ), activity AS (SELECT * FROM "portcullis"."t_activity")';

  test('that are kept are worked out once, into tables that are gone when the answer is read', async () => {
    const { service, engine, read } = world({ relations, kept: ['activity', 'viewers'] });
    service.bytesScanned = 20 * 1024 ** 2;
    Object.assign(service, { columns: ['session_id'], rows: [['a']] });
    const { cost } = await engine.features(REQUEST);
    expect(asked(service)).toEqual([
      `CREATE TABLE "portcullis"."t_activity" WITH (format = 'PARQUET') AS WITH requests AS ( SELECT * FROM logs ) SELECT a FROM requests`,
      `CREATE TABLE "portcullis"."t_viewers" WITH (format = 'PARQUET') AS ${WITH}, titles AS ( SELECT b FROM activity ) SELECT c FROM activity, titles`,
      `${WITH}, titles AS ( SELECT b FROM activity ), viewers AS (SELECT * FROM "portcullis"."t_viewers") SELECT 0, 3600`,
      'DROP TABLE IF EXISTS `portcullis`.`t_activity`',
      'DROP TABLE IF EXISTS `portcullis`.`t_viewers`',
    ]);
    expect(read).toEqual([[{ session_id: 'a' }]]);
    // Dropping is free.
    expect(cost).toEqual({ bytesScanned: 60 * 1024 ** 2, usd: 3 * athenaUsd(20 * 1024 ** 2) });
  });

  test('are counted as they are asked', async () => {
    const { engine } = world({ relations, kept: ['activity', 'viewers'] });
    const told: [string, number, number][] = [];
    await engine.features(REQUEST, (...progress) => told.push(progress));
    expect(told).toEqual([0, 1, 2, 3].map((done) => ['ask Athena', done, 3]));
  });

  test('are dropped also when a later one fails, or the creation itself', async () => {
    const { service, engine } = world({ relations, kept: ['activity', 'viewers'] });
    let started = 0;
    service.before = (call) => {
      if (call === 'Start' && ++started === 2) service.outcome = { State: 'FAILED', StateChangeReason: 'GENERIC' };
      if (call === 'Start' && started === 3) service.outcome = { State: 'SUCCEEDED' };
    };
    await expect(engine.features(REQUEST)).rejects.toMatchObject({ message: 'Athena query q-2 failed: GENERIC' });
    expect(asked(service).slice(2)).toEqual([
      'DROP TABLE IF EXISTS `portcullis`.`t_activity`',
      'DROP TABLE IF EXISTS `portcullis`.`t_viewers`',
    ]);
  });

  test('that cannot be dropped change nothing of the answer', async () => {
    const { service, engine, read } = world({ relations, kept: ['activity'] });
    let started = 0;
    service.before = (call) => {
      if (call === 'Start' && ++started === 3) throw failure('AccessDeniedException');
    };
    await engine.features(REQUEST);
    expect(read).toHaveLength(1);
  });

  test('of two runs have different names', async () => {
    const { service, engine } = world({ relations, kept: ['activity'] });
    await Promise.all([engine.features(REQUEST), engine.features(REQUEST)]);
    const created = [...service.queries.values()].flatMap(({ sql }) => /^CREATE TABLE (\S+)/.exec(sql)?.[1] ?? []);
    expect(new Set(created).size).toBe(2);
  });
});

describe('what is waited out', () => {
  test('a query that is long under way is asked after less and less often', async () => {
    const { service, engine, waits } = world();
    service.polls = 40;
    await engine.features(REQUEST);
    expect(waits).toHaveLength(40);
    expect(waits[0]).toBeLessThanOrEqual(500);
    expect(Math.max(...waits)).toBeLessThanOrEqual(10_000);
    expect(waits.slice(-10).every((milliseconds) => milliseconds >= 7500)).toBe(true);
  });

  test.each(['GetWorkGroup', 'Start', 'Get', 'Results'])('throttling and lost connections at %s', async (call) => {
    const { service, engine, read } = world();
    Object.assign(service, { columns: ['session_id'], rows: [['a']] });
    service.before = throwing(call, THROTTLED, UNREACHABLE, failure('InternalServerException', { $fault: 'server' }));
    await engine.features(REQUEST);
    expect(read).toEqual([[{ session_id: 'a' }]]);
  });

  test('a start whose reply is lost is not run twice', async () => {
    const { service, engine } = world();
    service.after = throwing('Start', UNREACHABLE);
    await engine.features(REQUEST);
    expect(service.calls.filter((call) => call === 'Start')).toHaveLength(2);
    expect(service.queries.size).toBe(1);
  });

  test('two queries of the same text are two: new logs may have come', async () => {
    const { service, engine } = world();
    await engine.features(REQUEST);
    await engine.features(REQUEST);
    expect(service.queries.size).toBe(2);
    expect(service.calls.filter((call) => call === 'GetWorkGroup')).toHaveLength(1);
  });

  test('throttling without end is an error that says so, and the query is stopped', async () => {
    const { service, engine, waits } = world();
    service.before = throwing('Get', ...Array(20).fill(THROTTLED));
    await expect(engine.features(REQUEST)).rejects.toMatchObject({
      code: 'ERR_DETECTION_QUERY',
      message: expect.stringContaining('throttles'),
    });
    expect(service.stopped).toEqual(['q-1']);
    expect(waits).toHaveLength(5);
  });

  test('a query that never ends is stopped', async () => {
    const { service, engine, waited } = world();
    service.polls = Number.POSITIVE_INFINITY;
    await expect(engine.features(REQUEST)).rejects.toMatchObject({
      name: 'DetectionError',
      code: 'ERR_DETECTION_QUERY',
      message: expect.stringContaining('fewer hours'),
    });
    expect(service.stopped).toEqual(['q-1']);
    expect(waited()).toBeGreaterThanOrEqual(720_000);
    expect(waited()).toBeLessThan(735_000);
  });

  test('all statements of a run have one deadline; tables are dropped past it', async () => {
    const relations = ['a', 'b', 'c'].map((name) => ({ name, sql: 'SELECT 1' }));
    const { service, engine, waited } = world({ relations, kept: ['a', 'b', 'c'] });
    // Some five minutes each.
    service.polls = 40;
    await expect(engine.features(REQUEST)).rejects.toMatchObject({ code: 'ERR_DETECTION_QUERY' });
    const asked = [...service.queries.values()].map(({ sql }) => sql.split(' ')[0]);
    expect(asked).toEqual(['CREATE', 'CREATE', 'CREATE', 'DROP', 'DROP', 'DROP']);
    expect(service.stopped).toEqual(['q-3']);
    expect(waited()).toBeLessThan(735_000);
    await expect(engine.timelines(REQUEST, ['AbCdEf123456'])).rejects.toThrow('fewer hours');
    expect(service.queries.size).toBe(6);
  });

  test('one that cannot be stopped either is said to have failed for the first reason', async () => {
    const { service, engine } = world();
    service.before = (call) => {
      if (call === 'Get') throw failure('AccessDeniedException');
      if (call === 'Stop') throw THROTTLED;
    };
    await expect(engine.features(REQUEST)).rejects.toMatchObject({ code: 'ERR_DETECTION_ACCESS' });
  });
});

describe('what fails', () => {
  const fail = async (outcome: AthenaService['outcome']) => {
    const { service, engine, read } = world();
    service.outcome = outcome;
    const error = await engine.features(REQUEST).catch((caught) => caught);
    expect(error.name).toBe('DetectionError');
    expect(read).toEqual([]);
    expect([service.stopped, service.calls.includes('Results')]).toEqual([[], false]);
    return error;
  };

  test('a failed query says why', async () => {
    const error = await fail({ State: 'FAILED', StateChangeReason: 'SYNTAX_ERROR: line 3:5: mismatched input' });
    expect([error.code, error.message]).toEqual([
      'ERR_DETECTION_QUERY',
      'Athena query q-1 failed: SYNTAX_ERROR: line 3:5: mismatched input',
    ]);
  });

  test('and when another attempt may help', async () => {
    const AthenaError = { Retryable: true, ErrorCategory: 1 };
    const error = await fail({ State: 'FAILED', StateChangeReason: 'INTERNAL_ERROR_QUERY_ENGINE', AthenaError });
    expect(error.message).toContain('run detection again');
  });

  test('without a reason it is said to have failed', async () => {
    expect((await fail({ State: 'FAILED' })).message).toBe('Athena query q-1 failed');
  });

  test.each([
    'TABLE_NOT_FOUND: line 1:15: Table awsdatacatalog.portcullis.access_logs does not exist',
    'Access denied when writing output to url: s3://results/x.csv',
    'PERMISSION_DENIED: User is not authorized to perform: glue:GetTable',
  ])('%s is about access', async (StateChangeReason) => {
    expect((await fail({ State: 'FAILED', StateChangeReason })).code).toBe('ERR_DETECTION_ACCESS');
  });

  test('a query that was cancelled', async () => {
    const error = await fail({ State: 'CANCELLED', StateChangeReason: 'Query cancelled by user' });
    expect([error.code, error.message]).toEqual([
      'ERR_DETECTION_QUERY',
      'Athena query q-1 was cancelled: Query cancelled by user; run detection again',
    ]);
  });

  test('one that reached the limit of its workgroup', async () => {
    const StateChangeReason = 'Bytes scanned limit was exceeded';
    expect((await fail({ State: 'CANCELLED', StateChangeReason })).message).toContain('look at fewer hours');
  });

  test('a log line in what Athena says is cut: its token, what a terminal acts on, its length', async () => {
    const url = `/AbCdEf123456.${'h'.repeat(60)}.${'p'.repeat(90)}.${'s'.repeat(43)}/aurora`;
    const StateChangeReason = `INVALID_CAST_ARGUMENT: Cannot cast '${url}' to BIGINT\u001b[2J\n${'x'.repeat(999)}`;
    const { message } = await fail({ State: 'FAILED', StateChangeReason });
    expect(message).not.toContain('sss');
    expect(message).not.toMatch(/\p{Cc}/u);
    expect(message.length).toBeLessThan(400);
  });

  test.each([
    ['AccessDeniedException', {}, 'ERR_DETECTION_ACCESS'],
    ['CredentialsProviderError', { $fault: undefined, $metadata: undefined }, 'ERR_DETECTION_ACCESS'],
    ['InvalidRequestException', { message: 'WorkGroup detection is not found.' }, 'ERR_DETECTION_ACCESS'],
    ['InvalidRequestException', { message: 'No output location provided.' }, 'ERR_DETECTION_QUERY'],
  ])('%s at the first call', async (name, more, code) => {
    const { service, engine } = world();
    service.before = throwing('GetWorkGroup', failure(name, more));
    await expect(engine.features(REQUEST)).rejects.toMatchObject({ name: 'DetectionError', code });
    expect(service.queries.size).toBe(0);
    // It is asked for again, and what was wrong may be mended.
    await engine.features(REQUEST);
  });

  test.each([undefined, 200 * 1024 ** 3])('a workgroup whose limit is %s gets no query', async (limit) => {
    const { service, engine } = world();
    service.limit = limit;
    await expect(engine.features(REQUEST)).rejects.toMatchObject({
      code: 'ERR_DETECTION_SETUP',
      message: expect.stringContaining('BytesScannedCutoffPerQuery=107374182400'),
    });
    expect(service.queries.size).toBe(0);
  });

  test('a page that repeats itself ends it', async () => {
    const { service, engine } = world();
    Object.assign(service, { columns: ['session_id'], pageSize: 0, rows: [['a']] });
    await expect(engine.features(REQUEST)).rejects.toMatchObject({ code: 'ERR_DETECTION_QUERY' });
  });
});

describe('settings', () => {
  test.each([
    { database: 'x; DROP' },
    { table: 'T' },
    { workgroup: 'w w' },
    { bytesScannedLimit: 1 },
    { region: 'eu central' },
    { location: "s3://logs/'/" },
    { location: 's3://logs' },
    { distributionId: 'e 1' },
    { format: 'json' },
    { workgroup: undefined },
  ])('%j is refused', (wrong) => {
    expect(v.safeParse(AthenaSettingsSchema, LOGS).success).toBe(true);
    expect(v.safeParse(AthenaSettingsSchema, { ...LOGS, ...wrong }).success).toBe(false);
  });
});
