import { columnOf, STANDARD_FIELDS, V2_FIELDS } from './log-fields.ts';
import { LOG_COLUMNS, type LogTable } from './sql.ts';

/** A table of access logs in the Glue catalogue that Athena reads. */
export interface AthenaTable {
  database: string;
  table: string;
  /**
   * `v1`: standard logs (legacy), gzipped text, all objects of a distribution side by side. `parquet`: standard logs v2 as Parquet,
   * delivered with the suffix path `{DistributionId}/{yyyy}/{MM}/{dd}/{HH}`.
   */
  format: 'v1' | 'parquet';
  /** Where the log delivery writes to, ending in a slash: `s3://bucket/prefix/`. */
  location: string;
  distributionId: string;
}

const V1_COLUMNS = STANDARD_FIELDS.map(columnOf);

/** Columns of a table of Parquet, all of them text; what a delivery leaves out is NULL. */
export const PARQUET_COLUMNS = [...V1_COLUMNS, ...V2_FIELDS.map(columnOf)];

/** The path that a log delivery of Parquet writes below its location: what the table's partitions are. */
export const SUFFIX_PATH = '{DistributionId}/{yyyy}/{MM}/{dd}/{HH}';

/** The column that a table of Parquet is partitioned by, like `2026/11/22/14`. */
export const PARTITION_COLUMN = 'hour';

/**
 * Properties of a table of Parquet: its partitions are worked out, not looked up (Athena User Guide, "Partition projection").
 * `objects`: location with the distribution's id; `range`: hours that there may be logs of.
 */
export function projection(objects: string, range: string): Record<string, string> {
  return {
    'projection.enabled': 'true',
    [`projection.${PARTITION_COLUMN}.type`]: 'date',
    [`projection.${PARTITION_COLUMN}.format`]: 'yyyy/MM/dd/HH',
    [`projection.${PARTITION_COLUMN}.range`]: range,
    [`projection.${PARTITION_COLUMN}.interval`]: '1',
    [`projection.${PARTITION_COLUMN}.interval.unit`]: 'HOURS',
    'storage.location.template': `${objects}/\${${PARTITION_COLUMN}}/`,
  };
}

/** `2026-11-22T14` of a time in seconds. */
const hourOf = (seconds: number) => new Date(seconds * 1000).toISOString().slice(0, 13);

/**
 * Hours that may hold lines of the times from `from` to `to`: the name of a log object says when its requests were, but not to
 * the second, so one hour more at either end.
 */
const hours = (from: number, to: number) => [hourOf(from - 3600), hourOf(to + 3600)] as const;

/** An identifier of Trino, and one of Hive. Throws a `TypeError` for what would have to be escaped. */
function identifier(name: string): string {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,254}$/.test(name)) throw new TypeError(`${name} is no name of a database or table`);
  return name;
}

/** A location or id in a text between quotes. Throws a `TypeError` for what could end it. */
function plain(value: string): string {
  if (!/^[A-Za-z0-9:/._=-]+$/.test(value)) throw new TypeError(`${value} is no location in S3 and no distribution id`);
  return value;
}

/** The table as `sql.ts` reads it, restricted to the hours of the request so that Athena scans no others. */
export function athenaLogTable({ database, table, format, location, distributionId }: AthenaTable): LogTable {
  const objects = `${plain(location)}${plain(distributionId)}`;
  return {
    name: `"${identifier(database)}"."${identifier(table)}"`,
    columns: new Set(LOG_COLUMNS.filter((column) => format === 'parquet' || V1_COLUMNS.includes(column))),
    partitions(from, to) {
      const [first, last] = hours(from, to);
      // Trino leaves out objects by the range of their names: <distribution>.<yyyy-MM-dd-HH>.<unique>.gz
      const name = (hour: string) => `${objects}.${hour.replace('T', '-')}`;
      const hour = (value: string) => value.replaceAll(/[-T]/g, '/');
      return format === 'v1'
        ? `"$path" >= '${name(first)}' AND "$path" < '${name(last)}.~'`
        : `"hour" >= '${hour(first)}' AND "hour" <= '${hour(last)}'`;
    },
  };
}

/**
 * The statement that makes the table, in the language of Hive (Athena User Guide, "Partition projection"). `since` is the first
 * hour that there are logs of, seconds since the epoch; standard logs v1 lie in one folder, so that there is nothing to
 * partition by.
 */
export function createTableSql(athenaTable: AthenaTable, since: number): string {
  const { database, table, format, location, distributionId } = athenaTable;
  const columns = format === 'v1' ? V1_COLUMNS : PARQUET_COLUMNS;
  const create = `CREATE EXTERNAL TABLE IF NOT EXISTS \`${identifier(database)}\`.\`${identifier(table)}\` (
${columns.map((column) => `  \`${column}\` string`).join(',\n')}
)`;
  if (format === 'v1') {
    return `${create}
ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe'
WITH SERDEPROPERTIES ('field.delim' = '\\t', 'serialization.format' = '\\t')
STORED AS TEXTFILE
LOCATION '${plain(location)}'
TBLPROPERTIES ('skip.header.line.count' = '2')`;
  }
  const properties = projection(
    `${plain(location)}${plain(distributionId)}`,
    `${hourOf(since).replaceAll(/[-T]/g, '/')},NOW`,
  );
  return `${create}
PARTITIONED BY (\`${PARTITION_COLUMN}\` string)
STORED AS PARQUET
LOCATION '${plain(location)}'
TBLPROPERTIES (
${Object.entries(properties)
  .map(([name, value]) => `  '${name}' = '${value}'`)
  .join(',\n')}
)`;
}
