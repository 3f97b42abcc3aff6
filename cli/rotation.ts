import { setTimeout as sleep } from 'node:timers/promises';
import { loadAws } from '../config/aws.ts';
import { readConfiguration } from '../config/configuration.ts';
import type { Configuration } from '../config/schema.ts';
import { tokenPrefix } from '../edge-functions/build/settings.ts';
import { EdgeStore } from '../edge-functions/store/edge-store.ts';
import { fileKeyRing } from '../token-api/key-ring/file.ts';
import { edgeStorePublisher, type KeyPublisher } from '../token-api/key-ring/key-publisher.ts';
import type { KeyRingStore } from '../token-api/key-ring/key-ring-store.ts';
import { edgeProbe, probeEvents } from '../token-api/key-ring/probe.ts';
import { createRotation, type Rotation } from '../token-api/key-ring/rotation.ts';
import type { KeyTimes } from '../token-api/key-ring/transitions.ts';
import { InputError, nowOr } from './command.ts';

/** What is rotated from this command: a ring in a file or a secret, published to one kind of edge. */
export interface RotationFromHere {
  keys?: string;
  secret?: string;
  function?: string;
  edgeStore?: string;
  edge?: string;
  config?: string;
}

/** For how long to wait until the published edge has a key, in seconds: CloudFront takes some minutes to publish a function. */
const PATIENCE_SECONDS = 600;

const now = () => nowOr(undefined);

/** How long keys stay in their states. */
export function timesOf({ edge, keys }: Configuration): KeyTimes {
  const { maxTokenLifetimeSeconds, leewaySeconds } = edge;
  return { ...keys, maxTokenLifetimeSeconds, leewaySeconds };
}

/** Puts together what a rotation needs. Throws `InputError` when an option is missing. */
export async function openRotation(
  options: RotationFromHere,
): Promise<{ rotation: Rotation; store: KeyRingStore; times: KeyTimes }> {
  const { keys, secret, edge } = options;
  if ((keys === undefined) === (secret === undefined)) {
    throw new InputError('a rotation from here needs the ring: either --keys <file> or --secret <id>');
  }
  if (edge === undefined)
    throw new InputError('a rotation from here needs --edge <url>, which has to accept the new key');
  const configuration = await readConfiguration(options.config);
  const prefix = tokenPrefix(configuration.edge);
  const publisher = await openPublisher(options, prefix);
  const store = keys === undefined ? await secretRing(secret ?? '') : fileKeyRing(keys);
  const times = timesOf(configuration);
  const probe = edgeProbe({
    edgeUrl: edge.replace(/\/$/, ''),
    tokenPrefix: prefix,
    patienceSeconds: PATIENCE_SECONDS,
    now,
    sleep,
  });
  return { rotation: createRotation({ store, publisher, probe, times, now }), store, times };
}

/** The ring in a secret of the account and region of the environment. */
export async function secretRing(secretId: string): Promise<KeyRingStore> {
  const { secretsManagerClient, secretsManagerKeyRing } = await loadAws(
    () => import('../token-api/key-ring/secrets-manager.ts'),
  );
  return secretsManagerKeyRing(secretsManagerClient(), secretId);
}

async function openPublisher(options: RotationFromHere, prefix: string): Promise<KeyPublisher> {
  if ((options.function === undefined) === (options.edgeStore === undefined)) {
    throw new InputError('a rotation from here needs the edge: either --function <name> or --edge-store <arn>');
  }
  if (options.edgeStore !== undefined) {
    const { AwsKeyValueStore, keyValueStoreClient } = await loadAws(
      () => import('../edge-functions/store/key-value-store-aws.ts'),
    );
    return edgeStorePublisher(new EdgeStore(new AwsKeyValueStore(keyValueStoreClient(), options.edgeStore)));
  }
  const { cloudFrontClient } = await loadAws(() => import('../edge-functions/measure/cloudfront.ts'));
  const { functionPublisher } = await loadAws(() => import('../token-api/key-ring/cloudfront.ts'));
  const name = options.function ?? '';
  return functionPublisher(cloudFrontClient(), { name, events: (keys) => probeEvents(keys, prefix, now()) });
}
