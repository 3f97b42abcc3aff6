import {
  DescribeSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  type SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager';
import type { SecretVersions } from './origin-secret.ts';

/** The versions of a secret of AWS Secrets Manager. Rejects with what the client rejects with. */
export function secretVersions(client: SecretsManagerClient, SecretId: string): SecretVersions {
  return {
    async describe(run) {
      const { VersionIdsToStages = {} } = await client.send(new DescribeSecretCommand({ SecretId }));
      const [current] = Object.entries(VersionIdsToStages).find(([, labels]) => labels.includes('AWSCURRENT')) ?? [];
      return { current, isPending: VersionIdsToStages[run]?.includes('AWSPENDING') ?? false };
    },
    async read(VersionId) {
      try {
        const { SecretString, CreatedDate } = await client.send(new GetSecretValueCommand({ SecretId, VersionId }));
        if (SecretString === undefined) return undefined;
        return { value: SecretString, createdAt: (CreatedDate?.getTime() ?? 0) / 1000 };
      } catch (error) {
        if ((error as Error).name === 'ResourceNotFoundException') return undefined;
        throw error;
      }
    },
    async create(ClientRequestToken, SecretString) {
      const value = { SecretId, ClientRequestToken, SecretString, VersionStages: ['AWSPENDING'] };
      await client.send(new PutSecretValueCommand(value)).catch((error: Error) => {
        // Another call of the step was quicker.
        if (error.name !== 'ResourceExistsException') throw error;
      });
    },
    async promote(MoveToVersionId, RemoveFromVersionId) {
      const versions = { MoveToVersionId, RemoveFromVersionId };
      await client.send(new UpdateSecretVersionStageCommand({ SecretId, VersionStage: 'AWSCURRENT', ...versions }));
    },
  };
}
