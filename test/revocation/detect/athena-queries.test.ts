import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { athenaEngine } from '../../../revocation/detect/athena.ts';
import { athenaQueries } from '../../../revocation/detect/athena-queries.ts';
import { AthenaSettingsSchema } from '../../../revocation/detect/athena-settings.ts';
import type { FeatureRequest, FeatureResult } from '../../../revocation/detect/detection-engine.ts';
import { connect, openDuckDbEngine } from '../../../revocation/detect/duckdb.ts';
import { DetectionSettingsSchema } from '../../../revocation/detect/settings.ts';
import { parquetFile, SESSION, TV, V1_FIELDS, V2_FIELDS, watching } from '../../harness/access-logs.ts';
import { AthenaService } from '../../harness/athena-service.ts';
import { sqlParsers } from '../../harness/sql-parser.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const HOUR = Date.UTC(2026, 10, 22, 14) / 1000;
const REQUEST: FeatureRequest = { from: HOUR, to: HOUR + 3600, objects: [], everySession: false };

function world(format: 'v1' | 'parquet' = 'parquet') {
  const settings = v.parse(AthenaSettingsSchema, {
    database: 'portcullis',
    table: 'access_logs',
    format,
    location: 's3://logs/cdn/',
    distributionId: 'E1A2B3',
    workgroup: 'detection',
  });
  const service = new AthenaService();
  const queries = athenaQueries(v.parse(DetectionSettingsSchema, {}), settings, '/');
  const engine = athenaEngine(service.client, settings, queries, async () => undefined);
  const sql = () => [...service.queries.values()].map((query) => query.sql);
  return { service, engine, sql };
}

describe('detection on Athena', () => {
  test('makes tables of what is named often, and reads only the hours asked for', async () => {
    const { engine, sql } = world();
    await engine.features(REQUEST);
    const created = sql().filter((text) => text.startsWith('CREATE'));
    expect(created.map((text) => /portcullis_[0-9a-f]+_(\w+)"/.exec(text)?.[1])).toEqual([
      ...['activity', 'screening', 'viewers', 'minutes', 'candidate_requests', 'fetches'],
    ]);
    expect(created[0]).toContain(`"hour" >= '2026/11/22/13' AND "hour" <= '2026/11/22/16'`);
  });

  test('every statement is Trino, or Hive where Athena wants that', async () => {
    const { engine, sql } = world();
    await engine.features(REQUEST);
    await engine.timelines(REQUEST, ['AbCdEf123456']);
    const { trino, hive } = await sqlParsers();
    for (const text of sql()) expect((text.startsWith('DROP') ? hive : trino).validate(text)).toEqual([]);
    expect(sql()).toHaveLength(16);
  });

  test('every table that it makes is dropped', async () => {
    const { engine, sql } = world('v1');
    await engine.features(REQUEST);
    await engine.timelines(REQUEST, ['AbCdEf123456']);
    const names = (verb: RegExp) => sql().flatMap((text) => verb.exec(text)?.[1] ?? []);
    expect(names(/^DROP TABLE IF EXISTS `portcullis`\.`(\w+)`$/)).toEqual(names(/^CREATE TABLE "portcullis"\."(\w+)"/));
  });

  test('a row of text becomes features, an odd one is named and fails nothing', async () => {
    const { service, engine } = world();
    const numbers = [
      ...['first_seen', 'last_seen', 'requests', 'active_minutes', 'identities', 'networks', 'asns', 'countries'],
      ...['user_agents', 'referers', 'concurrent_identities', 'concurrent_minutes', 'hand_offs'],
      ...['concurrent_countries', 'concurrent_edge_locations', 'segments', 'segment_requests', 'shared_segments'],
      ...[
        'shared_ratio',
        'refetch_ratio',
        'rate_over_median',
        'segment_seconds',
        'media_speed',
        'fast_minutes',
        'concurrent_speed',
      ],
      ...['playhead_divergence', 'divergent_minutes', 'hosting_ratio', 'edge_locations'],
    ];
    service.columns = ['session_id', 'title', 'session_count', 'request_count', ...numbers];
    const values = numbers.map((_, i) => `${i}.5`);
    service.rows = [
      ['AbCdEf123456', 'aurora', '7', '900', ...values],
      ['ZZZZZZ123456', 'aurora', '7', '900', ...values.slice(1), 'NaN'],
      ['not one', 'aurora', '7', '900', ...values],
      ['YYYYYY123456', null, '7', '900', ...values.slice(1), null],
    ];
    const { sessions, sessionCount, rows, refused, odd, proven } = await engine.features(REQUEST);
    expect(sessions.map(({ sessionId }) => sessionId)).toEqual(['AbCdEf123456', 'ZZZZZZ123456', 'YYYYYY123456']);
    expect(sessions.slice(1).map(({ edgeLocations }) => edgeLocations)).toEqual([0, 0]);
    expect(sessions[0]).toMatchObject({ sessionId: 'AbCdEf123456', title: 'aurora', firstSeen: 0.5, lastSeen: 1.5 });
    expect([sessionCount, rows]).toEqual([7, 900]);
    expect({ refused, odd, proven }).toEqual({ refused: [], odd: 3, proven: true });
  });

  test.each(['v1', 'parquet'] as const)('answers as DuckDB does, from %s logs', async (format) => {
    const requests = [
      ...watching(60),
      ...watching(60, { at: 2, ip: '198.51.100.9', country: 'FR', asn: '12322', edge: 'CDG50-P1' }),
      ...watching(20, { session: 'ZZZZZZ012345', userAgent: TV }),
      ...watching(5, { session: 'YYYYYY012345', status: '403' }),
    ];
    const folder = temporaryDirectory();
    const fields = format === 'v1' ? V1_FIELDS : V2_FIELDS;
    const log = await parquetFile(folder, 'logs.parquet', requests, fields);
    const asked = { ...REQUEST, objects: [log], everySession: true };
    const duckDb = await openDuckDbEngine(
      { detection: v.parse(DetectionSettingsSchema, {}), tokenPrefix: '/' },
      { threads: 1, tempDirectory: folder },
    );

    // Athena's statements, run by another DuckDB: what it writes otherwise than Trino is said here.
    const connection = await connect(':memory:');
    await connection.run(`SET TimeZone = 'UTC'; SET integer_division = true;
      CREATE MACRO regexp_like(string, pattern) AS regexp_matches(string, pattern);
      CREATE SCHEMA portcullis;
      CREATE TABLE portcullis.access_logs AS
        SELECT *, '2026/11/22/14' AS hour, 's3://logs/cdn/E1A2B3.2026-11-22-14.x.gz' AS "$path" FROM '${log.name}'`);
    const { service, engine } = world(format);
    service.execute = async (sql) => {
      const reader = await connection.runAndReadAll(
        sql.replace("WITH (format = 'PARQUET') AS", 'AS').replaceAll('`', '"'),
      );
      const rows = reader.getRowsJson().map((row) => row.map((value) => (value === null ? null : String(value))));
      return { columns: reader.columnNames(), rows };
    };

    const bySession = ({ sessions }: FeatureResult) =>
      sessions.toSorted((a, b) => (a.sessionId < b.sessionId ? -1 : 1));
    const [ours, theirs] = [await engine.features(asked), await duckDb.features(asked)];
    expect(bySession(ours).map(({ sessionId }) => sessionId)).toEqual([SESSION, 'ZZZZZZ012345']);
    expect(bySession(ours)).toEqual(bySession(theirs));
    expect(ours.sessionCount).toBe(theirs.sessionCount);
    expect([ours.proven, theirs.proven]).toEqual([format === 'parquet', format === 'parquet']);
    expect([ours.located, theirs.located]).toEqual([format === 'parquet', format === 'parquet']);
    expect(await engine.timelines(asked, [SESSION])).toEqual(await duckDb.timelines(asked, [SESSION]));
    const { rows: left } = await service.execute('SELECT table_name FROM information_schema.tables');
    expect(left).toEqual([['access_logs']]);
    connection.closeSync();
    await duckDb.close();
    removeDirectory(folder);
  });
});
