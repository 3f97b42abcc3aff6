import * as v from 'valibot';

/** A name in the Glue Data Catalog that needs no escaping (`identifier` in `athena-table.ts`). */
const catalogName = v.pipe(
  v.string(),
  v.regex(/^[a-z_][a-z0-9_]{0,127}$/, 'must be lower-case letters, digits and underscores, no digit first'),
);

/** What can be configured of reading logs with Athena. */
export const AthenaSettingsSchema = v.strictObject({
  database: catalogName,
  /** The table of access logs (docs/access-logs.md has its DDL). */
  table: catalogName,
  /** What the log delivery writes: standard logs v1, or v2 as Parquet. */
  format: v.optional(v.picklist(['v1', 'parquet']), 'parquet'),
  /** Where it writes to: `s3://bucket/prefix/`. */
  location: v.pipe(
    v.string(),
    v.regex(/^s3:\/\/[A-Za-z0-9/._=-]+\/$/, "must be a location in S3 that ends in a slash, like 's3://logs/cdn/'"),
  ),
  distributionId: v.pipe(v.string(), v.regex(/^[A-Z0-9]{1,32}$/, 'must be the id of a distribution')),
  /** A workgroup with a location for results and a limit on the bytes that a query may scan. */
  workgroup: v.pipe(v.string(), v.regex(/^[\w.-]{1,128}$/, 'must be the name of a workgroup')),
  /** The region of the environment when undefined. */
  region: v.optional(v.pipe(v.string(), v.regex(/^[a-z0-9-]{1,32}$/, 'must be a region like eu-central-1'))),
  /** The limit that the workgroup must not exceed, in bytes (`BytesScannedCutoffPerQuery`); 100 GiB cost half a dollar. */
  bytesScannedLimit: v.optional(v.pipe(v.number(), v.integer(), v.minValue(10_000_000)), 100 * 1024 ** 3),
});

export type AthenaSettings = v.InferOutput<typeof AthenaSettingsSchema>;
