import { type Assessment, revoke } from '../../revocation/detect/run-detection.ts';
import { s3Client, s3StepResults } from '../../revocation/detect/s3.ts';
import { dynamoDbRevocationList } from '../../revocation/list/dynamodb.ts';
import { queuedPublication, sqsClient } from '../../revocation/publish/sqs.ts';
import { DetectionHandlerSchema } from '../detection-settings.ts';
import { dynamoDbClient } from '../dynamodb.ts';
import { namedByCode } from '../error-names.ts';
import { readSettings } from '../settings.ts';

const { resultsBucket, publications, revocationSeconds } = readSettings(DetectionHandlerSchema);
const results = s3StepResults(s3Client(), resultsBucket);
const list = dynamoDbRevocationList(dynamoDbClient());
const queue = queuedPublication(sqsClient(), publications);
const publish = (sessionIds: string[]) => queue.publish(sessionIds.map((id) => ({ kind: 'session', id })));
const now = () => Math.floor(Date.now() / 1000);

/** A run that was evaluated: keys of its plan, and of what was found and decided. */
export interface AssessedRun {
  run: string;
  ranAt: number;
  plan: string;
  assessment: string;
}

/** Revokes what was decided and has it published; `revoked` counts the entries that are new. */
export const handler = namedByCode(async (assessed: AssessedRun) => {
  const { decision } = await results.get<Assessment>(assessed.assessment);
  return { ...assessed, revoked: await revoke(decision, list, publish, now, revocationSeconds) };
});
