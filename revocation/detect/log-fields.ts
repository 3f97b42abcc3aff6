/** The 33 fields of CloudFront standard logs, in their order (CloudFront Developer Guide, "Standard logging reference"). */
export const STANDARD_FIELDS = [
  'date',
  'time',
  'x-edge-location',
  'sc-bytes',
  'c-ip',
  'cs-method',
  'cs(Host)',
  'cs-uri-stem',
  'sc-status',
  'cs(Referer)',
  'cs(User-Agent)',
  'cs-uri-query',
  'cs(Cookie)',
  'x-edge-result-type',
  'x-edge-request-id',
  'x-host-header',
  'cs-protocol',
  'cs-bytes',
  'time-taken',
  'x-forwarded-for',
  'ssl-protocol',
  'ssl-cipher',
  'x-edge-response-result-type',
  'cs-protocol-version',
  'fle-status',
  'fle-encrypted-fields',
  'c-port',
  'time-to-first-byte',
  'x-edge-detailed-result-type',
  'sc-content-type',
  'sc-content-len',
  'sc-range-start',
  'sc-range-end',
] as const;

/**
 * Fields that standard logs v2 may have beside them, of those that we use: the operator of the viewer's network, its country,
 * what the viewer-request function logged of its decision.
 */
export const V2_FIELDS = ['asn', 'c-country', 'viewer-request-log-data'] as const;

/** Columns of operator and country, which standard logs v1 lack. */
export const LOCATING_COLUMNS = ['asn', 'c_country'] as const;

/**
 * Whether the logs say operator and country of each viewer. Without them (standard logs v1) every session counts as one of each,
 * and what needs several is not found.
 */
export function isLocated(columns: ReadonlySet<string>): boolean {
  return LOCATING_COLUMNS.every((column) => columns.has(column));
}

export type LogField = (typeof STANDARD_FIELDS)[number] | (typeof V2_FIELDS)[number];

/**
 * The column of a field as v2 Parquet names it, whatever format the name is from: `cs(User-Agent)` and `cs-user-agent` are
 * `cs_user_agent`.
 */
export function columnOf(field: string): string {
  return field
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .replace(/_$/, '');
}
