import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';

/** How long the secrets are used before they are read again, how long until a failed reading is repeated, in seconds. */
const REFRESH_SECONDS = 60;
const RETRY_SECONDS = 5;
/** How old they may be and still be used, in seconds. */
const STALE_SECONDS = 900;
/** For how long after its rotation the secret before still counts: until every edge location sends the other, in seconds. */
const OVERLAP_SECONDS = 3600;

/** The secrets by which the edge proves itself. */
export interface OriginSecrets {
  /** Those that count now; none when they could not be read, so that nobody is taken for the edge. */
  current(): readonly string[];
  /** Reads them when it is time to. To be awaited before a request is answered. */
  ready(): Promise<void>;
}

/**
 * Of the secret `secretId`: the version that is current, the one that a rotation prepares, and for an hour the one before it.
 * `now`: seconds since the epoch. `report` is told what went wrong, never a value.
 */
export function originSecrets(
  client: SecretsManagerClient,
  secretId: string,
  now: () => number,
  report: (line: string) => void,
): OriginSecrets {
  let secrets: string[] = [];
  let readAt = Number.NEGATIVE_INFINITY;
  let readNextAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | undefined;

  /** Undefined when no version has this label. */
  async function version(VersionStage: string): Promise<{ value: string; createdAt: number } | undefined> {
    try {
      const command = new GetSecretValueCommand({ SecretId: secretId, VersionStage });
      const { SecretString = '', CreatedDate } = await client.send(command);
      return { value: SecretString, createdAt: (CreatedDate?.getTime() ?? 0) / 1000 };
    } catch (error) {
      if (VersionStage !== 'AWSCURRENT' && (error as Error).name === 'ResourceNotFoundException') return undefined;
      throw error;
    }
  }

  async function read(): Promise<void> {
    const startedAt = now();
    try {
      const current = await version('AWSCURRENT');
      const isRecent = current !== undefined && startedAt - current.createdAt < OVERLAP_SECONDS;
      const others = [await version('AWSPENDING'), isRecent ? await version('AWSPREVIOUS') : undefined];
      secrets = [current, ...others].flatMap((found) => (found ? [found.value] : []));
      readAt = startedAt;
      readNextAt = startedAt + REFRESH_SECONDS;
    } catch (error) {
      readNextAt = now() + RETRY_SECONDS;
      report(`the origin secret was not read, and will be in ${RETRY_SECONDS} s: ${(error as Error).name}`);
    }
  }

  return {
    current: () => (now() - readAt <= STALE_SECONDS ? secrets : []),
    async ready() {
      if (now() < readNextAt) return;
      reading ??= read().finally(() => {
        reading = undefined;
      });
      await reading;
    },
  };
}

/** A client for the region of a secret, which its ARN names. */
export function secretClient(secretArn: string): SecretsManagerClient {
  const region = secretArn.split(':')[3];
  return new SecretsManagerClient(region ? { region } : {});
}
