import type { DetectionRun } from '../../revocation/detect/detection-runs.ts';
import { dynamoDbDetectionRuns, dynamoDbLedger } from '../../revocation/detect/dynamodb.ts';
import type { DetectionPlan } from '../../revocation/detect/plan.ts';
import { type Assessment, commit, summarize, tell } from '../../revocation/detect/run-detection.ts';
import { s3Client, s3StepResults } from '../../revocation/detect/s3.ts';
import type { AssessedRun } from '../detection-revoke/index.ts';
import { DetectionHandlerSchema } from '../detection-settings.ts';
import { dynamoDbClient } from '../dynamodb.ts';
import { namedByCode } from '../error-names.ts';
import { lambdaMetrics } from '../metrics.ts';
import { readSettings } from '../settings.ts';

const { detection, resultsBucket } = readSettings(DetectionHandlerSchema);
const results = s3StepResults(s3Client(), resultsBucket);
const database = dynamoDbClient();
const [runs, ledger] = [dynamoDbDetectionRuns(database), dynamoDbLedger(database)];
const ports = { report: (line: string) => console.warn(line), metric: lambdaMetrics('detection') };

/** Ends a run: the ledger, what the run did, metrics, and the right to run. */
export const handler = namedByCode(
  async ({ run, ranAt, plan: key, assessment, revoked }: AssessedRun & { revoked: number }): Promise<DetectionRun> => {
    const plan = await results.get<DetectionPlan>(key);
    const { evaluation, decision } = await results.get<Assessment>(assessment);
    const before = await runs.latest();
    await commit(plan, evaluation, ledger, ranAt);
    const result = summarize(plan, evaluation, decision, revoked, detection, ranAt);
    await runs.finish(run, result);
    tell(result, before, ports);
    return result;
  },
);
