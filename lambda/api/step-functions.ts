import { SFNClient, StartExecutionCommand } from '@aws-sdk/client-sfn';
import { DetectionError } from '../../revocation/detect/detection-engine.ts';
import type { DetectionRuns } from '../../revocation/detect/detection-runs.ts';
import type { DetectionSettings } from '../../revocation/detect/settings.ts';
import type { DetectionOptions } from '../../revocation/http/detection-routes.ts';

/** A client for the account and region of the environment. */
export function stepFunctionsClient(): SFNClient {
  return new SFNClient({});
}

/**
 * Detection as a state machine runs it: `run` starts an execution (Step Functions API Reference, "StartExecution") and does not
 * wait for it. Rejects with `ERR_DETECTION_OFF`, and `ERR_DETECTION_RUNNING` while there is a run.
 */
export function detectionMachine(
  client: SFNClient,
  stateMachineArn: string,
  mode: DetectionSettings['mode'],
  runs: Pick<DetectionRuns, 'isRunning' | 'latest'>,
  now: () => number,
): DetectionOptions['detection'] {
  return {
    async run() {
      if (mode === 'off') {
        throw new DetectionError(
          'ERR_DETECTION_OFF',
          'detection is off; set revocation.detection.mode to log or enforce',
        );
      }
      if (await runs.isRunning(now())) {
        throw new DetectionError(
          'ERR_DETECTION_RUNNING',
          'detection is running already; its result is the next latest',
        );
      }
      await client.send(new StartExecutionCommand({ stateMachineArn }));
      return undefined;
    },
    latest: () => runs.latest(),
    isRunning: () => runs.isRunning(now()),
  };
}
