import type { Command } from 'commander';
import type { Configuration } from '../config/schema.ts';
import { alignColumns, EXIT_NO, print } from './command.ts';
import { ACCOUNT_CHECKS, identify, runAccountCheck } from './doctor/account.ts';
import { checkConfiguration, type NamedFinding } from './doctor/configuration.ts';
import { type Finding, type Status, unchecked } from './doctor/finding.ts';
import { MACHINE_CHECKS } from './doctor/machine.ts';

const EXAMPLES = `
Examples:
  portcullis doctor                                  this machine and, with credentials, the account
  portcullis doctor --config portcullis.json         and whether that configuration can be deployed there
  portcullis doctor --config portcullis.json --no-account --json

It only reads. Exit code 0: nothing failed; 1: something did, and the line says what to do. What is missing and only switches
something off is a warning.`;

/** A line of the answer. */
type Check = NamedFinding & { about: 'machine' | 'configuration' | 'account' };

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('check this machine, a configuration and, with credentials, the AWS account')
    .option('--config <file>', 'configuration to check (docs/configuration.md); the defaults without')
    .option('--no-account', 'ask AWS nothing, even with credentials')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: DoctorOptions) => {
      const machine = await Promise.all(
        MACHINE_CHECKS.map(async ({ name, check }) => ({ about: 'machine' as const, name, ...(await check()) })),
      );
      const { configuration, findings } = await checkConfiguration(options.config);
      const checks: Check[] = [
        ...machine,
        ...findings.map((finding) => ({ about: 'configuration' as const, ...finding })),
        ...(await checkAccount(configuration, options.account)),
      ];
      const isWell = checks.every(({ status }) => status !== 'failed');
      print(options.json, { ok: isWell, checks }, report(checks));
      if (!isWell) process.exitCode = EXIT_NO;
    });
}

interface DoctorOptions {
  config?: string;
  account: boolean;
  json?: boolean;
}

async function checkAccount(configuration: Configuration | undefined, isAsked: boolean): Promise<Check[]> {
  const line = (name: string, { status, says }: Finding): Check => ({ about: 'account', name, status, says });
  if (!isAsked) return [line('credentials', unchecked('not checked: --no-account'))];
  if (!configuration) return [line('credentials', unchecked('not checked: the configuration cannot be used'))];
  const { account, ...identity } = await identify(configuration.aws.region);
  const rows = ACCOUNT_CHECKS.filter(({ appliesTo }) => appliesTo(configuration));
  const found = rows.map(async (row) => {
    if (account === undefined) return line(row.name, unchecked('not checked: no credentials'));
    return line(row.name, await runAccountCheck(row, configuration, account));
  });
  return [line('credentials', identity), ...(await Promise.all(found))];
}

const MARKS: Record<Status, string> = { ok: 'ok', warning: 'warning', failed: 'FAILED', unchecked: '-' };

function report(checks: Check[]): string[] {
  const sections = ['machine', 'configuration', 'account'] as const;
  const lines = sections.flatMap((section) => {
    const rows = checks.filter(({ about }) => about === section);
    return [section, ...alignColumns(rows.map(({ name, status, says }) => [`  ${MARKS[status]}`, name, says])), ''];
  });
  const count = (status: Status) => checks.filter((check) => check.status === status).length;
  return [...lines, `${count('failed')} failed, ${count('warning')} warnings, ${count('unchecked')} not checked`];
}
