import { setTimeout as sleep } from 'node:timers/promises';
import { type AskedWindow, answeredEngine, athenaClient } from '../../revocation/detect/athena.ts';
import { athenaQueries } from '../../revocation/detect/athena-queries.ts';
import type { DetectionPlan } from '../../revocation/detect/plan.ts';
import { assess } from '../../revocation/detect/run-detection.ts';
import { s3Client, s3StepResults } from '../../revocation/detect/s3.ts';
import { dynamoDbRevocationList } from '../../revocation/list/dynamodb.ts';
import { dynamoDbSuspiciousSessions } from '../../revocation/suspicious/dynamodb.ts';
import type { PlannedRun } from '../detection-plan/index.ts';
import { DetectionHandlerSchema } from '../detection-settings.ts';
import { dynamoDbClient } from '../dynamodb.ts';
import { namedByCode } from '../error-names.ts';
import { readSettings } from '../settings.ts';

const { detection, athena, tokenPrefix, resultsBucket } = readSettings(DetectionHandlerSchema);
const queries = athenaQueries(detection, athena, tokenPrefix);
const client = athenaClient(athena);
const results = s3StepResults(s3Client(), resultsBucket);
const database = dynamoDbClient();
const [list, suspicious] = [dynamoDbRevocationList(database), dynamoDbSuspiciousSessions(database)];

/** A run whose windows were asked about. */
export interface AskedRun extends Omit<PlannedRun, 'windows'> {
  windows: AskedWindow[];
}

/** Evaluates what Athena answered, records what is suspicious, and decides what to revoke: `assessment` is the key of both. */
export const handler = namedByCode(async ({ run, ranAt, plan: key, windows }: AskedRun) => {
  const plan = await results.get<DetectionPlan>(key);
  const engine = answeredEngine(client, athena, queries, sleep, windows);
  const assessment = await assess({ engine, suspicious, list }, detection, plan.windows, ranAt);
  return { run, ranAt, plan: key, assessment: await results.put(run, 'assessment', assessment) };
});
