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
  const columns = format === 'v1' ? V1_COLUMNS : [...V1_COLUMNS, ...V2_FIELDS.map(columnOf)];
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
  return `${create}
PARTITIONED BY (\`hour\` string)
STORED AS PARQUET
LOCATION '${plain(location)}'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.hour.type' = 'date',
  'projection.hour.format' = 'yyyy/MM/dd/HH',
  'projection.hour.range' = '${hourOf(since).replaceAll(/[-T]/g, '/')},NOW',
  'projection.hour.interval' = '1',
  'projection.hour.interval.unit' = 'HOURS',
  'storage.location.template' = '${plain(location)}${plain(distributionId)}/\${hour}/'
)`;
}
