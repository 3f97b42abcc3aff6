import * as v from 'valibot';
import { beforeAll, describe, expect, test } from 'vitest';
import { type AthenaTable, athenaLogTable, createTableSql } from '../../../revocation/detect/athena-table.ts';
import { DetectionSettingsSchema } from '../../../revocation/detect/settings.ts';
import {
  type DetectionQuery,
  featuresSql,
  LOG_COLUMNS,
  type Relation,
  relations,
  TIMELINES,
  timelineRelations,
} from '../../../revocation/detect/sql.ts';
import { HOUR, SESSION } from '../../harness/access-logs.ts';
import { sqlParsers } from '../../harness/sql-parser.ts';

const V1: AthenaTable = {
  database: 'portcullis',
  table: 'access_logs',
  format: 'v1',
  location: 's3://logs.example.com/cf/',
  distributionId: 'E2EXAMPLE',
};
const PARQUET: AthenaTable = { ...V1, format: 'parquet' };

function query(table: AthenaTable, settings: v.InferInput<typeof DetectionSettingsSchema> = {}, tokenPrefix = '/') {
  return {
    settings: v.parse(DetectionSettingsSchema, settings),
    tokenPrefix,
    table: athenaLogTable(table),
    from: HOUR,
    to: HOUR + 7200,
    everySession: false,
  };
}

const statement = (parts: Relation[], select: string) =>
  `WITH ${parts.map(({ name, sql }) => `${name} AS (\n${sql}\n)`).join(',\n')}\n${select}`;

/** The text as a single statement: of the features, of timelines. */
const detectionSql = (asked: DetectionQuery & { everySession: boolean }) =>
  statement(relations(asked), featuresSql(asked.everySession));
const timelineSql = (asked: DetectionQuery, sessionIds: string[]) =>
  statement(timelineRelations(asked, sessionIds), TIMELINES);

/** All shapes that the text can have. */
const TEXTS: [name: string, sql: string][] = [
  ['session from the path, v1', detectionSql(query(V1))],
  ['session from the log field, Parquet', detectionSql(query(PARQUET))],
  ['a token after a path', detectionSql(query(V1, {}, '/live/event/'))],
  ['every session, no hosting networks', detectionSql({ ...query(V1, { hostingAsns: [] }), everySession: true })],
  ['timelines', timelineSql(query(V1), [SESSION, 'ZzZzZz987654'])],
  ['timelines, session from the log field', timelineSql(query(PARQUET), [SESSION])],
];

let parsers: Awaited<ReturnType<typeof sqlParsers>>;
beforeAll(async () => {
  parsers = await sqlParsers();
});

describe('the text is Trino', () => {
  test.each(TEXTS)('%s', (_, sql) => {
    expect(parsers.trino.validate(sql)).toEqual([]);
  });

  test('and what is no Trino is refused', () => {
    // The shortest: to say what was expected instead takes longer than all of the above.
    const sql = timelineSql(query(V1), [SESSION]);
    for (const words of ['GROUP BY', 'AS bigint)']) expect(sql).toContain(words);
    expect(parsers.trino.validate(sql.replace('GROUP BY', 'GROUP'))).not.toEqual([]);
    expect(parsers.trino.validate(sql.replace('AS bigint)', 'AS bigint'))).not.toEqual([]);
  });
});

describe('the tables are Hive', () => {
  test.each([V1, PARQUET])('$format', (table) => {
    const sql = createTableSql(table, HOUR);
    expect(parsers.hive.validate(sql)).toEqual([]);
    expect(parsers.hive.validate(sql.replace('EXTERNAL', 'EXTRENAL'))).not.toEqual([]);
  });

  test('of Parquet are partitioned by the hour of the path that the delivery writes', () => {
    const sql = createTableSql(PARQUET, HOUR);
    expect(sql).toContain(`'projection.hour.range' = '2026/11/22/14,NOW'`);
    expect(sql).toContain(`'storage.location.template' = 's3://logs.example.com/cf/E2EXAMPLE/\${hour}/'`);
  });

  test('have every column that is read', () => {
    for (const table of [V1, PARQUET]) {
      const sql = createTableSql(table, HOUR);
      for (const column of athenaLogTable(table).columns) expect(sql).toContain(`\`${column}\` string`);
    }
    expect(athenaLogTable(PARQUET).columns).toEqual(new Set(LOG_COLUMNS));
  });

  test('take no name that would have to be escaped', () => {
    for (const odd of [
      { table: 'a b' },
      { database: 'x"y' },
      { location: "s3://b/'; DROP" },
      { distributionId: "E'" },
    ]) {
      expect(() => createTableSql({ ...PARQUET, ...odd }, HOUR)).toThrow(TypeError);
    }
    expect(() => athenaLogTable({ ...V1, table: 'x"; --' })).toThrow(TypeError);
    expect(() => athenaLogTable({ ...V1, location: "s3://b/' OR" }).partitions?.(0, 1)).toThrow(TypeError);
  });
});

describe('Athena scans the hours of the request, and one at either end', () => {
  test('by the partition', () => {
    expect(detectionSql(query(PARQUET))).toContain(`"hour" >= '2026/11/22/13' AND "hour" <= '2026/11/22/17'`);
  });

  test('for timelines too, and keeps no line of another session', () => {
    const [lines] = timelineRelations(query(PARQUET), [SESSION, 'ZzZzZz987654']);
    expect(lines?.sql).toContain(`"hour" >= '2026/11/22/13' AND "hour" <= '2026/11/22/17'`);
    expect(lines?.sql).toMatch(new RegExp(`IN \\('${SESSION}', 'ZzZzZz987654'\\)$`));
  });

  test('by the names of the objects', () => {
    const start = 's3://logs.example.com/cf/E2EXAMPLE';
    expect(detectionSql(query(V1))).toContain(
      `"$path" >= '${start}.2026-11-22-13' AND "$path" < '${start}.2026-11-22-17.~'`,
    );
  });
});

/**
 * What Trino and DuckDB both have and mean differently: by zero, out of range, no match, NULL, boundaries
 * (shared/facts/aws-limits-and-analytics.md).
 */
const FORBIDDEN: [what: string, pattern: RegExp][] = [
  ['a division by what may be zero', /\/(?!\s*greatest\()/],
  ['a divisor of greatest that may be NULL or zero', /\/\s*greatest\((?![^\n]*CAST\(1(?:e-9)? AS double\)\))/],
  ['split_part without coalesce', /(?<!coalesce\()split_part\(/],
  [
    'regexp_extract whose miss is not dealt with',
    /(?<!nullif\(|TRY_CAST\()regexp_extract\((?![^\n]* IN \((?:SELECT|''))/,
  ],
  ['an approximation', /approx_/],
  ['lambdas', /transform\(|->/],
  ['an index into an array', /\w\[\d/],
  ['a cast that fails', /(?<!TRY_)CAST\("/],
  ['a list of expressions by number', /GROUP BY \d/],
  ['functions of one engine', /\b(?:len|epoch|strftime|list_\w+|string_split|regexp_matches|strlen|xxhash64)\(/],
  ['a comparison with NULL', /= NULL|<> NULL/],
];

/** A text without its string literals and its quoted names. */
const bare = (sql: string) => sql.replaceAll(/'(?:[^']|'')*'/g, "''");

describe('the text has nothing that the engines mean differently', () => {
  test.each(FORBIDDEN)('%s', (_, pattern) => {
    for (const [, sql] of TEXTS) expect(pattern.exec(bare(sql))?.[0]).toBeUndefined();
  });

  test('date_diff of anything but seconds', () => {
    for (const [, sql] of TEXTS) expect(/date_diff\('(?!second')/.exec(sql)?.[0]).toBeUndefined();
  });
});

describe('nothing from outside becomes SQL', () => {
  test('what is no session id is refused', () => {
    for (const odd of [["x' OR 1=1 --"], ['short'], [], [SESSION, `${SESSION}'`]]) {
      expect(() => timelineSql(query(PARQUET), odd)).toThrow(TypeError);
    }
  });

  test('a setting that holds a quote stays a text', () => {
    const { settings, ...rest } = query(PARQUET);
    const sql = detectionSql({ ...rest, settings: { ...settings, segmentPattern: "a'b" } });
    expect(sql).toContain("'a''b'");
    expect(parsers.trino.validate(sql)).toEqual([]);
  });
});
