import { randomUUID } from 'node:crypto';
import {
  DescribeSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  RotateSecretCommand,
  SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager';
import { type AwsFailure, awsFailure } from '../../edge-functions/store/aws-failure.ts';
import { isPlaceholder, type KeyRing, KeyRingError, type KeyRingErrorCode, parseKeyRing } from './key-ring.ts';
import type { KeyRingStore } from './key-ring-store.ts';

/** The staging label of a ring that is about to become current: without one a version could be deleted at any time. */
const CANDIDATE = 'PORTCULLIS_CANDIDATE';

const CODES: Record<AwsFailure['cause'], KeyRingErrorCode> = {
  credentials: 'ERR_RING_DENIED',
  denied: 'ERR_RING_DENIED',
  throttled: 'ERR_RING_THROTTLED',
  unreachable: 'ERR_RING_UNREACHABLE',
  failed: 'ERR_RING_UNREACHABLE',
  refused: 'ERR_RING_REFUSED',
  answer: 'ERR_RING_REFUSED',
};

const PERMISSIONS =
  'secretsmanager:GetSecretValue to mint, also DescribeSecret, PutSecretValue and UpdateSecretVersionStage to rotate, and kms:Decrypt on its key';

/**
 * The key ring in one secret of AWS Secrets Manager: a version is a whole ring, `AWSCURRENT` the one that minting uses,
 * `AWSPENDING` the one that a rotation prepares; its version id is the rotation's ClientRequestToken (AWS Secrets Manager
 * User Guide, "Rotation function steps"). Moving `AWSCURRENT` names the version that has it, so that of two writers one is
 * refused. What it rejects with names the secret, never a value.
 */
export function secretsManagerKeyRing(client: SecretsManagerClient, secretId: string): KeyRingStore {
  const translated = refusing(secretId);
  const getValue = async (version: { VersionId: string } | { VersionStage: string }) => {
    const { SecretString, VersionId = '' } = await client.send(
      new GetSecretValueCommand({ SecretId: secretId, ...version }),
    );
    return { text: SecretString, version: VersionId };
  };
  const stages = async () => {
    const described = await client.send(new DescribeSecretCommand({ SecretId: secretId })).catch(translated);
    const withStage = (stage: string) =>
      Object.entries(described.VersionIdsToStages ?? {}).find(([, labels]) => labels.includes(stage))?.[0];
    return { current: withStage('AWSCURRENT'), pending: withStage('AWSPENDING'), changed: described.LastChangedDate };
  };
  /** Puts a staging label on a version, or takes it off the one that has it, or both: refused when that one has it no more. */
  const moveLabel = (VersionStage: string, versions: { MoveToVersionId?: string; RemoveFromVersionId?: string }) =>
    client.send(new UpdateSecretVersionStageCommand({ SecretId: secretId, VersionStage, ...versions }));
  const moveCurrent = async (to: string, from: string) => {
    const versions = { MoveToVersionId: to, RemoveFromVersionId: from };
    await moveLabel('AWSCURRENT', versions).catch(async (error: Error) => {
      // Also when the first of two attempts succeeded and its reply was lost.
      const { current } = await stages();
      if (current === to) return;
      if (current === from) translated(error);
      throw new KeyRingError('ERR_RING_CONFLICT', `key ring ${secretId}: it was changed by somebody else meanwhile`);
    });
  };
  const label = async (version: string) => {
    const { pending } = await stages();
    if (pending === version) return;
    const versions = { MoveToVersionId: version, ...(pending && { RemoveFromVersionId: pending }) };
    await moveLabel('AWSPENDING', versions).catch(translated);
  };
  const put = async (version: string, ring: KeyRing, stage: string) => {
    const value = { SecretId: secretId, ClientRequestToken: version, SecretString: JSON.stringify(parseKeyRing(ring)) };
    await client.send(new PutSecretValueCommand({ ...value, VersionStages: [stage] })).catch(async (error: Error) => {
      if (error.name !== 'ResourceExistsException') return translated(error);
      // A rotation that was cleared because it got stuck, and is tried again: what it prepared still holds.
      const { text } = await getValue({ VersionId: version }).catch(translated);
      const present = stage === 'AWSPENDING' ? preparedRing(text, version) : null;
      if (present && present.basedOn === ring.basedOn) return label(version);
      const message = `key ring ${secretId}: version ${version} has another value already: start a new rotation`;
      throw new KeyRingError('ERR_RING_CONFLICT', message);
    });
  };
  const withdraw = async (run: string) => {
    await moveLabel('AWSPENDING', { RemoveFromVersionId: run }).catch(async (error: Error) => {
      if ((await stages()).pending === run) translated(error);
    });
  };
  return {
    async current() {
      const { text, version } = await getValue({ VersionStage: 'AWSCURRENT' }).catch(translated);
      const content = parsedJson(text);
      return { ring: isPlaceholder(content) ? null : parseKeyRing(content), version };
    },
    async pending() {
      const { current, pending: run, changed } = await stages();
      if (run === undefined || run === current) return undefined;
      // A rotation begins with a version that has no value yet.
      const value = await getValue({ VersionId: run }).catch((error: Error) =>
        error.name === 'ResourceNotFoundException' ? undefined : translated(error),
      );
      const ring = preparedRing(value?.text, run);
      // Nothing was changed since: a rotation that is tried again counts from then, not from when it prepared its ring.
      return { run, ring, since: Math.floor((changed?.getTime() ?? 0) / 1000) };
    },
    prepare: (run, ring) => put(run, ring, 'AWSPENDING'),
    async promote(run, basedOn) {
      await moveCurrent(run, basedOn);
      await withdraw(run);
    },
    abandon: withdraw,
    async replace(ring, basedOn) {
      const version = randomUUID();
      await put(version, ring, CANDIDATE);
      await moveCurrent(version, basedOn);
    },
  };
}

/** Version of the first ring, the same whoever makes it: of two that make one at once, the second is refused. */
const FIRST_VERSION = 'portcullis-first-key-ring-of-this-secret';

/**
 * Gives a secret that has no value this ring, and changes no other; resolves to whether it did (PutSecretValue: a version is
 * written once). Rejects with `ERR_RING_…`.
 */
export async function putFirstRing(client: SecretsManagerClient, secretId: string, ring: KeyRing): Promise<boolean> {
  const value = { ClientRequestToken: FIRST_VERSION, SecretString: JSON.stringify(parseKeyRing(ring)) };
  try {
    await client.send(new PutSecretValueCommand({ SecretId: secretId, ...value }));
    return true;
  } catch (error) {
    if ((error as Error).name === 'ResourceExistsException') return false;
    return refusing(secretId)(error);
  }
}

/** Whether a secret has a value. Rejects with `ERR_RING_…`: `ERR_RING_MISSING` when there is no such secret. */
export async function hasValue(client: SecretsManagerClient, secretId: string): Promise<boolean> {
  const { VersionIdsToStages = {} } = await client
    .send(new DescribeSecretCommand({ SecretId: secretId }))
    .catch(refusing(secretId));
  return Object.values(VersionIdsToStages).some((labels) => labels.includes('AWSCURRENT'));
}

/** A client for the account and, unless one is given, the region of the environment (AWS SDK, "Credential provider chain"). */
export function secretsManagerClient(region?: string): SecretsManagerClient {
  return new SecretsManagerClient(region === undefined ? {} : { region });
}

/**
 * Has Secrets Manager rotate a ring now, by the function that is configured for it, and resolves when the new ring is
 * current. `report` is told how far it is, every few seconds. Rejects with `ERR_RING_…`: `ERR_RING_CONFLICT` when the rotation was
 * abandoned, `ERR_RING_UNREACHABLE` also when it has not ended after `patienceSeconds`; Secrets Manager then goes on trying.
 */
export async function rotateSecret(
  client: SecretsManagerClient,
  secretId: string,
  patienceSeconds: number,
  report: (line: string) => void,
  sleep: (milliseconds: number) => Promise<unknown>,
): Promise<void> {
  const translated = refusing(secretId);
  const run = randomUUID();
  await client.send(new RotateSecretCommand({ SecretId: secretId, ClientRequestToken: run })).catch(translated);
  report(`rotation ${run} of ${secretId} has begun`);
  let wasPending = false;
  for (let waited = 0; waited < patienceSeconds; waited += 3) {
    const { VersionIdsToStages = {} } = await client
      .send(new DescribeSecretCommand({ SecretId: secretId }))
      .catch(translated);
    const stages = VersionIdsToStages[run] ?? [];
    // The ring that it made may have been replaced since, by one that says when its key was published.
    if (stages.includes('AWSCURRENT') || stages.includes('AWSPREVIOUS')) return;
    if (stages.includes('AWSPENDING')) wasPending = true;
    // It may take a moment until Secrets Manager lists the version at all.
    else if (wasPending || waited >= UNLISTED_SECONDS) {
      const message = `key ring ${secretId}: rotation ${run} was abandoned: the log of its function says why; rotate again`;
      throw new KeyRingError('ERR_RING_CONFLICT', message);
    }
    report(`still under way after ${waited} s`);
    await sleep(3000);
  }
  const message = `key ring ${secretId}: rotation ${run} has not ended after ${patienceSeconds} s; the log of its function says why`;
  throw new KeyRingError('ERR_RING_UNREACHABLE', message);
}

/** For how long a rotation that was asked for may be unheard of, in seconds. */
const UNLISTED_SECONDS = 30;

/** The text of any secret. Rejects with `ERR_RING_…`. */
export async function readSecret(client: SecretsManagerClient, secretId: string): Promise<string> {
  const { SecretString = '' } = await client
    .send(new GetSecretValueCommand({ SecretId: secretId }))
    .catch(refusing(secretId));
  return SecretString;
}

/** Makes what turns a failed call into an error of ours that names the secret. */
function refusing(secretId: string): (error: unknown) => never {
  return (error) => {
    if (error instanceof KeyRingError) throw error;
    const fail = (code: KeyRingErrorCode, message: string) =>
      new KeyRingError(code, `key ring ${secretId}: ${message}`);
    const { name } = error as Error;
    if (name === 'ResourceNotFoundException') {
      const advice = 'check name, account and region, or restore it (aws secretsmanager restore-secret)';
      throw fail('ERR_RING_MISSING', `there is no such secret, or no value in it: ${advice}`);
    }
    if (name === 'InvalidRequestException') {
      const advice = 'when it is being deleted, restore it (aws secretsmanager restore-secret)';
      throw fail('ERR_RING_MISSING', `the secret cannot be used as it is: ${advice}`);
    }
    if (name === 'DecryptionFailure')
      throw fail('ERR_RING_DENIED', 'its KMS key does not open it: these credentials need kms:Decrypt on it');
    const failure = awsFailure(error, 'Secrets Manager', PERMISSIONS);
    throw failure ? fail(CODES[failure.cause], `${failure.advice} (${failure.detail})`) : error;
  };
}

/** The ring that a rotation prepared; null for any other value, such as none or a copy of the current one. */
function preparedRing(text: string | undefined, run: string): KeyRing | null {
  try {
    const ring = parseKeyRing(parsedJson(text));
    return ring.keys.some((key) => key.run === run) ? ring : null;
  } catch {
    return null;
  }
}

function parsedJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    // The parser's message quotes the text around the error, which may be a secret.
    throw new KeyRingError('ERR_RING_INVALID', 'the secret holds no JSON: it is not a key ring');
  }
}
