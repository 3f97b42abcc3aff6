import {
  type CloudFrontClient,
  CreateFunctionCommand,
  DeleteFunctionCommand,
  DescribeFunctionCommand,
  type FunctionConfig,
  type FunctionStage,
  GetFunctionCommand,
  PublishFunctionCommand,
  TestFunctionCommand,
  UpdateFunctionCommand,
} from '@aws-sdk/client-cloudfront';
import { type EmbeddedKey, readKeys, withKeys } from '../../edge-functions/store/keys-line.ts';
import type { VerificationKey } from '../../token/index.ts';
import type { TestEvents } from '../../token-api/key-ring/cloudfront.ts';
import { DeploymentError } from './deployment-error.ts';

/** A function that embeds its keys, as a template describes it: all of the code but the line of keys. */
export interface EmbeddedFunctionDescription {
  name: string;
  body: string;
  /** The body that the template before this one had. */
  bodyBefore: string | undefined;
}

/** What CloudFront runs a function on before it is published; `keys` are those that are live. */
export type EventsOf = (keys: Record<string, VerificationKey>) => TestEvents;

const CONFIG: FunctionConfig = {
  Comment: 'Checks the token in the path of every request; its last line holds the keys',
  Runtime: 'cloudfront-js-2.0',
};
const ATTEMPTS = 5;

/**
 * Makes the function, without a key, so that it denies everything until some are published; or gives the one that is there a new
 * body and leaves it the keys that are live. It is LIVE with the old code or the new at every moment, and a call that ended
 * half-way is completed by the next (Amazon CloudFront API Reference). Rejects with `DeploymentError` and with
 * what the client rejects with.
 */
export async function makeEmbeddedFunction(
  client: CloudFrontClient,
  description: EmbeddedFunctionDescription,
  eventsOf: EventsOf,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await madeOnce(client, description, eventsOf);
    } catch (error) {
      // Keys were published meanwhile: they are to stay.
      if ((error as Error).name !== 'PreconditionFailed') throw error;
      if (attempt < ATTEMPTS) continue;
      const message = `function ${description.name} was changed by others ${ATTEMPTS} times meanwhile: deploy again`;
      throw new DeploymentError('ERR_DEPLOYMENT_CONFLICT', message);
    }
  }
}

async function madeOnce(
  client: CloudFrontClient,
  { name: Name, body, bodyBefore }: EmbeddedFunctionDescription,
  eventsOf: EventsOf,
): Promise<void> {
  // The draft before LIVE: keys that are published after this change its version.
  const draft = (await stageOf(client, Name, 'DEVELOPMENT')) ?? (await created(client, Name, body));
  const live = await stageOf(client, Name, 'LIVE');
  const published = live && readKeys(live.code);
  if (live && !published) {
    const advice = 'it is another function: give it another name, or delete it';
    throw new DeploymentError(
      'ERR_DEPLOYMENT_DRAFT',
      `what is LIVE of ${Name} carries no keys in its last line: ${advice}`,
    );
  }
  const keys = published?.keys ?? {};
  const code = withKeys(body, keys);
  const drafted = readKeys(draft.code)?.body;
  const isOurs = [published?.body, body, bodyBefore].includes(drafted);
  if (live?.code === code) {
    // What a deployment that was rolled back has left would keep keys from being published.
    if (isOurs && drafted !== body) await update(client, Name, draft.version, code);
    return;
  }
  if (live && !isOurs) {
    const advice = 'publish or revert them, then deploy again';
    throw new DeploymentError(
      'ERR_DEPLOYMENT_DRAFT',
      `DEVELOPMENT of ${Name} has changes that are not LIVE: ${advice}`,
    );
  }
  const version = draft.code === code ? draft.version : await update(client, Name, draft.version, code);
  const failure = await failureOf(client, Name, version, eventsOf(ownKeys(keys)));
  if (failure) {
    if (live) await update(client, Name, version, live.code);
    throw new DeploymentError('ERR_DEPLOYMENT_FUNCTION', `the new code of ${Name} was not published: ${failure}`);
  }
  await client.send(new PublishFunctionCommand({ Name, IfMatch: version }));
}

/** Deletes the function; resolves to whether it did: one that a distribution uses stays. */
export async function deleteEmbeddedFunction(client: CloudFrontClient, Name: string): Promise<boolean> {
  try {
    const { ETag } = await client.send(new DescribeFunctionCommand({ Name, Stage: 'DEVELOPMENT' }));
    await client.send(new DeleteFunctionCommand({ Name, IfMatch: ETag }));
    return true;
  } catch (error) {
    const { name } = error as Error;
    if (name === 'NoSuchFunctionExists') return true;
    if (name === 'FunctionInUse') return false;
    throw error;
  }
}

/** A function at one of its stages; `version` is the ETag of that. */
interface Stage {
  version: string;
  code: string;
}

async function stageOf(client: CloudFrontClient, Name: string, Stage: FunctionStage): Promise<Stage | undefined> {
  try {
    const { ETag } = await client.send(new DescribeFunctionCommand({ Name, Stage }));
    const { FunctionCode } = await client.send(new GetFunctionCommand({ Name, Stage }));
    return { version: ETag ?? '', code: Buffer.from(FunctionCode ?? []).toString() };
  } catch (error) {
    if ((error as Error).name === 'NoSuchFunctionExists') return undefined;
    throw error;
  }
}

async function created(client: CloudFrontClient, Name: string, body: string): Promise<Stage> {
  const code = withKeys(body, {});
  const { ETag = '' } = await client.send(
    new CreateFunctionCommand({ Name, FunctionConfig: CONFIG, FunctionCode: Buffer.from(code) }),
  );
  return { version: ETag, code };
}

async function update(client: CloudFrontClient, Name: string, IfMatch: string, code: string): Promise<string> {
  const command = new UpdateFunctionCommand({
    ...{ Name, IfMatch, FunctionConfig: CONFIG, FunctionCode: Buffer.from(code) },
  });
  const { ETag = '' } = await client.send(command);
  return ETag;
}

/** What is wrong with the draft, or null: the first event whose outcome is not the one it must have. */
async function failureOf(
  client: CloudFrontClient,
  Name: string,
  IfMatch: string,
  { allowed, denied }: TestEvents,
): Promise<string | null> {
  for (const [event, outcome] of [
    ...allowed.map((each) => [each, 'request'] as const),
    ...denied.map((each) => [each, 'response'] as const),
  ]) {
    const EventObject = Buffer.from(JSON.stringify(event));
    const command = new TestFunctionCommand({ Name, IfMatch, Stage: 'DEVELOPMENT', EventObject });
    const tested = await client.send(command).catch((error: Error) => {
      if (error.name === 'TestFunctionFailed') return undefined;
      throw error;
    });
    const { FunctionErrorMessage, FunctionOutput = '' } = tested?.TestResult ?? {};
    if (!tested || FunctionErrorMessage) return 'with the live keys it fails';
    if (!(outcome in outputOf(FunctionOutput))) {
      return outcome === 'request' ? 'it denies a token of a live key' : 'it lets an unsafe path through';
    }
  }
  return null;
}

/** TestFunction wraps what the handler returned: `{"request":…}` or `{"response":…}`. */
function outputOf(text: string): object {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

/** Without those of the compatibility dialect. */
function ownKeys(keys: Record<string, EmbeddedKey>): Record<string, VerificationKey> {
  const own = Object.entries(keys).flatMap(([kid, { sign, bind }]) => (sign && bind ? [[kid, { sign, bind }]] : []));
  return Object.fromEntries(own);
}
