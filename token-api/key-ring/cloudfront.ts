import {
  type CloudFrontClient,
  DescribeFunctionCommand,
  type FunctionConfig,
  type FunctionStage,
  GetFunctionCommand,
  PublishFunctionCommand,
  TestFunctionCommand,
  type TestResult,
  UpdateFunctionCommand,
} from '@aws-sdk/client-cloudfront';
import * as v from 'valibot';
import { type AwsFailure, awsFailure } from '../../edge-functions/store/aws-failure.ts';
import { BYTE_BUDGET, type EmbeddedKey, readKeys, withKeys } from '../../edge-functions/store/keys-line.ts';
import type { VerificationKey } from '../../token/index.ts';
import type { KeyPublisher } from './key-publisher.ts';

/** How often a run is begun again because somebody else changed the function meanwhile. */
const ATTEMPTS = 5;

/** CloudFront event structures of type viewer-request (Developer Guide, "CloudFront Functions event structure"). */
export interface TestEvents {
  /** Each must go on: one with a token of each key, say. At least one. */
  allowed: object[];
  /**
   * Each must be answered with a status from 400 to 499: one with a token of an unknown key, say. At least one. A function that
   * was built with a mode below `enforce` denies nothing but unsafe paths.
   */
  denied: object[];
}

export interface FunctionPublisherOptions {
  /** The name of the function. */
  name: string;
  /**
   * What CloudFront runs the new code on before it is published; `keys` are what `publish` was given. Tokens must be valid
   * when CloudFront looks at its clock.
   */
  events: (keys: Record<string, VerificationKey>) => TestEvents | Promise<TestEvents>;
}

export type FunctionPublisherErrorCode =
  /** Others changed the function each time it was tried. */
  | 'ERR_FUNCTION_CONFLICT'
  /** There is no such function, or it was never published. */
  | 'ERR_FUNCTION_MISSING'
  /** What is LIVE does not end with a line of keys. */
  | 'ERR_FUNCTION_NOT_EMBEDDED'
  /** DEVELOPMENT differs from LIVE in more than its keys. */
  | 'ERR_FUNCTION_DRAFT'
  /** The keys are not of the form that the function takes. */
  | 'ERR_FUNCTION_KEYS'
  /** With these keys the function would be larger than CloudFront takes. */
  | 'ERR_FUNCTION_BUDGET'
  /** `events` gave nothing to test one of the two outcomes with. */
  | 'ERR_FUNCTION_EVENTS'
  /** The new code did not do what the events demand. It was not published. */
  | 'ERR_FUNCTION_TEST'
  /** No AWS credentials, or none that AWS accepts. */
  | 'ERR_FUNCTION_CREDENTIALS'
  /** The credentials do not permit it. */
  | 'ERR_FUNCTION_DENIED'
  | 'ERR_FUNCTION_THROTTLED'
  /** No connection, no reply in time, or a fault of CloudFront: the call may have taken effect. */
  | 'ERR_FUNCTION_UNAVAILABLE'
  /** CloudFront refused for another reason, or answered something that its API reference does not provide for. */
  | 'ERR_FUNCTION_REFUSED';

/** Why keys were not published; the message says what to do next and quotes neither code nor output: those hold keys. */
export class FunctionPublisherError extends Error {
  readonly code: FunctionPublisherErrorCode;
  constructor(code: FunctionPublisherErrorCode, message: string) {
    super(message);
    this.name = 'FunctionPublisherError';
    this.code = code;
  }
}

/**
 * Publishes keys in a function that embeds them, by replacing the last line of the code that is LIVE and nothing else
 * (Amazon CloudFront API Reference: DescribeFunction, GetFunction, UpdateFunction, TestFunction, PublishFunction). Keys of
 * the compatibility dialect in that line stay as they are. LIVE has the old line or the new one at every moment; a run that
 * ended half-way is completed by the next.
 *
 * `publish` rejects with `FunctionPublisherError`, and with whatever `read` or `events` reject with. An error that leaves open if
 * a call took effect (`ERR_FUNCTION_UNAVAILABLE`) is answered by publishing again.
 */
export function functionPublisher(client: CloudFrontClient, options: FunctionPublisherOptions): KeyPublisher {
  const cloudFront = new EmbeddingFunction(client, options.name);
  return {
    async publish(read) {
      for (let attempt = 1; ; attempt++) {
        try {
          return await publishOnce(cloudFront, read, options.events);
        } catch (error) {
          const conflict = error instanceof FunctionPublisherError && error.code === 'ERR_FUNCTION_CONFLICT';
          if (!conflict || attempt === ATTEMPTS) throw error;
        }
      }
    },
  };
}

async function publishOnce(
  cloudFront: EmbeddingFunction,
  read: (published: string[]) => Promise<Record<string, VerificationKey>>,
  events: FunctionPublisherOptions['events'],
): Promise<string[]> {
  // The version of the draft is looked up before all else, the ring included: who publishes from a later ring changes it,
  // and what is written here in ignorance of that is a conflict.
  const draft = await cloudFront.stage('DEVELOPMENT');
  const live = await cloudFront.stage('LIVE');
  const published = readKeys(live.code);
  if (!published) {
    const advice = "upload one of 'portcullis edge build --keys', or use the edge store";
    throw cloudFront.error('ERR_FUNCTION_NOT_EMBEDDED', `what is LIVE carries no keys in its last line: ${advice}`);
  }

  const ours = Object.entries(published.keys).filter(([, { sign }]) => sign !== undefined);
  const keys = await read(ours.map(([kid]) => kid));
  const code = withKeys(published.body, replaced(published.keys, keys));
  if (code === withKeys(published.body, published.keys)) return [];
  const added = Object.keys(keys).filter((kid) => published.keys[kid]?.sign !== keys[kid]?.sign);
  const drafted = readKeys(draft.code);
  if (drafted?.body !== published.body || !isSameConfig(draft.config, live.config)) {
    const advice = 'publish or revert them, then publish the keys again';
    throw cloudFront.error('ERR_FUNCTION_DRAFT', `DEVELOPMENT has changes that are not LIVE: ${advice}`);
  }
  if (!readKeys(code)) {
    const form = 'key ids have 1–64 letters, digits, _ or -, keys 32 bytes as base64url without padding';
    throw cloudFront.error('ERR_FUNCTION_KEYS', `these keys cannot be embedded: ${form}`);
  }
  const bytes = Buffer.byteLength(code);
  if (bytes > BYTE_BUDGET) {
    const size = `with ${Object.keys(keys).length} keys it has ${bytes} bytes, CloudFront takes ${BYTE_BUDGET}`;
    throw cloudFront.error('ERR_FUNCTION_BUDGET', `${size}: retire keys first, or use the edge store`);
  }
  const { allowed, denied } = await events(keys);
  if (allowed.length === 0 || denied.length === 0) {
    throw cloudFront.error(
      'ERR_FUNCTION_EVENTS',
      'there must be an event to allow and one to deny: nothing was changed',
    );
  }

  const isDrafted = code === withKeys(drafted.body, drafted.keys);
  const version = isDrafted ? draft.version : await cloudFront.update(draft, draft.version, code);
  const failure = await failureOf(cloudFront, version, { allowed, denied });
  if (failure) {
    const isReverted = await cloudFront.update(draft, version, live.code).then(
      () => true,
      () => false,
    );
    const state = isReverted ? 'DEVELOPMENT is as LIVE again' : 'DEVELOPMENT still has it: upload what is LIVE';
    throw cloudFront.error('ERR_FUNCTION_TEST', `${failure}, so the new keys were not published; ${state}`);
  }
  await cloudFront.publish(version);
  return added;
}

/** What is wrong with the draft, or null: the first event whose outcome is not the one it must have. */
async function failureOf(
  cloudFront: EmbeddingFunction,
  version: string,
  { allowed, denied }: TestEvents,
): Promise<string | null> {
  const expected = [
    ...allowed.map((event) => ({ event, outcome: 'allowed' })),
    ...denied.map((event) => ({ event, outcome: 'denied' })),
  ];
  for (const [index, { event, outcome }] of expected.entries()) {
    const actual = await cloudFront.test(version, event);
    if (actual !== outcome) return `test event ${index + 1} of ${expected.length} is to be ${outcome}, but: ${actual}`;
  }
  return null;
}

/** The ring of the new line: these keys of ours, and of the other dialect what was there. */
function replaced(
  published: Record<string, EmbeddedKey>,
  keys: Record<string, VerificationKey>,
): Record<string, EmbeddedKey> {
  const ring = new Map<string, EmbeddedKey>();
  for (const [kid, { compat }] of Object.entries(published)) if (compat !== undefined) ring.set(kid, { compat });
  for (const [kid, { sign, bind }] of Object.entries(keys)) ring.set(kid, { sign, bind, ...ring.get(kid) });
  return Object.fromEntries(ring);
}

function isSameConfig(a: FunctionConfig, b: FunctionConfig): boolean {
  const text = ({ Comment, Runtime, KeyValueStoreAssociations: stores }: FunctionConfig) =>
    JSON.stringify([Comment ?? '', Runtime, (stores?.Items ?? []).map(({ KeyValueStoreARN }) => KeyValueStoreARN)]);
  return text(a) === text(b);
}

const CODES: Record<AwsFailure['cause'], FunctionPublisherErrorCode> = {
  credentials: 'ERR_FUNCTION_CREDENTIALS',
  denied: 'ERR_FUNCTION_DENIED',
  throttled: 'ERR_FUNCTION_THROTTLED',
  unreachable: 'ERR_FUNCTION_UNAVAILABLE',
  failed: 'ERR_FUNCTION_UNAVAILABLE',
  refused: 'ERR_FUNCTION_REFUSED',
  answer: 'ERR_FUNCTION_REFUSED',
};

const OPERATIONS = ['DescribeFunction', 'GetFunction', 'UpdateFunction', 'TestFunction', 'PublishFunction'];
const PERMISSIONS = `${OPERATIONS.map((operation) => `cloudfront:${operation}`).join(', ')} on the function`;

/** What `FunctionOutput` holds: TestFunction wraps what the handler returned. */
const Output = v.union([
  v.object({ response: v.object({ statusCode: v.number() }) }),
  v.object({ request: v.object({}) }),
]);

/** A function at one of its stages. */
interface Stage {
  /** The ETag of this stage. */
  version: string;
  config: FunctionConfig;
  code: string;
}

/** The calls to CloudFront, with its errors in our words. */
class EmbeddingFunction {
  readonly #client: CloudFrontClient;
  readonly #name: string;

  constructor(client: CloudFrontClient, name: string) {
    this.#client = client;
    this.#name = name;
  }

  /** Code that somebody uploads between the two calls is newer than the version: whatever is written to that conflicts. */
  async stage(stage: FunctionStage): Promise<Stage> {
    const about = { Name: this.#name, Stage: stage };
    const refuse = (error: unknown) => this.#refuse(error);
    const { ETag, FunctionSummary } = await this.#client.send(new DescribeFunctionCommand(about)).catch(refuse);
    const { FunctionCode } = await this.#client.send(new GetFunctionCommand(about)).catch(refuse);
    const config = FunctionSummary?.FunctionConfig;
    if (!ETag || !config || !FunctionCode) throw this.#incomplete();
    return { version: ETag, config, code: Buffer.from(FunctionCode).toString() };
  }

  /** Replaces the code of DEVELOPMENT if it still has this version, with its configuration as it was; resolves to the new one. */
  async update({ config }: Stage, version: string, code: string): Promise<string> {
    const command = new UpdateFunctionCommand({
      Name: this.#name,
      IfMatch: version,
      FunctionConfig: config,
      FunctionCode: Buffer.from(code),
    });
    const { ETag } = await this.#client.send(command).catch((error) => this.#refuse(error));
    if (!ETag) throw this.#incomplete();
    return ETag;
  }

  /** What this version of DEVELOPMENT makes of an event, in words. */
  async test(version: string, event: object): Promise<string> {
    const command = new TestFunctionCommand({
      Name: this.#name,
      IfMatch: version,
      Stage: 'DEVELOPMENT',
      EventObject: Buffer.from(JSON.stringify(event)),
    });
    try {
      const { TestResult = {} } = await this.#client.send(command);
      return outcomeOf(TestResult);
    } catch (error) {
      return (error as Error).name === 'TestFunctionFailed' ? 'could not be run' : this.#refuse(error);
    }
  }

  /** Makes LIVE what this version of DEVELOPMENT is. */
  async publish(version: string): Promise<void> {
    const command = new PublishFunctionCommand({ Name: this.#name, IfMatch: version });
    await this.#client.send(command).catch((error) => this.#refuse(error));
  }

  error(code: FunctionPublisherErrorCode, message: string): FunctionPublisherError {
    return new FunctionPublisherError(code, `function ${this.#name}: ${message}`);
  }

  #incomplete(): FunctionPublisherError {
    return this.error('ERR_FUNCTION_REFUSED', 'the answer lacks a field: what answered is not CloudFront');
  }

  /** Throws the error of a call in our words. What is no error of the call is thrown as it is. */
  #refuse(error: unknown): never {
    const { name } = error as Error;
    if (name === 'PreconditionFailed' || name === 'InvalidIfMatchVersion') {
      const advice = 'wait until they are done, then publish again';
      throw this.error('ERR_FUNCTION_CONFLICT', `others are changing it: ${advice}`);
    }
    if (name === 'NoSuchFunctionExists') {
      const advice = 'aws cloudfront list-functions shows those that there are';
      throw this.error('ERR_FUNCTION_MISSING', `there is none of this name, or it was never published: ${advice}`);
    }
    if (name === 'FunctionSizeLimitExceeded') {
      throw this.error(
        'ERR_FUNCTION_BUDGET',
        'it is larger than CloudFront takes: retire keys first, or use the edge store',
      );
    }
    const failure = awsFailure(error, 'CloudFront', PERMISSIONS);
    throw failure ? this.error(CODES[failure.cause], `${failure.advice} (${failure.detail})`) : error;
  }
}

function outcomeOf({ FunctionErrorMessage, FunctionOutput }: TestResult): string {
  if (FunctionErrorMessage) return 'failed with an error';
  let output: unknown;
  try {
    output = JSON.parse(FunctionOutput ?? '');
  } catch {
    return 'had no result';
  }
  const parsed = v.safeParse(Output, output);
  if (!parsed.success) return 'had neither a request nor a response as its result';
  if ('request' in parsed.output) return 'allowed';
  const { statusCode } = parsed.output.response;
  return statusCode >= 400 && statusCode <= 499 ? 'denied' : `answered ${statusCode}`;
}
