import type { Command } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import { createTableSql } from '../revocation/detect/athena-table.ts';
import { InputError, print, time } from './command.ts';

const EXAMPLES = `
Examples:
  portcullis session athena-table --config portcullis.json --since 2026-11-01T00:00:00Z
  aws athena start-query-execution --work-group portcullis-detection \\
    --query-string "$(portcullis session athena-table --config portcullis.json --since 2026-11-01T00:00:00Z)"

It asks AWS nothing. docs/athena.md has the configuration, and what else is to be set up.`;

interface AthenaTableOptions {
  config: string;
  since?: number;
  json?: boolean;
}

/** Adds `athena-table` to the command `session`. */
export function registerAthenaTable(session: Command): void {
  session
    .command('athena-table')
    .description('print the statement that makes the table of access logs in Athena')
    .requiredOption('--config <file>', 'configuration with revocation.athena (docs/athena.md)')
    .option('--since <time>', 'first hour that there are logs of; Parquet needs it, v1 has no hours', time)
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async ({ config, since, json }: AthenaTableOptions) => {
      const { athena } = (await readConfiguration(config)).revocation;
      if (athena === undefined) throw new InputError(`${config} has no revocation.athena (docs/athena.md)`);
      if (athena.format === 'parquet' && since === undefined) {
        throw new InputError('the table of Parquet logs needs --since <time>: the first hour that there are logs of');
      }
      const sql = createTableSql(athena, since ?? 0);
      const { database, table, region } = athena;
      print(json, { database, table, region, sql }, sql.split('\n'));
    });
}
