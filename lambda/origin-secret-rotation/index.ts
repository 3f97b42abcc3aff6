import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { cloudFrontClient } from '../../edge-functions/measure/cloudfront.ts';
import { ORIGIN_SECRET_HEADER } from '../../token-api/http/viewer.ts';
import { secretsManagerClient } from '../../token-api/key-ring/secrets-manager.ts';
import { rotationEvent } from '../rotation-event.ts';
import { readSettings } from '../settings.ts';
import { originHeader } from './cloudfront.ts';
import { OriginSecretError, originSecretRotation } from './origin-secret.ts';
import { secretVersions } from './secrets-manager.ts';

const { originSecret, distributionId, domainName } = readSettings(
  v.strictObject({
    /** ARN of the secret. */
    originSecret: v.string(),
    distributionId: v.string(),
    /** Host name of the distribution. */
    domainName: v.string(),
  }),
);
const rotate = originSecretRotation({
  versions: secretVersions(secretsManagerClient(), originSecret),
  header: originHeader(cloudFrontClient(), distributionId, ORIGIN_SECRET_HEADER),
  // Anybody may read the description of the API.
  ask: async () => {
    const url = `https://${domainName}/v1/openapi.json`;
    const answer = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(30_000) }).catch(() => undefined);
    await answer?.body?.cancel();
    return answer?.status ?? 0;
  },
  now: () => Date.now() / 1000,
  sleep,
});

/** Rotates the secret by which the distribution proves itself to the API, step by step, as Secrets Manager calls for them. */
export async function handler(event: object): Promise<void> {
  const step = rotationEvent(event, originSecret);
  if (!step) throw new OriginSecretError('ERR_ORIGIN_SECRET_STEP', 'this function is for Secrets Manager alone');
  await rotate(step);
}
