import { InvalidArgument } from '@aws-sdk/client-cloudfront';
import {
  DeleteRuleGroupCommand,
  GetRuleGroupCommand,
  WAFAssociatedItemException,
  WAFOptimisticLockException,
  WAFV2Client,
} from '@aws-sdk/client-wafv2';
import type { CloudFormationCustomResourceEvent } from 'aws-lambda';
import { mockClient } from 'aws-sdk-client-mock';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { answerCustomResource, type CustomResourceType } from '../../lambda/deployment/custom-resource.ts';
import { deleteRuleGroup } from '../../lambda/deployment/waf.ts';
import { openPort } from '../../local/listen.ts';

const SIGNED = 'X-Amz-Signature=not-to-be-logged';

interface Answered {
  Status?: unknown;
  PhysicalResourceId?: unknown;
  Reason?: unknown;
  headers: Record<string, unknown> | undefined;
  failure: string | undefined;
}

/** What CloudFormation is answered by one event, of which the first `refusals` attempts are refused. */
async function answered(
  type: CustomResourceType,
  more: object = {},
  timeLeft = 900_000,
  refusals = 0,
): Promise<Answered> {
  const port = await openPort(0);
  const answers: { headers: Record<string, unknown>; body: Record<string, unknown> }[] = [];
  let attempts = 0;
  port.serve(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    const isRefused = attempts++ < refusals;
    if (!isRefused) answers.push({ headers: request.headers, body: JSON.parse(body) });
    response.writeHead(isRefused ? 503 : 200).end();
  });
  const event = {
    ...{ RequestType: 'Create', ResponseURL: `${port.url}/?${SIGNED}`, ResourceType: 'Custom::Thing' },
    ...{ StackId: 'stack', RequestId: 'request', LogicalResourceId: 'Thing', ResourceProperties: {}, ...more },
  } as unknown as CloudFormationCustomResourceEvent;
  const failure = await answerCustomResource(event, { 'Custom::Thing': type }, () => timeLeft).then(
    () => undefined,
    String,
  );
  await port.close();
  expect(answers.length).toBeLessThanOrEqual(1);
  return { ...answers[0]?.body, headers: answers[0]?.headers, failure };
}

const made: CustomResourceType = { make: async () => ({ physicalId: 'it' }), remove: async () => undefined };

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a custom resource', () => {
  test('is answered where CloudFormation says, without a content type', async () => {
    const answer = await answered({ ...made, make: async () => ({ physicalId: 'it', attributes: { Arn: 'arn' } }) });
    expect(answer).toMatchObject({ Status: 'SUCCESS', PhysicalResourceId: 'it', Data: { Arn: 'arn' } });
    expect(answer).toMatchObject({ StackId: 'stack', RequestId: 'request', LogicalResourceId: 'Thing' });
    expect(answer.headers?.['content-type']).toBe('');
  });

  test('is answered again when the answer is refused, and Lambda calls again when it never arrives', async () => {
    expect(await answered(made, {}, 900_000, 2)).toMatchObject({ Status: 'SUCCESS' });
    const { failure, Status } = await answered(made, {}, 900_000, 100);
    expect(Status).toBeUndefined();
    expect(failure).toContain('no answer to CloudFormation (503)');
    expect(failure).not.toContain(SIGNED);
  });

  test('that fails is said to, and the removal of what was not made removes nothing', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const removed: string[] = [];
    const failing: CustomResourceType = {
      make: async () => Promise.reject(Object.assign(new Error('x'.repeat(5000)), { code: 'ERR_THING' })),
      remove: async (physicalId) => void removed.push(physicalId),
    };
    const answer = await answered(failing);
    expect(answer).toMatchObject({ Status: 'FAILED', Reason: expect.stringMatching(/^ERR_THING: xxx/) });
    expect(JSON.stringify({ ...answer, headers: undefined }).length).toBeLessThan(4096);
    const { PhysicalResourceId } = answer;
    expect(await answered(failing, { RequestType: 'Delete', PhysicalResourceId })).toMatchObject({ Status: 'SUCCESS' });
    expect(removed).toEqual([]);
    expect(await answered(failing, { RequestType: 'Delete', PhysicalResourceId: 'it' })).toMatchObject({
      Status: 'SUCCESS',
    });
    expect(removed).toEqual(['it']);
    const update = { RequestType: 'Update', PhysicalResourceId: 'it', OldResourceProperties: {} };
    // Another id would be a replacement, and have the present one removed.
    expect(await answered(failing, update)).toMatchObject({ Status: 'FAILED', PhysicalResourceId: 'it' });
    expect(JSON.stringify(log.mock.calls)).not.toContain(SIGNED);
  });

  test('never says what AWS wrote, which may quote the code of a function with its keys', async () => {
    const log = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    for (const error of [
      new InvalidArgument({ message: 'const KEYS={"k1":…}', $metadata: { requestId: 'r-1' } }),
      new TypeError('cannot read const KEYS={"k1":…}'),
    ]) {
      const { Reason, headers } = await answered({ ...made, make: async () => Promise.reject(error) });
      expect(headers).toBeDefined();
      expect(Reason).toContain(error.name);
      expect(`${Reason} ${JSON.stringify(log.mock.calls)}`).not.toContain('KEYS');
    }
  });

  test('that does not end in time is answered before Lambda ends the function', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined);
    const endless: CustomResourceType = { ...made, make: () => new Promise(() => undefined) };
    expect(await answered(endless, {}, 15_001)).toMatchObject({
      Status: 'FAILED',
      Reason: expect.stringContaining('ERR_DEPLOYMENT_TIMEOUT'),
    });
  });
});

describe('a rule group', () => {
  const ARN = 'arn:aws:wafv2:us-east-1:123456789012:global/rulegroup/portcullis-revoked-sessions-1500/a-b';
  const told = { message: 'no', $metadata: {} };

  test('that a web ACL refers to is not deleted', async () => {
    const client = new WAFV2Client({ region: 'us-east-1', credentials: { accessKeyId: 'a', secretAccessKey: 's' } });
    const mock = mockClient(client);
    mock.on(GetRuleGroupCommand).resolves({ LockToken: 'lock' });
    mock.on(DeleteRuleGroupCommand).rejects(new WAFAssociatedItemException({ ...told, Message: 'no' }));
    expect(await deleteRuleGroup(client, ARN)).toBe(false);
    mock
      .on(DeleteRuleGroupCommand)
      .rejectsOnce(new WAFOptimisticLockException({ ...told, Message: 'no' }))
      .resolves({});
    expect(await deleteRuleGroup(client, ARN)).toBe(true);
    const input = { Name: 'portcullis-revoked-sessions-1500', Id: 'a-b', Scope: 'CLOUDFRONT' };
    expect(mock.commandCalls(GetRuleGroupCommand).at(-1)?.args[0].input).toEqual(input);
  });
});
