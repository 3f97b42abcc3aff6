import { dynamoDbDetectionRuns } from '../../revocation/detect/dynamodb.ts';
import { dynamoDbClient } from '../dynamodb.ts';
import { lambdaMetrics } from '../metrics.ts';
import { describeFailure, type StateFailure } from './describe-failure.ts';

const runs = dynamoDbDetectionRuns(dynamoDbClient());
const metric = lambdaMetrics('detection');

/** Ends a run that failed: gives the right to run back, counts it, and says why for those who get the alarm. */
export const handler = async ({ run, error }: { run: string; error: StateFailure }): Promise<{ message: string }> => {
  const message = describeFailure(error);
  console.error(message);
  metric('DetectionFailed', 1);
  await runs.finish(run);
  return { message };
};
