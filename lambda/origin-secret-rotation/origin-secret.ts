import { randomBytes } from 'node:crypto';
import { awsFailure } from '../../edge-functions/store/aws-failure.ts';
import type { RotationEvent } from '../../token-api/key-ring/rotation.ts';

/** Versions of the secret by which the edge proves itself to the API. */
export interface SecretVersions {
  /** Which version is current, and whether `run` is the one that a rotation makes. */
  describe(run: string): Promise<{ current: string | undefined; isPending: boolean }>;
  /** A version's value and since when it has one, in seconds since the epoch; undefined while it has none. */
  read(version: string): Promise<{ value: string; createdAt: number } | undefined>;
  /** Gives the version that a rotation makes its value, once. */
  create(run: string, value: string): Promise<void>;
  /** Makes version `run` the current one in place of `current`. */
  promote(run: string, current: string): Promise<void>;
}

/** The header that the distribution sends to the API. */
export interface OriginHeader {
  /** Whether every origin that sends it sends this value, at all edge locations. */
  state(value: string): Promise<'other' | 'deploying' | 'deployed'>;
  /** Has every origin that sends it send this value from now on. */
  set(value: string): Promise<void>;
}

export type OriginSecretErrorCode =
  /** What was called for is no step of a rotation, or of one that is not under way. */
  | 'ERR_ORIGIN_SECRET_STEP'
  /** No origin of the distribution sends the header. */
  | 'ERR_ORIGIN_SECRET_UNUSED'
  /** The distribution was changed by others each time it was tried. */
  | 'ERR_ORIGIN_SECRET_CONFLICT'
  /** CloudFront has not brought the header to all edge locations yet. */
  | 'ERR_ORIGIN_SECRET_DEPLOYING'
  /** The API does not answer through the distribution. */
  | 'ERR_ORIGIN_SECRET_PROBE'
  /** AWS refused a call, or could not be reached: it may have taken effect. */
  | 'ERR_ORIGIN_SECRET_AWS';

/** Why a step was not done; it can be repeated. Never carries a secret. */
export class OriginSecretError extends Error {
  readonly code: OriginSecretErrorCode;
  constructor(code: OriginSecretErrorCode, message: string) {
    super(message);
    this.name = 'OriginSecretError';
    this.code = code;
  }
}

/** What a rotation is made of. */
export interface OriginSecretRotationOptions {
  versions: SecretVersions;
  header: OriginHeader;
  /** Status of a request to the API through the distribution. */
  ask: () => Promise<number>;
  /** Seconds since the epoch. */
  now: () => number;
  sleep: (milliseconds: number) => Promise<unknown>;
}

/** By then every instance of the API has read a new version: it reads them every minute (`lambda/api/secrets-manager.ts`). */
const KNOWN_AFTER_SECONDS = 90;
/** For how long a step waits for CloudFront. Longer than a function may run it must not. */
const PATIENCE_SECONDS = 600;
const POLL_MS = 10_000;
/** Bytes of a secret. */
const BYTES = 36;
const PERMISSIONS = "the permissions of 'origin-secret-rotation' in lambda/handlers.ts";

type StepOfRotation = Pick<RotationEvent, 'Step' | 'ClientRequestToken'>;

/**
 * The four steps of a rotation of the origin secret (AWS Secrets Manager User Guide, "Rotation function steps"), each of which may
 * be repeated. No request is refused for it: the API takes the pending version too, and the edge sends it only when the API has
 * had the time to read it. Rejects with `OriginSecretError`, which quotes nothing that AWS wrote.
 */
export function originSecretRotation({ versions, header, ask, now, sleep }: OriginSecretRotationOptions) {
  const prepared = async (run: string) => {
    const version = await versions.read(run);
    if (version) return version;
    throw new OriginSecretError('ERR_ORIGIN_SECRET_STEP', `version ${run} has no value yet: begin with createSecret`);
  };
  /**
   * Whether Secrets Manager only tries the function, as it does when a schedule is made: it calls for testSecret of a version
   * that nobody gave a value of its own, and removes that (API Reference, RotateSecret, `RotateImmediately`).
   */
  const isRehearsal = async (run: string, current: string | undefined) => {
    const version = await versions.read(run);
    if (!version || current === undefined) return true;
    return version.value === (await versions.read(current))?.value;
  };
  const steps: Record<RotationEvent['Step'], (run: string, current: string | undefined) => Promise<void>> = {
    async createSecret(run) {
      if (!(await versions.read(run))) await versions.create(run, randomBytes(BYTES).toString('base64url'));
    },
    async setSecret(run) {
      const { value, createdAt } = await prepared(run);
      if ((await header.state(value)) !== 'other') return;
      const wait = createdAt + KNOWN_AFTER_SECONDS - now();
      if (wait > 0) await sleep(Math.min(wait, KNOWN_AFTER_SECONDS) * 1000);
      await header.set(value);
    },
    async testSecret(run, current) {
      if (await isRehearsal(run, current)) return;
      const { value } = await prepared(run);
      const deadline = now() + PATIENCE_SECONDS;
      for (;;) {
        const state = await header.state(value);
        if (state === 'deployed') break;
        if (state === 'other' || now() >= deadline) {
          const message = `the distribution ${state === 'other' ? 'sends another secret' : 'is not deployed yet'}: rotate again`;
          throw new OriginSecretError('ERR_ORIGIN_SECRET_DEPLOYING', message);
        }
        await sleep(POLL_MS);
      }
      const status = await ask();
      if (status === 200) return;
      const message = `the API answers ${status || 'nothing'} through the distribution: see its log, then rotate again`;
      throw new OriginSecretError('ERR_ORIGIN_SECRET_PROBE', message);
    },
    async finishSecret(run, current) {
      const { value } = await prepared(run);
      if ((await header.state(value)) === 'other') {
        const message = 'the distribution sends another secret again, as after a deployment: rotate anew';
        throw new OriginSecretError('ERR_ORIGIN_SECRET_DEPLOYING', message);
      }
      if (current !== undefined) await versions.promote(run, current);
    },
  };

  return async ({ Step, ClientRequestToken }: StepOfRotation): Promise<void> => {
    try {
      await step(Step, ClientRequestToken);
    } catch (error) {
      const failure = error instanceof OriginSecretError ? null : awsFailure(error, 'AWS', PERMISSIONS);
      if (!failure) throw error;
      throw new OriginSecretError('ERR_ORIGIN_SECRET_AWS', `${failure.advice} (${failure.detail})`);
    }
  };

  async function step(name: RotationEvent['Step'], run: string): Promise<void> {
    const { current, isPending } = await versions.describe(run);
    if (current === run) return;
    if (!Object.hasOwn(steps, name) || (!isPending && name !== 'createSecret')) {
      const message = `${String(name).slice(0, 40)} of ${run} is no step of a rotation under way: rotate the secret anew`;
      throw new OriginSecretError('ERR_ORIGIN_SECRET_STEP', message);
    }
    await steps[name](run, current);
  }
}
