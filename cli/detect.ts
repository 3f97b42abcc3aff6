import type { Command } from 'commander';
import { readConfiguration } from '../config/configuration.ts';
import { tokenPrefix } from '../edge-functions/build/settings.ts';
import type { RefusedObject } from '../revocation/detect/detection-engine.ts';
import type { DetectionRun } from '../revocation/detect/detection-runs.ts';
import { openDuckDbEngine } from '../revocation/detect/duckdb.ts';
import { evaluate, type Finding } from '../revocation/detect/evaluate.ts';
import { logFiles } from '../revocation/detect/files.ts';
import { END_OF_TIME } from '../revocation/detect/plan.ts';
import type { SuspiciousSession } from '../revocation/suspicious/suspicious-sessions.ts';
import { apiCommand, callApi, callList, type StackAccess, stackOptions } from './api.ts';
import { alignColumns, EXIT_NO, formatTime, InputError, note, print } from './command.ts';
import { startProgress } from './progress.ts';

const EXAMPLES = `
Examples:
  portcullis session detect --logs 'logs/**/*.gz' --dry-run            what detection would find in these logs
  portcullis session detect --logs logs/a.gz logs/b.gz --dry-run --json --all     every session, with its features
  portcullis session detect                                            have the running stack look at its new logs now

A dry run reads files on this machine, needs no stack, and changes nothing. Log formats: standard logs v1, and v2 as Parquet,
JSON or w3c. Exit code 1: some log files could not be read, or a run stopped at its cap; 2: none could be read.`;

/** How long a run may take that the API is asked for, in milliseconds: as long as it gives one. */
const RUN_MS = 900_000;

interface DetectOptions extends StackAccess {
  logs?: string[];
  config?: string;
  dryRun?: boolean;
  all?: boolean;
}

/** `session detect` and `session suspicious`: what the access logs say about sessions. */
export function registerDetect(session: Command): void {
  stackOptions(session.command('detect').description('find shared and ripped sessions in access logs, and say why'))
    .option('--logs <glob...>', 'log files, by name or pattern; may be given several times')
    .option('--config <file>', 'configuration (docs/configuration.md); the defaults without')
    .option('--dry-run', 'say what would be found in --logs, and change nothing')
    .option('--all', 'every session with its score, not only the suspicious ones')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: DetectOptions) => {
      if (options.dryRun) return dryRun(options);
      const { logs, config, all } = options;
      if (logs !== undefined) {
        const why = 'a run that revokes reads the logs of its stack, whose ledger knows which of them are new';
        throw new InputError(`--logs is for a dry run: add --dry-run; ${why}`);
      }
      if (config !== undefined || all) throw new InputError('--config and --all are for a dry run: add --dry-run');
      return runOnStack(options);
    });

  apiCommand(
    session,
    'suspicious',
    'list the suspicious sessions, and say why',
    'portcullis session suspicious',
  ).action(async (options: StackAccess) => {
    const sessions = (await callList(options, '/v1/sessions/suspicious', 'sessions')) as Listed[];
    const rows = sessions.map(({ title, lastSeen, ...rest }) => ({
      ...rest,
      cells: [title, formatTime(lastSeen), stateOf(rest)],
    }));
    const lines =
      sessions.length > 0 ? sessionTable(['title', 'last seen', 'state'], rows) : ['no suspicious sessions'];
    print(options.json, { sessions }, lines);
  });
}

type Listed = Omit<SuspiciousSession, 'expiresAt'> & {
  title: string;
  lastSeen: number;
  revoked: boolean;
  source?: 'manual' | 'auto';
  restored?: boolean;
};

function stateOf({ revoked, source, restored }: Pick<Listed, 'revoked' | 'source' | 'restored'>): string {
  if (revoked) return source === 'auto' ? 'revoked by detection' : 'revoked by hand';
  return restored ? 'restored by hand' : 'live';
}

/** Evaluates log files on this machine, all of them together. */
async function dryRun({ logs, config, all = false, json }: DetectOptions): Promise<void> {
  if (logs === undefined) throw new InputError('a dry run needs logs: --logs <glob>');
  const { edge, revocation } = await readConfiguration(config);
  const settings = revocation.detection;
  const objects = await logFiles(logs).list(0);
  if (objects.length === 0) throw new InputError(`no file matches ${logs.join(' ')}; quote a pattern for the command`);
  const progress = startProgress();
  const engine = await openDuckDbEngine({ detection: settings, tokenPrefix: tokenPrefix(edge) });
  try {
    const window = { from: 0, to: END_OF_TIME, objects };
    const { findings, rows, sessionCount, odd, refused } = await evaluate(
      engine,
      [window],
      settings,
      all,
      progress.update,
    ).finally(() => progress.stop());
    const sessions = findings.map(({ sessionId: _, window: __, features: { sessionId, ...features }, ...finding }) => {
      return { sessionId, ...finding, ...features };
    });
    print(json, { sessions, rows, sessionCount, odd, refused }, [
      ...(findings.length > 0 ? sessionTable(['title', 'verdict'], findings.map(row)) : []),
      `${sessionCount} sessions in ${rows} lines of ${objects.length} files: ${summary(findings)}`,
    ]);
    nameRefused(refused);
  } finally {
    await engine.close();
  }
}

function row({ sessionId, score, reasons, verdict, features }: Finding) {
  return { sessionId, score, reasons, cells: [features.title, verdict] };
}

function summary(findings: Finding[]): string {
  const count = (verdict: string) => findings.filter((finding) => finding.verdict === verdict).length;
  return `${count('review')} for review, ${count('auto')} beyond doubt`;
}

/** Has the running stack look at its new logs. */
async function runOnStack(options: DetectOptions): Promise<void> {
  const { body } = await callApi(options, 'POST', '/v1/detections', undefined, { patienceMs: RUN_MS });
  const run = body as unknown as DetectionRun;
  const { objects, rows, sessionCount, flagged, revoked, mode, alarm, refused } = run;
  const found = `${sessionCount} sessions in ${rows} lines of the last hours: ${flagged} suspicious, ${revoked} revoked (mode ${mode})`;
  print(options.json, run, [objects === 0 ? 'there are no new log lines' : found]);
  nameRefused(refused);
  if (!alarm) return;
  note(alarm.message);
  process.exitCode = EXIT_NO;
}

function nameRefused(refused: RefusedObject[]): void {
  for (const { name, why } of refused) note(`not read: ${name}: ${why}`);
  if (refused.length > 0) process.exitCode = EXIT_NO;
}

/** A table of sessions with the reasons below each. */
function sessionTable(
  columns: string[],
  sessions: { score: number; sessionId: string; reasons: string[]; cells: string[] }[],
): string[] {
  const cells = sessions.map((session) => [session.score.toFixed(1), session.sessionId, ...session.cells]);
  const [header = '', ...rows] = alignColumns([['score', 'session', ...columns], ...cells]);
  return [
    header,
    ...rows.flatMap((line, i) => [line, ...(sessions[i]?.reasons ?? []).map((reason) => `       ${reason}`)]),
  ];
}
