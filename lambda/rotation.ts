import { setTimeout as sleep } from 'node:timers/promises';
import * as v from 'valibot';
import { EdgeSettingsSchema, tokenPrefix } from '../edge-functions/build/settings.ts';
import { cloudFrontClient, measureFunction } from '../edge-functions/measure/cloudfront.ts';
import { EdgeStore } from '../edge-functions/store/edge-store.ts';
import { AwsKeyValueStore, keyValueStoreClient } from '../edge-functions/store/key-value-store-aws.ts';
import { functionPublisher } from '../token-api/key-ring/cloudfront.ts';
import { edgeStorePublisher, type KeyPublisher } from '../token-api/key-ring/key-publisher.ts';
import { edgeProbe, functionProbe, probeEvents } from '../token-api/key-ring/probe.ts';
import { createRotation, type Rotation, type RotationOptions } from '../token-api/key-ring/rotation.ts';
import { secretsManagerClient, secretsManagerKeyRing } from '../token-api/key-ring/secrets-manager.ts';
import { KeySettingsSchema } from '../token-api/key-ring/settings.ts';
import { lambdaMetrics } from './metrics.ts';

/** What handlers that publish keys are told. */
export const rotationSettings = {
  edge: EdgeSettingsSchema,
  keys: KeySettingsSchema,
  /** ARN of the secret. */
  keyRing: v.string(),
  /** Base URL of the distribution. Without one CloudFront runs the published function on the questions of the probe. */
  edgeUrl: v.optional(v.pipe(v.string(), v.regex(/^https?:\/\/[\w.:-]+$/, 'must be a URL without path'))),
  /** Where the edge finds its keys: a KeyValueStore by its ARN, or a function by its name. */
  publish: v.variant('to', [
    v.strictObject({ to: v.literal('edge-store'), arn: v.string() }),
    v.strictObject({ to: v.literal('function'), name: v.string() }),
  ]),
  /** Name of the function that reads its keys from the store. */
  viewerRequest: v.optional(v.string(), 'portcullis-viewer-request'),
};
const RotationSettings = v.strictObject(rotationSettings);
type RotationSettings = v.InferOutput<typeof RotationSettings>;

/** For how long a rotation waits until the edge knows a new key, in seconds: some minutes pass until a function is published. */
const PATIENCE_SECONDS = 600;

/** Seconds since the epoch. */
export const now = () => Math.floor(Date.now() / 1000);

const metric = lambdaMetrics('key-rotation');
/** Counts a rotation that failed: once is an alarm, since Secrets Manager gives up after a few attempts. */
export const countFailedRotation = () => metric('RotationFailed', 1);

/** What rotates the ring of a deployment. */
export interface DeployedKeyRing extends Pick<RotationOptions, 'store' | 'publisher'> {
  rotation: Rotation;
}

/** The edge store of a deployment, as it has not been looked at yet. */
export function openEdgeStore(arn: string): EdgeStore {
  return new EdgeStore(new AwsKeyValueStore(keyValueStoreClient(), arn));
}

/** Puts the rotation of a deployment together, with clients for the account of the environment. */
export function openRotation(settings: RotationSettings, edgeStore?: EdgeStore): DeployedKeyRing {
  const { edge, keys, keyRing } = settings;
  const { maxTokenLifetimeSeconds, leewaySeconds } = edge;
  const store = secretsManagerKeyRing(secretsManagerClient(), keyRing);
  const publisher = publisherOf(settings, edgeStore);
  const times = { ...keys, maxTokenLifetimeSeconds, leewaySeconds };
  const probe = probeOf(settings);
  const rotation = createRotation({ store, publisher, probe, times, now, reportStuck: countFailedRotation });
  return { store, publisher, rotation };
}

function publisherOf({ edge, publish }: RotationSettings, edgeStore: EdgeStore | undefined): KeyPublisher {
  if (publish.to === 'edge-store') return edgeStorePublisher(edgeStore ?? openEdgeStore(publish.arn));
  const events: Parameters<typeof functionPublisher>[1]['events'] = (published) =>
    probeEvents(published, tokenPrefix(edge), now());
  return functionPublisher(cloudFrontClient(), { name: publish.name, events });
}

function probeOf({ edge, edgeUrl, publish, viewerRequest }: RotationSettings): RotationOptions['probe'] {
  // Its publisher has CloudFront run it with a token of each key before it is published. One that does not enforce lets
  // the other signature through, and no store could tell it to.
  if (publish.to === 'function' && edge.mode !== 'enforce') return async () => undefined;
  const probing = { tokenPrefix: tokenPrefix(edge), patienceSeconds: PATIENCE_SECONDS, now, sleep };
  if (edgeUrl !== undefined) return edgeProbe({ edgeUrl, ...probing });
  const name = publish.to === 'function' ? publish.name : viewerRequest;
  const client = cloudFrontClient();
  return functionProbe({
    ...probing,
    name,
    async ask(event) {
      const [measured] = await measureFunction(client, { name, stage: 'LIVE' }, [event], () => undefined);
      const [outcome, other] = measured?.outcomes ?? [];
      if (!outcome || other) return 'runs that do not agree';
      if ('goesOn' in outcome) return '';
      return 'error' in outcome ? 'an error of the function' : outcome.reason || `status ${outcome.status}`;
    },
  });
}
