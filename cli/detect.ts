import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { loadAws } from '../config/aws.ts';
import { readConfiguration } from '../config/configuration.ts';
import type { Configuration } from '../config/schema.ts';
import { tokenPrefix } from '../edge-functions/build/settings.ts';
import { athenaQueries } from '../revocation/detect/athena-queries.ts';
import type { DetectionEngine, RefusedObject } from '../revocation/detect/detection-engine.ts';
import type { DetectionAlarm, DetectionRun } from '../revocation/detect/detection-runs.ts';
import { openDuckDbEngine } from '../revocation/detect/duckdb.ts';
import { type Evaluation, evaluate, type Finding } from '../revocation/detect/evaluate.ts';
import { logFiles, mayBeLog } from '../revocation/detect/files.ts';
import { type Decision, isAllowed, rehearse } from '../revocation/detect/guard.ts';
import { type DetectionWindow, END_OF_TIME } from '../revocation/detect/plan.ts';
import type { DetectionSettings } from '../revocation/detect/settings.ts';
import type { SuspiciousSession } from '../revocation/suspicious/suspicious-sessions.ts';
import type { Refusal } from '../token-api/vending/vending.ts';
import { apiCommand, callApi, callList, type StackAccess, stackOptions } from './api.ts';
import { alignColumns, EXIT_NO, formatTime, InputError, note, print, report, time } from './command.ts';
import { compare, qualityTable, readLabels } from './labels.ts';
import { startProgress } from './progress.ts';
import { STATES } from './revoked.ts';

const EXAMPLES = `
Examples:
  portcullis session detect --logs 'logs/**/*.gz' --dry-run            what detection would find in these logs
  portcullis session detect --logs logs/a.gz logs/b.gz --dry-run --json --all     every session, with its features
  portcullis session detect --logs /tmp/try/logs --dry-run --labels /tmp/try/labels.tsv      what it finds of simulated leaks
  portcullis session detect --athena --from 2026-11-22T12:00:00Z --to 2026-11-22T14:00:00Z --config portcullis.json --dry-run
  portcullis session detect                                            have the running stack look at its new logs now

A dry run needs no stack and changes nothing. It reads files on this machine (standard logs v1, and v2 as Parquet, JSON or w3c),
or has Athena read those in S3 (docs/athena.md; it costs money, and says how much). It says what a run in mode enforce would do
with each session if none had been revoked in the last hour: revoke it, leave it because it is allowed (the allow-list), stop
(the cap, or logs that prove nothing), or none of these. For logs of the local stack set segmentSeconds to 2 (--config), as it does.
A file that is no access log is named and left out. Exit code 1: some logs could not be read, or a run stopped at its cap; 2: none
could be read.`;

/** How long a run may take that the API is asked for, in milliseconds: as long as it gives one. */
const RUN_MS = 900_000;
/** How long the API may take to say that a run goes on, and how often it is asked then, in milliseconds. */
const ANSWER_MS = 30_000;
const POLL_MS = 2000;

interface DetectOptions extends StackAccess {
  logs?: string[];
  athena?: boolean;
  from?: number;
  to?: number;
  config?: string;
  dryRun?: boolean;
  all?: boolean;
  labels?: string;
}

/** `session detect` and `session suspicious`: what the access logs say about sessions. */
export function registerDetect(session: Command): void {
  stackOptions(session.command('detect').description('find shared and ripped sessions in access logs, and say why'))
    .option('--logs <glob...>', 'log files, by name or pattern; may be given several times')
    .option('--athena', 'have Athena read the logs, as revocation.athena of the configuration says')
    .option('--from <time>', 'what was requested from then on: 2026-11-22T12:00:00Z, or seconds since the epoch', time)
    .option('--to <time>', 'and before then; --athena needs both', time)
    .option('--config <file>', 'configuration (docs/configuration.md); the defaults without')
    .option('--dry-run', 'say what would be found in these logs, and change nothing')
    .option('--all', 'every session with its score, not only the suspicious ones')
    .option('--labels <file>', 'compare with what the sessions are: labels.tsv of session simulate')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (options: DetectOptions) => {
      if (options.dryRun) return dryRun(options);
      const { logs, athena, from, to, config, all, labels } = options;
      if (logs !== undefined || athena) {
        const why = 'a run that revokes reads the logs of its stack, whose ledger knows which of them are new';
        throw new InputError(`--logs and --athena are for a dry run: add --dry-run; ${why}`);
      }
      if ([from, to, config, all, labels].some((option) => option !== undefined)) {
        throw new InputError('--from, --to, --config, --all and --labels are for a dry run: add --dry-run');
      }
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
    await noteLastRun(options);
  });
}

/** Says when detection last looked, and what kept it from revoking: an empty list alone is no all-clear. */
async function noteLastRun(options: StackAccess): Promise<void> {
  const { status, body } = await callApi(options, 'GET', '/v1/detections/latest', undefined, {
    answers: ['ERR_DETECTION_NONE', 'ERR_DETECTION_RUNNING', 'ERR_DETECTION_OFF'],
  });
  if (status !== 200) return note(String(body.detail));
  const { checkedAt, mode, alarm } = body as unknown as DetectionRun;
  note(`detection last looked at ${formatTime(checkedAt)}, in mode ${mode}${alarm ? `; ${alarm.message}` : ''}`);
}

type Listed = Omit<SuspiciousSession, 'expiresAt'> & {
  title: string;
  lastSeen: number;
  revoked: boolean;
  source?: 'manual' | 'auto';
  restored?: boolean;
  /** Why it gets no later token, when it gets none. */
  reason?: Refusal;
};

function stateOf({
  revoked,
  source,
  restored,
  reason,
}: Pick<Listed, 'revoked' | 'source' | 'restored' | 'reason'>): string {
  if (revoked) return source === 'auto' ? 'revoked by detection' : 'revoked by hand';
  if (reason) return STATES[reason];
  return restored ? 'restored by hand' : 'live';
}

/** Evaluates logs, all of them together. */
async function dryRun({ logs, athena, from, to, config, all = false, labels, json }: DetectOptions): Promise<void> {
  const configuration = await readConfiguration(config);
  const labelled = labels === undefined ? undefined : await readLabels(labels);
  if ((logs === undefined) === (athena === undefined)) {
    throw new InputError('a dry run needs logs: either --logs <glob> or --athena with --from and --to');
  }
  const { engine, window } = logs
    ? await openFiles(configuration, logs, from, to)
    : await openAthena(configuration, from, to);
  const settings = configuration.revocation.detection;
  const wanted = { windows: [window], everySession: all, plotAtMost: 0 };
  await closing(engine, async () => {
    const progress = startProgress();
    const evaluation = await evaluate(engine, settings, wanted, progress.update).finally(() => progress.stop());
    const { rows, sessionCount, odd, proven, located, cost } = evaluation;
    const { refused, notLogs } = await sortRefused(evaluation.refused);
    const decision = await rehearse(evaluation, settings);
    const findings = evaluation.findings.map((finding) => ({
      ...finding,
      enforce: actionOf(finding, settings, decision),
    }));
    const sessions = findings.map(
      ({ sessionId: _, timeline: __, features: { sessionId, ...features }, ...finding }) => {
        return { sessionId, ...finding, ...features };
      },
    );
    const quality = labelled && compare(labelled, evaluation);
    const enforce = { revoke: decision.revoke.length, alarm: decision.alarm };
    const known = { rows, sessionCount, odd, proven, located, refused, notLogs, mode: settings.mode, enforce, cost };
    print(json, { sessions, ...known, labels: quality }, [
      ...(findings.length > 0 ? sessionTable(['title', 'verdict', 'in mode enforce'], findings.map(row)) : []),
      `${sessionCount} sessions in ${rows} lines: ${summary(findings)}${cost ? `; $${cost.usd.toFixed(4)}` : ''}`,
      `mode enforce would revoke ${decision.revoke.length || 'none'} of them (the mode is ${settings.mode})`,
      ...(quality ? qualityTable(quality) : []),
    ]);
    for (const name of notLogs) note(`left out: ${name}: it is no access log`);
    nameRefused(refused);
    noteMissing(evaluation, settings, decision.alarm);
  });
}

/** What a run in mode `enforce` would do with a session. */
type Action = 'revoke' | 'allowed' | 'stopped' | 'none';

function actionOf(finding: Finding, { allow }: DetectionSettings, { alarm }: Decision): Action {
  if (finding.verdict !== 'auto') return 'none';
  if (isAllowed(finding, allow)) return 'allowed';
  return alarm ? 'stopped' : 'revoke';
}

/** Says what the logs lack, and what would stop a run. */
function noteMissing({ rows, proven, located }: Evaluation, settings: DetectionSettings, alarm?: DetectionAlarm): void {
  if (alarm) note(`a run in mode enforce would alarm: ${alarm.message}`);
  else if (rows > 0 && !proven && settings.unprovenLogs === 'review') {
    note(
      'these logs do not say what the edge allowed (viewer-request-log-data): in mode enforce nothing is revoked by them',
    );
  }
  if (rows > 0 && !located) {
    note(
      'these logs lack asn or c-country: every session counts as one operator and country, and less is found (docs/detection.md, ' +
        'Without operators and countries)',
    );
  }
}

/** Which of the objects that could not be read are logs; the names of the others. */
async function sortRefused(objects: RefusedObject[]): Promise<{ refused: RefusedObject[]; notLogs: string[] }> {
  const refused: RefusedObject[] = [];
  const notLogs: string[] = [];
  for (const object of objects) {
    const isLog = object.mayPass || (await mayBeLog(object.name).catch(() => true));
    if (isLog) refused.push(object);
    else notLogs.push(object.name);
  }
  return { refused, notLogs };
}

/**
 * Does some work with an engine and closes it, when a signal ends the process too: what viewers watched stays in no temporary
 * folder, and no query goes on.
 */
async function closing(engine: DetectionEngine, work: () => Promise<void>): Promise<void> {
  let ending: Promise<never> | undefined;
  const end = (signal: 'SIGINT' | 'SIGTERM') => {
    ending ??= engine.close().then(() => process.exit(128 + constants.signals[signal]));
  };
  process.once('SIGINT', end).once('SIGTERM', end);
  try {
    await work();
  } finally {
    // Nothing more is said of work that was ended.
    await ending;
    process.off('SIGINT', end).off('SIGTERM', end);
    await engine.close();
  }
}

/** What is evaluated, and what reads it. */
interface Source {
  engine: DetectionEngine;
  window: DetectionWindow;
}

/** Files on this machine. */
async function openFiles(
  { edge, revocation }: Configuration,
  patterns: string[],
  from = 0,
  to = END_OF_TIME,
): Promise<Source> {
  if (from >= to) throw new InputError('--to must be later than --from');
  const objects = await logFiles(patterns).list(0);
  if (objects.length === 0) throw new InputError(`there are no log files in ${patterns.join(', ')}`);
  const engine = await openDuckDbEngine({ detection: revocation.detection, tokenPrefix: tokenPrefix(edge) });
  return { engine, window: { from, to, objects } };
}

/** The logs in S3, through Athena, in the account of the environment. */
async function openAthena({ edge, revocation }: Configuration, from?: number, to?: number): Promise<Source> {
  const { athena, detection } = revocation;
  if (athena === undefined) {
    throw new InputError(
      '--athena needs revocation.athena in the configuration: give it with --config (docs/athena.md)',
    );
  }
  if (from === undefined || to === undefined || from >= to) {
    throw new InputError(
      '--athena needs --from <time> and a later --to <time>: it scans, and charges for, the hours between',
    );
  }
  const { athenaClient, athenaEngine } = await loadAws(() => import('../revocation/detect/athena.ts'));
  const queries = athenaQueries(detection, athena, tokenPrefix(edge));
  return { engine: athenaEngine(athenaClient(athena), athena, queries, sleep), window: { from, to, objects: [] } };
}

function row({ sessionId, score, reasons, verdict, features, enforce }: Finding & { enforce: Action }) {
  return { sessionId, score, reasons, cells: [features.title, verdict, enforce] };
}

function summary(findings: Finding[]): string {
  const count = (verdict: string) => findings.filter((finding) => finding.verdict === verdict).length;
  return `${count('review')} for review, ${count('auto')} auto`;
}

/** Has the running stack look at its new logs. */
async function runOnStack(options: DetectOptions): Promise<void> {
  const { status, body } = await callApi(options, 'POST', '/v1/detections', undefined, { patienceMs: ANSWER_MS });
  const run = (status === 202 ? await awaitRun(options, Number(body.startedAt)) : body) as unknown as DetectionRun;
  const { objects, rows, sessionCount, flagged, revoked, mode, alarm, refused } = run;
  const found = `${sessionCount} sessions in ${rows} lines of the last hours: ${flagged} suspicious, ${revoked} revoked (mode ${mode})`;
  print(options.json, run, [objects === 0 ? 'there are no new log lines' : found]);
  nameRefused(refused);
  if (!alarm) return;
  note(alarm.message);
  process.exitCode = EXIT_NO;
}

/** Waits for the run that began then or later, and resolves to what it did. */
async function awaitRun(options: StackAccess, startedAt: number): Promise<Record<string, unknown>> {
  if (process.stderr.isTTY) report('detection is running; this waits for what it finds');
  for (let waited = 0; waited < RUN_MS; waited += POLL_MS) {
    const answers = ['ERR_DETECTION_RUNNING', 'ERR_DETECTION_NONE'];
    const { body } = await callApi(options, 'GET', '/v1/detections/latest', undefined, { answers });
    if (Number(body.checkedAt) >= startedAt) return body;
    const isRunning = body.running === true || body.code === 'ERR_DETECTION_RUNNING';
    if (!isRunning) throw new InputError('the run of detection failed; the log of the API says why');
    await sleep(POLL_MS);
  }
  throw new InputError('detection has not come to an end in time; GET /v1/detections/latest has what it finds');
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
