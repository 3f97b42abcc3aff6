import { type Command, Option } from 'commander';
import { LOG_FORMATS, type LogFormat } from '../revocation/simulate/log-lines.ts';
import { simulate } from '../revocation/simulate/simulate.ts';
import { alignColumns, formatTime, InputError, integer, print, time } from './command.ts';
import { startProgress } from './progress.ts';

/** The start of the traffic unless told otherwise: a fixed time, so that a seed means the same traffic on any day. */
const DEFAULT_START = 1_767_225_600; // 2026-01-01T00:00:00Z

const EXAMPLES = `
Examples:
  portcullis session simulate --out /tmp/logs                                 500 sessions in six hours, as standard logs v1
  portcullis session simulate --out /tmp/logs --seed 7 --sessions 5000 --hours 24 --format parquet
  portcullis session simulate --out /tmp/logs --format json --no-uri          logs without tokens, v2 only
  portcullis session detect --logs '/tmp/logs/logs/*.gz' --dry-run --all      what detection makes of them

The folder then holds logs/ (named as CloudFront names them), labels.tsv (what each session is), objects.tsv (when each log
object would have arrived) and summary.json. The same options give the same content. Nobody's data is in it: addresses are
of ranges that nobody has, tokens are random. Exit code 2 when the folder is not empty or cannot be written to
(ERR_SIMULATION_FOLDER), or Parquet is asked for and DuckDB is not installed (ERR_SIMULATION_SETUP).`;

interface SimulateOptions {
  out: string;
  seed: number;
  sessions: number;
  hours: number;
  start: number;
  format: LogFormat;
  uri: boolean;
  json?: boolean;
}

/** Adds `simulate` to the command `session`. */
export function registerSimulate(session: Command): void {
  session
    .command('simulate')
    .description('write the logs of simulated viewers, sharers and rippers, to try detection and to size a system')
    .requiredOption('--out <dir>', 'a new or empty folder')
    .option('--seed <n>', 'number that all chance comes from', integer(0, 2 ** 32 - 1), 1)
    .option('--sessions <n>', 'playback sessions', integer(1, 10_000_000), 500)
    .option('--hours <n>', 'hours of traffic', integer(1, 744), 6)
    .option('--start <time>', 'when it begins, 2026-11-22T12:00:00Z or seconds since the epoch', time, DEFAULT_START)
    .addOption(new Option('--format <name>', 'format of the logs').choices(LOG_FORMATS).default('v1'))
    .option('--no-uri', 'leave out cs-uri-stem, which holds tokens; the session is in viewer-request-log-data (v2)')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async ({ out, seed, sessions, hours, start, format, uri, json }: SimulateOptions) => {
      if (!uri && format === 'v1')
        throw new InputError('standard logs v1 always hold cs-uri-stem: choose another --format');
      const progress = startProgress();
      const request = { seed, sessions, from: start, to: start + hours * 3600, format, uri };
      const simulation = await simulate(out, request, (done, total) =>
        progress.update('simulating', done, total),
      ).finally(progress.stop);
      const { lines, objects, bytes, scenarios } = simulation;
      const number = (value: number) => value.toLocaleString('en');
      print(json, simulation, [
        `${number(lines)} lines of ${number(sessions)} sessions, ${formatTime(start)} and ${hours} h, in ${number(objects)} objects of ${number(bytes)} bytes`,
        ...alignColumns([
          ['scenario', 'kind', 'sessions', 'lines'],
          ...scenarios.map((row) => [row.name, row.kind, number(row.sessions), number(row.lines)]),
        ]),
      ]);
    });
}
