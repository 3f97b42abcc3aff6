import { setTimeout as sleep } from 'node:timers/promises';
import { athenaClient, checkWorkgroup } from '../../revocation/detect/athena.ts';
import { type RunWindow, runWindow } from '../../revocation/detect/athena-steps.ts';
import { DetectionError } from '../../revocation/detect/detection-engine.ts';
import { dynamoDbDetectionRuns, dynamoDbLedger } from '../../revocation/detect/dynamodb.ts';
import { limitPlan } from '../../revocation/detect/plan.ts';
import { prepare } from '../../revocation/detect/run-detection.ts';
import { s3Client, s3LogObjects, s3StepResults } from '../../revocation/detect/s3.ts';
import { DetectionHandlerSchema, logsOf } from '../detection-settings.ts';
import { dynamoDbClient } from '../dynamodb.ts';
import { namedByCode } from '../error-names.ts';
import { lambdaMetrics } from '../metrics.ts';
import { readSettings } from '../settings.ts';
import { DETECTION_SECONDS } from '../state-machines.ts';

/**
 * Windows of a run: an execution has 25,000 events (AWS, "Step Functions quotas"), of which a window takes about 80, and an hour.
 * Above the 49 of one object with the longest look-back.
 */
const WINDOWS_AT_MOST = 60;

const { detection, athena, revocationSeconds, resultsBucket } = readSettings(DetectionHandlerSchema);
const [s3, database, queries] = [s3Client(), dynamoDbClient(), athenaClient(athena)];
const runs = dynamoDbDetectionRuns(database);
const results = s3StepResults(s3, resultsBucket);
const logs = s3LogObjects(s3, logsOf(athena));
const ports = { logs, ledger: dynamoDbLedger(database), revocationSeconds, metric: lambdaMetrics('detection') };

/** What the steps that follow have to do; `plan` is the key of the plan. Times are seconds since the epoch. */
export interface PlannedRun {
  run: string;
  ranAt: number;
  plan: string;
  windows: RunWindow[];
}

/** Begins a run: takes the right to, and says which windows have to be looked at. Fails with `ERR_DETECTION_RUNNING`. */
export const handler = namedByCode(async ({ run }: { run: string }): Promise<PlannedRun> => {
  const ranAt = Math.floor(Date.now() / 1000);
  if (!(await runs.begin(run, ranAt, ranAt + DETECTION_SECONDS))) {
    throw new DetectionError(
      'ERR_DETECTION_RUNNING',
      'another run of detection is under way; its result is the next latest',
    );
  }
  const plan = limitPlan(await prepare(ports, detection, ranAt), WINDOWS_AT_MOST);
  if (plan.windows.length > 0) await checkWorkgroup(queries, athena, sleep);
  const windows = plan.windows.map((window) => runWindow(run, window));
  return { run, ranAt, plan: await results.put(run, 'plan', plan), windows };
});
