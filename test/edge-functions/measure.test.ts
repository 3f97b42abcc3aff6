import { readFileSync } from 'node:fs';
import { CloudFrontClient } from '@aws-sdk/client-cloudfront';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type MeasuredEvent, measureFunction, RUNS } from '../../edge-functions/measure/cloudfront.ts';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { packagePath } from '../../local/package-root.ts';
import { type Answer, type Call, described, refused, startCloudFront, tested } from '../harness/cloudfront.ts';
import { NOW } from '../harness/minting.ts';

const TARGET = { name: 'portcullis-viewer-request', stage: 'DEVELOPMENT' } as const;
const PASSED = { request: { method: 'GET', uri: '/a', headers: {}, querystring: {}, cookies: {} } };
const event = (uri: string) => ({
  version: '1.0',
  context: { eventType: 'viewer-request' },
  viewer: { ip: '203.0.113.7' },
  request: { method: 'GET', uri, querystring: {}, headers: {}, cookies: {} },
});

const open: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of open.splice(0)) await close();
});
beforeAll(() => {
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
});

/** Measures against a stand-in: `test` answers the runs, counted from 0; `describe` the look-up before them. */
async function measure(
  test: (run: number, call: Call) => Answer | Promise<Answer>,
  { events = [event('/a')], describe = described('E1') }: { events?: MeasuredEvent[]; describe?: Answer } = {},
) {
  let runs = 0;
  const server = await startCloudFront((call) => (call.operation === 'GET describe' ? describe : test(runs++, call)));
  const client = new CloudFrontClient({
    endpoint: server.url,
    region: 'us-east-1',
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
  });
  open.push(() => client.destroy(), server.close);
  const reported: string[] = [];
  const result = measureFunction(client, TARGET, events, (line) => reported.push(line));
  return { calls: server.calls, reported, result, settled: result.catch((error: unknown) => error) };
}

describe('what is asked', () => {
  test('the version first, then five runs an event against it, and nothing that changes anything', async () => {
    const events = [event('/a'), event('/b')];
    const { calls, reported, result } = await measure(() => tested('7', PASSED), { events });
    await result;
    const run = { operation: 'POST test', ...TARGET, ifMatch: 'E1' };
    expect(calls).toEqual([
      { operation: 'GET describe', ...TARGET },
      ...events.flatMap((event) => Array.from({ length: RUNS }, () => ({ ...run, event }))),
    ]);
    expect(reported.slice(1)).toEqual(['running event 1 of 2, 5 times', 'running event 2 of 2, 5 times']);
  });
});

describe('what is reported', () => {
  test('least, median and greatest of the runs', async () => {
    const { result } = await measure((run) => tested(['21', '9', '100', '0', '20'][run] ?? '', PASSED));
    expect(await result).toEqual([
      {
        uri: '/a',
        utilisation: { min: 0, median: 20, max: 100, runs: [21, 9, 100, 0, 20] },
        outcomes: [{ goesOn: true }],
      },
    ]);
  });

  test('the answers of the built function, wrapped as CloudFront wraps them', async () => {
    const code = readFileSync(packagePath('dist', 'edge', 'viewer-request.js'), 'utf8');
    const { result } = await measure(async (_, { event }) => {
      const [outcome] = await runInVm(code, [event], { now: NOW, store: new Map() });
      if (!outcome || !('value' in outcome)) throw new Error('the function did not run');
      return tested('19', { response: outcome.value }, '', ['a line of its log']);
    });
    expect((await result)[0]?.outcomes).toEqual([{ status: 401, reason: 'token-missing' }]);
  });

  test('a failure with its message, on one line and without the signature of a token', async () => {
    const signature = 'S'.repeat(43);
    const token = `AbCdEf012345.${'h'.repeat(40)}.${'p'.repeat(40)}.${signature}`;
    const { result } = await measure((run) =>
      run === 0 ? tested('', '', `SyntaxError:\n\u001b[31m unexpected in /${token}/a`) : tested('30', PASSED),
    );
    const [measurement] = await result;
    expect(measurement?.utilisation).toEqual({ min: 30, median: 30, max: 30, runs: [30, 30, 30, 30] });
    expect(measurement?.outcomes).toHaveLength(2);
    expect(measurement?.outcomes[0]).toEqual({
      error: `SyntaxError: [31m unexpected in /${token.replace(signature, '-')}/a`,
    });
  });

  test('no figures when every run failed', async () => {
    const { result } = await measure(() => tested('', '', 'The function exceeded its memory'));
    expect(await result).toEqual([
      {
        uri: '/a',
        utilisation: { min: null, median: null, max: null, runs: [] },
        outcomes: [{ error: 'The function exceeded its memory' }],
      },
    ]);
  });

  test('throttling that passes is waited out', async () => {
    const { result } = await measure((run) => (run === 0 ? refused(400, 'Throttling') : tested('7', PASSED)));
    expect((await result)[0]?.utilisation.runs).toHaveLength(RUNS);
  });
});

const ARN = 'arn:aws:iam::123456789012:user/x';
test.each<[string, Answer, string, RegExp]>([
  [
    'denied',
    refused(403, 'AccessDenied', `User: ${ARN} is not authorized`),
    'ERR_MEASURE_DENIED',
    /cloudfront:TestFunction.*authorized/,
  ],
  ['unknown', refused(404, 'NoSuchFunctionExists'), 'ERR_MEASURE_UNKNOWN', /list-functions/],
  ['credentials refused', refused(403, 'InvalidClientTokenId'), 'ERR_MEASURE_CREDENTIALS', /renew/],
  ['credentials expired', refused(403, 'ExpiredToken'), 'ERR_MEASURE_CREDENTIALS', /renew/],
  ['throttled', refused(400, 'Throttling', 'Rate exceeded'), 'ERR_MEASURE_THROTTLED', /wait a minute/],
  ['throttled by status', refused(429, 'TooManyRequestsException'), 'ERR_MEASURE_THROTTLED', /wait/],
  ['unavailable', refused(503, 'ServiceUnavailable', 'Later.'), 'ERR_MEASURE_REFUSED', /Later\./],
  ['no XML', { status: 200, headers: { etag: 'E' }, body: '<html><p>Log in' }, 'ERR_MEASURE_ANSWER', /not CloudFront/],
  ['no version', { body: described('').body }, 'ERR_MEASURE_ANSWER', /which version/],
])('DescribeFunction %s', async (_, describe, code, message) => {
  const { calls, settled } = await measure(() => tested('7', PASSED), { describe });
  expect(await settled).toMatchObject({ code, message: expect.stringMatching(message) });
  expect((await settled) as Error).toHaveProperty('message', expect.not.stringContaining('\n'));
  expect(calls.every(({ operation }) => operation === 'GET describe')).toBe(true);
});

test.each<[string, Answer, string, RegExp]>([
  ['of an older version', refused(412, 'PreconditionFailed'), 'ERR_MEASURE_CHANGED', /run the command again/],
  ['with a bad version', refused(400, 'InvalidIfMatchVersion'), 'ERR_MEASURE_CHANGED', /updated/],
  ['denied', refused(403, 'AccessDenied'), 'ERR_MEASURE_DENIED', /cloudfront:TestFunction/],
  ['that CloudFront cannot do', refused(500, 'TestFunctionFailed', 'Broken.'), 'ERR_MEASURE_REFUSED', /Broken\./],
  ['with an event that is none', refused(400, 'InvalidArgument', 'Bad event'), 'ERR_MEASURE_REFUSED', /Bad event/],
  ['without a result', { body: '<TestResult/>' }, 'ERR_MEASURE_ANSWER', /utilisation ''/],
  ['whose output is no JSON', tested('7', 'undefined'), 'ERR_MEASURE_ANSWER', /not JSON/],
  ['whose output is something else', tested('7', { response: {} }), 'ERR_MEASURE_ANSWER', /neither/],
])('TestFunction %s', async (_, answer, code, message) => {
  const { settled } = await measure((run) => (run === 2 || answer.status === 500 ? answer : tested('7', PASSED)));
  expect(await settled).toMatchObject({ code, message: expect.stringMatching(message) });
});

test.each(['', 'high', '101', '-1', '3.5', '1e1', '0x10', '007e', '１２'])(
  'the utilisation %j is refused',
  async (text) => {
    const { settled } = await measure(() => tested(text, PASSED));
    expect(await settled).toMatchObject({ code: 'ERR_MEASURE_ANSWER', message: expect.stringContaining(`'${text}'`) });
  },
);

test('a service that is not there', async () => {
  const client = new CloudFrontClient({
    endpoint: 'http://127.0.0.1:1',
    region: 'us-east-1',
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
    maxAttempts: 1,
  });
  open.push(() => client.destroy());
  await expect(measureFunction(client, TARGET, [event('/a')], () => undefined)).rejects.toMatchObject({
    code: 'ERR_MEASURE_UNREACHABLE',
    message: expect.stringContaining('ECONNREFUSED'),
  });
});
