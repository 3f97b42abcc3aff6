export type MigrationErrorCode =
  /** What was given as configuration is none of the AWS solution v1. */
  | 'ERR_MIGRATION_CONFIGURATION'
  /** What was given as a table is no export that can be read. */
  | 'ERR_MIGRATION_TABLE';

/** Why nothing is migrated; names lines and fields, never a value. */
export class MigrationError extends Error {
  readonly code: MigrationErrorCode;
  constructor(code: MigrationErrorCode, message: string) {
    super(message);
    this.name = 'MigrationError';
    this.code = code;
  }
}
