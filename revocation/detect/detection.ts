import { DetectionError } from './detection-engine.ts';
import type { DetectionRun, DetectionRuns } from './detection-runs.ts';
import { type DetectionPorts, runDetection } from './run-detection.ts';
import type { DetectionSettings } from './settings.ts';

/** Detection as it is run by a clock and by people. */
export interface Detection {
  /** Runs it now. Rejects with `DetectionError`: `ERR_DETECTION_OFF`, `ERR_DETECTION_RUNNING`, or why it failed. */
  run(): Promise<DetectionRun>;
  /** What the last run did that had something to do. */
  latest(): Promise<DetectionRun | undefined>;
  /** Whether it runs just now. */
  isRunning(): Promise<boolean>;
}

/** How long a run may last, in seconds: as long as a Lambda function (AWS, "Lambda quotas"). */
const RUN_SECONDS = 900;

/**
 * Detection, one run at a time.
 * @param holder Who runs it, one name a process: `runs.finish(holder)` gives back what a process of that name died with.
 */
export function createDetection(
  ports: Omit<DetectionPorts, 'latest'>,
  settings: DetectionSettings,
  runs: DetectionRuns,
  holder: string,
): Detection {
  const { now, metric } = ports;
  let isRunningHere = false;
  return {
    async run() {
      const startedAt = now();
      // Of this process no second run begins, also when the first lasts longer than it may.
      if (isRunningHere || !(await runs.begin(holder, startedAt, startedAt + RUN_SECONDS))) {
        throw new DetectionError(
          'ERR_DETECTION_RUNNING',
          'detection is running already; its result is the next latest',
        );
      }
      isRunningHere = true;
      let result: DetectionRun | undefined;
      try {
        result = await runDetection({ ...ports, latest: () => runs.latest() }, settings);
        return result;
      } finally {
        if (!result && settings.mode !== 'off') metric('DetectionFailed', 1);
        isRunningHere = false;
        await runs.finish(holder, result);
      }
    },
    latest: () => runs.latest(),
    isRunning: () => runs.isRunning(now()),
  };
}
