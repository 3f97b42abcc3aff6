import { setTimeout as sleep } from 'node:timers/promises';
import type { CloudFormationCustomResourceEvent } from 'aws-lambda';
import { awsFailure } from '../../edge-functions/store/aws-failure.ts';
import { DeploymentError } from './deployment-error.ts';

/** What there is after a resource was made or updated. */
export interface Made {
  /** Another one than before is a replacement: CloudFormation then has the one before removed. */
  physicalId: string;
  /** What `Fn::GetAtt` gives. */
  attributes?: Record<string, string>;
}

/** A type of custom resource: what happens to it may happen again, or to one that is there already. */
export interface CustomResourceType {
  /** Makes it, or makes it what `properties` say; `before` are those it had. */
  make(properties: Record<string, unknown>, before: Record<string, unknown> | undefined): Promise<Made>;
  /** Removes it unless somebody uses it. */
  remove(physicalId: string): Promise<void>;
}

/** What stands for a resource whose making failed: to remove it removes nothing. */
const NOT_MADE = 'portcullis-not-made';
/** Time that is left for the answer, in milliseconds: without one CloudFormation waits for an hour. */
const RESERVE_MS = 15_000;
const ANSWER_ATTEMPTS = 5;
/** CloudFormation takes answers of 4096 bytes. */
const REASON_CHARACTERS = 1000;

/**
 * Does what CloudFormation asks of a custom resource and answers it (AWS CloudFormation Template Reference, "Custom resource
 * request objects", "response objects"). What fails is answered with the error's message, so that the deployment is rolled
 * back. Rejects only when the answer could not be brought: Lambda then calls again. `timeLeft`: in milliseconds.
 */
export async function answerCustomResource(
  event: CloudFormationCustomResourceEvent,
  types: Record<string, CustomResourceType>,
  timeLeft: () => number,
): Promise<void> {
  const { StackId, RequestId, LogicalResourceId, ResourceType } = event;
  const present = 'PhysicalResourceId' in event ? event.PhysicalResourceId : NOT_MADE;
  const subject = { StackId, RequestId, LogicalResourceId };
  const deadline = new AbortController();
  try {
    const late = sleep(Math.max(timeLeft() - RESERVE_MS, 0), undefined, { signal: deadline.signal }).then(() => {
      const advice = 'deploy again, which goes on where this stopped; the log of the function says what it waited for';
      throw new DeploymentError('ERR_DEPLOYMENT_TIMEOUT', `it took too long: ${advice}`);
    });
    late.catch(() => undefined);
    const { physicalId, attributes } = await Promise.race([done(event, types, present), late]);
    await answer(event, {
      ...{ ...subject, Status: 'SUCCESS', PhysicalResourceId: physicalId },
      ...(attributes && { Data: attributes }),
    });
  } catch (error) {
    if (error instanceof UnansweredError) throw error;
    const reason = reasonOf(error);
    console.error(`${event.RequestType} of ${LogicalResourceId} (${ResourceType}): ${reason}`);
    const Reason = reason.slice(0, REASON_CHARACTERS);
    await answer(event, { ...subject, Status: 'FAILED', PhysicalResourceId: present, Reason });
  } finally {
    deadline.abort();
  }
}

async function done(
  event: CloudFormationCustomResourceEvent,
  types: Record<string, CustomResourceType>,
  present: string,
): Promise<Made> {
  const isNothing = event.RequestType === 'Delete' && present === NOT_MADE;
  if (isNothing) return { physicalId: present };
  const type = Object.hasOwn(types, event.ResourceType) ? types[event.ResourceType] : undefined;
  if (!type) {
    const known = Object.keys(types).join(', ');
    throw new DeploymentError('ERR_DEPLOYMENT_PROPERTIES', `'${event.ResourceType}' is none of ${known}`);
  }
  if (event.RequestType === 'Delete') {
    await type.remove(present);
    return { physicalId: present };
  }
  const before = event.RequestType === 'Update' ? event.OldResourceProperties : undefined;
  return type.make(event.ResourceProperties, before);
}

/** What is wrong, and what to do. What AWS wrote is left out: it quotes input, and the code of a function holds keys. */
function reasonOf(error: unknown): string {
  const { code, name, message, stack = '' } = error as Error & { code?: unknown };
  if (typeof code === 'string' && code.startsWith('ERR_')) return `${code}: ${message}`;
  const failure = awsFailure(error, 'AWS', 'the permissions of this function in lambda/handlers.ts');
  if (failure) return `${failure.advice} (${failure.detail})`;
  // For those who look for the fault: where, without what.
  console.error(stack.split('\n').slice(1).join('\n'));
  return `unexpected ${name}: a fault of Portcullis, the log of the function says where`;
}

/** The answer did not arrive. */
class UnansweredError extends Error {}

/** Puts the answer where the event says. That URL is signed: whoever has it can answer, so it is in no message. */
async function answer({ ResponseURL }: CloudFormationCustomResourceEvent, content: object): Promise<void> {
  const body = Buffer.from(JSON.stringify(content));
  for (let attempt = 1; ; attempt++) {
    // The signature is one over an empty content type.
    const request = { method: 'PUT', body, headers: { 'content-type': '' }, signal: AbortSignal.timeout(3000) };
    const reply = await fetch(ResponseURL, request).catch(() => undefined);
    await reply?.body?.cancel();
    if (reply?.ok) return;
    if (attempt === ANSWER_ATTEMPTS)
      throw new UnansweredError(`no answer to CloudFormation (${reply?.status ?? 'no reply'})`);
    await sleep(100 * 2 ** attempt);
  }
}
