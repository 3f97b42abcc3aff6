import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { createKeyRing, KeyRingError } from '../../token-api/key-ring/key-ring.ts';
import { hasValue, putFirstRing } from '../../token-api/key-ring/secrets-manager.ts';
import type { DeployedKeyRing } from '../rotation.ts';

/**
 * Makes the first ring where there is none, and publishes what the edge lacks. A ring that is there is never replaced, and an
 * edge that has keys already gets no other ring: `ERR_RING_FOREIGN`. Rejects with what the key ring rejects with.
 */
export async function bootstrapKeyRing(
  client: SecretsManagerClient,
  secretId: string,
  { store, publisher, rotation }: DeployedKeyRing,
  now: () => number,
): Promise<void> {
  if (!(await hasValue(client, secretId))) {
    await refuseForeignEdge(publisher);
    await putFirstRing(client, secretId, createKeyRing(now()));
  }
  const { ring, version } = await store.current();
  // A placeholder, unless a rotation is about to take its place.
  if (!ring && !(await store.pending())) {
    await refuseForeignEdge(publisher);
    await store.replace(createKeyRing(now()), version);
  }
  await rotation.advance();
}

/** What is published is only looked at. */
async function refuseForeignEdge(publisher: DeployedKeyRing['publisher']): Promise<void> {
  await publisher.publish(async (published) => {
    if (published.length === 0) return {};
    const advice =
      'restore the secret that has them (aws secretsmanager restore-secret), or remove them from the edge first';
    throw new KeyRingError(
      'ERR_RING_FOREIGN',
      `the edge accepts ${published.join(', ')}, and the secret is new: ${advice}`,
    );
  });
}
