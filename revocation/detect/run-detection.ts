import type { RevocationList } from '../list/revocation-list.ts';
import type { SuspiciousSessions } from '../suspicious/suspicious-sessions.ts';
import { type DetectionEngine, DetectionError, type ReportProgress } from './detection-engine.ts';
import type { DetectionRun } from './detection-runs.ts';
import { type Evaluation, evaluate, type Finding } from './evaluate.ts';
import { type Decision, guard } from './guard.ts';
import type { Ledger, LogObjects, SettledObject } from './log-objects.ts';
import { type DetectionPlan, planRun } from './plan.ts';
import type { DetectionSettings } from './settings.ts';

/** What detection counts. */
export type DetectionMetric =
  | 'DetectionLag'
  | 'SuspiciousSessions'
  | 'AutoRevocations'
  | 'DetectionCapHit'
  | 'DetectionFailed';

/** What a run of detection needs. */
export interface DetectionPorts {
  logs: LogObjects;
  ledger: Ledger;
  engine: DetectionEngine;
  suspicious: SuspiciousSessions;
  list: RevocationList;
  /** Has what enforces the list learn what it says of these sessions. Called again with the same after a failure. */
  publish: (sessionIds: string[]) => Promise<unknown>;
  /** How long a revocation has to live, in seconds: maximum token lifetime plus leeway. */
  revocationSeconds: number;
  /** What the last run did that had something to do. */
  latest: () => Promise<DetectionRun | undefined>;
  /** Seconds since the epoch. */
  now: () => number;
  /** Told what people should know of a run, a line at a time. */
  report: (line: string) => void;
  metric: (name: DetectionMetric, value: number) => void;
}

/** How late a log object may come, in seconds: a day (AWS, "Timing of standard log file delivery"). */
const LATE_SECONDS = 86_400;
/** How long a suspicious session is remembered, in seconds. */
const REMEMBERED_SECONDS = 7 * 86_400;
/** Sessions that a run records, those with the highest scores: nobody reads more, and a flood of them must not cost a fortune. */
export const RECORDED_AT_MOST = 1000;
/** Refused objects that a result names. */
const NAMED_AT_MOST = 100;
/** Entries that are added to the list at the same time. */
const WRITES_AT_ONCE = 25;
/** Who revokes, as it stands in the list. */
const DETECTION = 'detection';

/** What was found in the windows of a plan, and what may be done about it. */
export interface Assessment {
  evaluation: Evaluation;
  decision: Decision;
}

/**
 * Runs detection once: what is new in the logs is evaluated, what is suspicious recorded, and in mode `enforce` what is beyond
 * doubt revoked. The ledger comes last: whatever fails before it leaves it as it was, so that the next run does the same
 * again; each step may be repeated, and two runs at once do no harm. Rejects with `DetectionError`, or with the error of a
 * port; a log object that cannot be read fails nothing.
 */
export async function runDetection(
  ports: DetectionPorts,
  settings: DetectionSettings,
  onProgress?: ReportProgress,
): Promise<DetectionRun> {
  const { list, publish, revocationSeconds, latest, now } = ports;
  const ranAt = now();
  const before = await latest();
  const plan = await prepare(ports, settings, ranAt);
  const assessment = await assess(ports, settings, plan.windows, ranAt, onProgress);
  const revoked = await revoke(assessment.decision, list, publish, now, revocationSeconds);
  await commit(plan, assessment.evaluation, ports.ledger, ranAt);
  const run = summarize(plan, assessment.evaluation, assessment.decision, revoked, settings, ranAt);
  tell(run, before, ports);
  return run;
}

/** What a run has to do that begins at `ranAt`; counts how late it is. Rejects with `ERR_DETECTION_OFF` in mode `off`. */
export async function prepare(
  { logs, ledger, revocationSeconds, metric }: Pick<DetectionPorts, 'logs' | 'ledger' | 'revocationSeconds' | 'metric'>,
  { mode, lookbackHours }: Pick<DetectionSettings, 'mode' | 'lookbackHours'>,
  ranAt: number,
): Promise<DetectionPlan> {
  if (mode === 'off') {
    throw new DetectionError('ERR_DETECTION_OFF', 'detection is off; set revocation.detection.mode to log or enforce');
  }
  // Lines that are older are about tokens that nobody can use any more.
  const plan = await planRun(logs, ledger, lookbackHours, ranAt - revocationSeconds - LATE_SECONDS);
  measureLag(plan, ranAt, metric);
  return plan;
}

/** Evaluates the windows, decides what to do, and records what is suspicious. Revokes nothing. */
export async function assess(
  { engine, suspicious, list }: Pick<DetectionPorts, 'engine' | 'suspicious' | 'list'>,
  settings: DetectionSettings,
  windows: DetectionPlan['windows'],
  ranAt: number,
  onProgress?: ReportProgress,
): Promise<Assessment> {
  const wanted = { windows, everySession: false, plotAtMost: RECORDED_AT_MOST };
  const evaluation = await evaluate(engine, settings, wanted, onProgress);
  const decision = await guard(evaluation, settings, list, ranAt);
  await record(evaluation.findings, suspicious, ranAt);
  return { evaluation, decision };
}

/** Counts how long the oldest of the new objects could have been dealt with already, in seconds. */
export function measureLag({ unseen }: DetectionPlan, now: number, metric: DetectionPorts['metric']): void {
  const ends = unseen.flatMap(({ hour }) => (hour === undefined ? [] : [hour + 3600]));
  metric('DetectionLag', Math.max(now - Math.min(now, ...ends), 0));
}

/** Records the worst of the findings for people to look at. */
export async function record(findings: Finding[], suspicious: SuspiciousSessions, detectedAt: number): Promise<void> {
  const expiresAt = detectedAt + REMEMBERED_SECONDS;
  const worst = findings.slice(0, RECORDED_AT_MOST);
  await suspicious.record(worst.map((finding) => ({ ...finding, detectedAt, expiresAt })));
}

/**
 * Revokes what was decided, and has it published; resolves to how many entries are new. The list refuses what a person took
 * back. An entry lives from when it is written: a token may have been renewed while the logs were read.
 */
export async function revoke(
  { revoke: sessions, revoked }: Decision,
  list: Pick<RevocationList, 'add'>,
  publish: DetectionPorts['publish'],
  now: DetectionPorts['now'],
  revocationSeconds: number,
): Promise<number> {
  const changed = [...revoked];
  let added = 0;
  for (let i = 0; i < sessions.length; i += WRITES_AT_ONCE) {
    const some = sessions.slice(i, i + WRITES_AT_ONCE);
    const revokedAt = now();
    const outcomes = await Promise.all(
      some.map(({ sessionId, reasons, score }) =>
        list.add({
          kind: 'session',
          id: sessionId,
          source: 'auto',
          reasons,
          score,
          by: DETECTION,
          revokedAt,
          expiresAt: revokedAt + revocationSeconds,
        }),
      ),
    );
    added += outcomes.filter(({ outcome }) => outcome === 'added').length;
    const holds = some.filter((_, at) => outcomes[at]?.outcome !== 'restored-by-hand');
    changed.push(...holds.map(({ sessionId }) => sessionId));
  }
  if (changed.length > 0) await publish(changed);
  return added;
}

/**
 * Writes into the ledger what was dealt with: read, or refused because of what is in it, which no other look would change. An
 * object that may be read the next time stays out.
 */
export async function commit(
  { unseen }: DetectionPlan,
  { refused }: Evaluation,
  ledger: Pick<Ledger, 'commit'>,
  now: number,
): Promise<void> {
  const refusals = new Map(refused.map((object) => [object.name, object]));
  const settled = unseen.flatMap((object): SettledObject[] => {
    const refusal = refusals.get(object.name);
    if (!refusal) return [object];
    return refusal.mayPass ? [] : [{ ...object, refused: refusal.why }];
  });
  await ledger.commit(settled, now);
}

/** What the run did. */
export function summarize(
  { unseen }: DetectionPlan,
  { findings, rows, sessionCount, odd, refused, cost }: Evaluation,
  { alarm }: Decision,
  revoked: number,
  { mode, reviewScore, autoScore }: DetectionSettings,
  ranAt: number,
): DetectionRun {
  return {
    ranAt,
    checkedAt: ranAt,
    mode,
    objects: unseen.length,
    rows,
    sessionCount,
    flagged: findings.length,
    auto: findings.filter(({ verdict }) => verdict === 'auto').length,
    reviewScore,
    autoScore,
    revoked,
    odd,
    refused: refused.slice(0, NAMED_AT_MOST).map(({ name, why }) => ({ name, why })),
    alarm,
    cost,
  };
}

/**
 * Counts what a run did, and says what people should know of it: of an alarm only when it is another than that of the run
 * `before`. The metric counts it in every run.
 */
export function tell(
  { flagged, revoked, alarm }: DetectionRun,
  before: DetectionRun | undefined,
  { report, metric }: Pick<DetectionPorts, 'report' | 'metric'>,
): void {
  metric('SuspiciousSessions', flagged);
  metric('AutoRevocations', revoked);
  metric('DetectionCapHit', alarm ? 1 : 0);
  if (alarm && alarm.digest !== before?.alarm?.digest) report(`detection: ${alarm.message}`);
  if (flagged > RECORDED_AT_MOST) {
    report(`detection: ${flagged} suspicious sessions, of which the ${RECORDED_AT_MOST} worst are listed`);
  }
}
