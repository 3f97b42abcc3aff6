import * as v from 'valibot';
import type { AthenaSettings } from '../revocation/detect/athena-settings.ts';
import { AthenaSettingsSchema } from '../revocation/detect/athena-settings.ts';
import type { S3Logs } from '../revocation/detect/s3.ts';
import { DetectionSettingsSchema } from '../revocation/detect/settings.ts';

/** What the handlers of the detection state machine read, the same for all of them. */
export const DetectionHandlerSchema = v.strictObject({
  detection: DetectionSettingsSchema,
  athena: AthenaSettingsSchema,
  /** Path before the token, begins and ends with a slash. */
  tokenPrefix: v.string(),
  /** How long a revocation has to live, in seconds: maximum token lifetime plus leeway. */
  revocationSeconds: v.pipe(v.number(), v.integer(), v.minValue(1)),
  /** Bucket for what a step hands on to the next, below `detection/`: plans and findings. */
  resultsBucket: v.string(),
  /** URL of the FIFO queue of changes that the reconciler publishes. */
  publications: v.string(),
});

/** Where CloudFront's logs are in S3, in what Athena is told of them. */
export function logsOf({ location, distributionId, format }: AthenaSettings): S3Logs {
  const { host: bucket, pathname } = new URL(location);
  return { bucket, prefix: pathname.slice(1), distributionId, layout: format === 'v1' ? 'v1' : 'v2' };
}
