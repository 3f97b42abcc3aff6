import {
  DescribeSecretCommand,
  ResourceNotFoundException,
  SecretsManagerClient,
} from '@aws-sdk/client-secrets-manager';
import { CLIENT } from './client.ts';
import { type Finding, failed, ok } from './finding.ts';

/** Whether the key ring of a deployment rotates. Reads what is said of the secret, never the secret. */
export async function keyRingRotation(secretId: string, region: string): Promise<Finding> {
  const client = new SecretsManagerClient({ ...CLIENT, region });
  try {
    const secret = await client.send(new DescribeSecretCommand({ SecretId: secretId }));
    if (secret.DeletedDate)
      return failed(`${secretId} is to be deleted: aws secretsmanager restore-secret --secret-id ${secretId}`);
    if (!secret.RotationEnabled)
      return failed(`${secretId} does not rotate: deploy again, and see why its rotation was switched off`);
    return ok(`${secretId} rotates every ${secret.RotationRules?.AutomaticallyAfterDays} days`);
  } catch (error) {
    if (error instanceof ResourceNotFoundException) return ok(`${secretId} is not there yet`);
    throw error;
  }
}
