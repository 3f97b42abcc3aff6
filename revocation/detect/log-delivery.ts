import { PARQUET_COLUMNS, PARTITION_COLUMN, projection, SUFFIX_PATH } from './athena-table.ts';
import { columnOf, type LogField, STANDARD_FIELDS, V2_FIELDS } from './log-fields.ts';
import { LOG_COLUMNS } from './sql.ts';

/** The field with the whole path, which holds the token: whoever reads it can play until that expires. */
export const ADDRESS_FIELD = 'cs-uri-stem';

/** Fields that detection has no use for, and people who look into a session have. */
const FOR_PEOPLE: readonly LogField[] = ['sc-bytes', 'time-taken', 'x-edge-result-type', 'x-edge-request-id'];

const READ: readonly string[] = LOG_COLUMNS;

/**
 * Access logs as they are delivered and read on AWS: standard logs v2 as Parquet (CloudFront Developer Guide, "Standard logging
 * (v2)"). `infra/` makes delivery and table of it.
 */
export const ACCESS_LOGS = {
  /** What is delivered of a request: what detection reads, without the address; and a little for people. */
  fields: [...STANDARD_FIELDS, ...V2_FIELDS].filter(
    (field) => field !== ADDRESS_FIELD && (READ.includes(columnOf(field)) || FOR_PEOPLE.includes(field)),
  ),
  addressField: ADDRESS_FIELD,
  /** What the function logged of its decision: `<session>,<reason or allowed>,<path>` (docs/edge.md). */
  decisionField: 'viewer-request-log-data',
  suffixPath: SUFFIX_PATH,
  columns: PARQUET_COLUMNS,
  partitionColumn: PARTITION_COLUMN,
  /** Of the table, with `${Objects}` for location and distribution, and `${Range}` for the hours. */
  // biome-ignore lint/suspicious/noTemplateCurlyInString: filled in by infra/.
  tableProperties: projection('${Objects}', '${Range}'),
} as const;

export type AccessLogs = typeof ACCESS_LOGS;
