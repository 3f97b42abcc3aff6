import { expect, test } from 'vitest';
import { EdgeStore } from '../../../edge-functions/store/edge-store.ts';
import { AwsKeyValueStore } from '../../../edge-functions/store/key-value-store-aws.ts';
import { deliveryRoutes } from '../../../revocation/http/delivery-routes.ts';
import { problemDetails } from '../../../token-api/http/problem.ts';
import { callerFromHeaders } from '../../harness/api.ts';
import { KeyValueStoreService, STORE_ARN } from '../../harness/key-value-store-service.ts';

/** The routes on an edge store whose service fails in this way; undefined when it does not. */
function open(failure?: Error & { $fault?: string }) {
  const service = new KeyValueStoreService();
  service.before = () => {
    if (failure) throw failure;
  };
  const app = deliveryRoutes({
    authorize: () => callerFromHeaders,
    store: new EdgeStore(new AwsKeyValueStore(service.client, STORE_ARN)),
    report: () => undefined,
  });
  const reported: string[] = [];
  app.onError(problemDetails((error) => reported.push((error as { code?: string }).code ?? error.name)));
  const ask = async (method: string, path: string, body?: unknown) => {
    const answer = await app.request(path, { method, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    const { code } = (await answer.json()) as { code?: string };
    return { answered: [answer.status, code], retryAfter: answer.headers.get('retry-after') };
  };
  return { ask, reported };
}

const CALLS: [method: string, path: string, body?: unknown][] = [
  ['GET', '/v1/edge/modes'],
  ['PUT', '/v1/edge/modes', { prefix: '/live/', mode: 'log' }],
  ['GET', '/v1/edge/blocks'],
  ['POST', '/v1/assets/aurora/blocks', { countries: ['GB'] }],
  ['PUT', '/v1/assets/aurora/blocks', { blocks: [{ countries: ['GB'] }] }],
  ['DELETE', '/v1/assets/aurora/blocks'],
];
const named = (name: string, more: object = {}) => Object.assign(new Error('told'), { name, ...more });

test('nobody can pass a block off as a revocation', async () => {
  const { ask } = open();
  const { answered } = await ask('POST', '/v1/assets/aurora/blocks', { revoked: true });
  expect(answered).toEqual([400, 'ERR_BODY_INVALID']);
});

test('what the store cannot take is 422', async () => {
  const { ask } = open();
  const mode = { prefix: '/live', mode: 'log' };
  expect((await ask('PUT', '/v1/edge/modes', mode)).answered).toEqual([422, 'ERR_STORE_COMMAND']);
  const blocks = Array.from({ length: 100 }, (_, from) => ({ from }));
  expect((await ask('PUT', '/v1/assets/aurora/blocks', { blocks })).answered).toEqual([422, 'ERR_STORE_LIMIT']);
});

test.each([
  ['ERR_STORE_THROTTLED', named('ThrottlingException', { $fault: 'client' })],
  ['ERR_STORE_UNAVAILABLE', named('InternalServerException', { $fault: 'server' })],
])('what passes by itself is 503 %s, with the time to come back', async (code, failure) => {
  const { ask, reported } = open(failure);
  for (const [method, path, body] of CALLS) {
    const { answered, retryAfter } = await ask(method, path, body);
    expect([path, answered, Number(retryAfter) > 0]).toEqual([path, [503, code], true]);
  }
  expect(reported).toEqual([]);
});

test('what no caller can help is ours: 500, and reported', async () => {
  const { ask, reported } = open(named('AccessDeniedException', { $fault: 'client' }));
  for (const [method, path, body] of CALLS) {
    expect((await ask(method, path, body)).answered).toEqual([500, 'ERR_INTERNAL']);
  }
  expect(reported).toEqual(CALLS.map(() => 'ERR_STORE_DENIED'));
});
