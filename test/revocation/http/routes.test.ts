import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EdgeStore } from '../../../edge-functions/store/edge-store.ts';
import type { KeyValueStore } from '../../../edge-functions/store/key-value-store.ts';
import { AwsKeyValueStore } from '../../../edge-functions/store/key-value-store-aws.ts';
import type { LocalDynamoDb } from '../../../local/dynamodb.ts';
import { type RevocationOptions, revocationRoutes } from '../../../revocation/http/routes.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES } from '../../../revocation/list/dynamodb.ts';
import { edgePublisher } from '../../../revocation/publish/edge-store.ts';
import { keepPublished } from '../../../revocation/publish/publication.ts';
import { problemDetails } from '../../../token-api/http/problem.ts';
import { callerFromHeaders } from '../../harness/api.ts';
import { openDatabase } from '../../harness/database.ts';
import { KeyValueStoreService, STORE_ARN } from '../../harness/key-value-store-service.ts';
import { NOW } from '../../harness/minting.ts';

let database: LocalDynamoDb;
const closers: (() => Promise<void>)[] = [];
beforeAll(async () => {
  database = await openDatabase(REVOCATION_TABLES);
});
afterAll(async () => {
  for (const close of closers) await close();
  await database.close();
});

const LIFE = 86_400;

/** The routes on a store of their own; `around` stands before its updates, `unenforced` says where the edge lets through. */
function open(
  around: (update: () => Promise<string>) => Promise<string> = (update) => update(),
  unenforced: RevocationOptions['unenforced'] = async () => [],
) {
  const inner = new AwsKeyValueStore(new KeyValueStoreService().client, STORE_ARN);
  const store: KeyValueStore = {
    list: () => inner.list(),
    etag: () => inner.etag(),
    update: (change, ifMatch) => around(() => inner.update(change, ifMatch)),
  };
  const list = dynamoDbRevocationList(database.client);
  const publisher = edgePublisher(list, new EdgeStore(store), () => NOW);
  const ignore = () => undefined;
  const publication = keepPublished([{ name: 'edge store', publisher }], ignore, ignore);
  closers.push(() => publication.close());
  const decisions = { recent: () => [], subscribe: () => () => undefined };
  const authorize = () => callerFromHeaders;
  const app = revocationRoutes({
    ...{ authorize, list, publication, decisions, unenforced },
    ...{ revocationSeconds: LIFE, now: () => NOW },
  });
  app.onError(problemDetails(() => undefined));
  const ask = async (method: string, path: string, body?: unknown) => {
    const headers = { 'test-subject': 'operator-1' };
    const answer = await app.request(path, {
      method,
      headers,
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    return { status: answer.status, body: text === '' ? undefined : JSON.parse(text) };
  };
  const atEdge = async () => [...(await inner.list()).entries.keys()].sort();
  return { ask, atEdge, list };
}

const by = { source: 'manual', by: 'operator-1', revokedAt: NOW };

test('a session, an asset and a subject are revoked and restored by the same shapes', async () => {
  const { ask, atEdge } = open();
  for (const [path, names, more] of [
    ['/v1/sessions/Routes000001', { sessionId: 'Routes000001' }, { expiresAt: NOW + LIFE }],
    ['/v1/assets/a%2Fb%20%C3%BC', { asset: 'a/b ü' }, {}],
    ['/v1/subjects/viewer%2F7', { subject: 'viewer/7' }, {}],
  ] as const) {
    const told = { ...names, ...by, reason: 'shared', reasons: ['shared'], ...more };
    const answer = (status: number, outcome: string) => ({ status, body: { ...told, outcome } });
    expect(await ask('POST', `${path}/revocation`, { reason: 'shared' })).toEqual(answer(201, 'added'));
    expect(await ask('POST', `${path}/revocation`, { reason: 'other' })).toEqual(answer(200, 'kept'));
  }
  expect(await atEdge()).toEqual(['a/a/b ü', 'r/Routes000001']);
  for (const path of ['/v1/sessions/Routes000001', '/v1/assets/a%2Fb%20%C3%BC', '/v1/subjects/viewer%2F7']) {
    expect(await ask('DELETE', `${path}/revocation`)).toEqual({ status: 204, body: undefined });
    expect(await ask('DELETE', `${path}/revocation`)).toMatchObject({ status: 404, body: { code: 'ERR_NOT_REVOKED' } });
  }
  expect(await atEdge()).toEqual([]);
});

test('what detection revoked says why in one text too, and is replaced by a person', async () => {
  const { ask, list } = open();
  const reasons = ['3 viewers fetched in the same minute', '2 countries in the same minute'];
  const times = { revokedAt: NOW - 5, expiresAt: NOW + LIFE - 5 };
  await list.add({
    kind: 'session',
    id: 'Routes000002',
    source: 'auto',
    reasons,
    score: 80.5,
    by: 'detection',
    ...times,
  });
  expect((await ask('GET', '/v1/revocations?kind=session&limit=1000')).body.revocations).toContainEqual({
    ...{ kind: 'session', id: 'Routes000002', source: 'auto', reasons, score: 80.5, by: 'detection' },
    ...times,
  });
  const manual = { sessionId: 'Routes000002', ...by, reason: '', reasons: [], expiresAt: NOW + LIFE };
  const changed = { ...manual, outcome: 'changed' };
  expect(await ask('POST', '/v1/sessions/Routes000002/revocation')).toEqual({ status: 200, body: changed });
  const { body } = await ask('GET', '/v1/revocations/session/Routes000002/history');
  expect(body.events).toEqual([
    {
      at: NOW,
      action: 'revoked',
      by: 'operator-1',
      revocation: { kind: 'session', id: 'Routes000002', reasons: [], ...by, expiresAt: NOW + LIFE },
    },
    expect.objectContaining({ at: NOW - 5, by: 'detection', revocation: expect.objectContaining({ score: 80.5 }) }),
  ]);
});

test('says where the edge lets it through all the same, and is answered also where nobody can tell', async () => {
  const asked: unknown[] = [];
  const prefixes = [{ prefix: '/aurora/', mode: 'log' as const }];
  const { ask } = open(undefined, async ({ kind, id }) => {
    asked.push([kind, id]);
    return prefixes;
  });
  const path = '/v1/assets/Routes000004/revocation';
  expect(await ask('POST', path)).toMatchObject({ status: 201, body: { unenforced: prefixes } });
  expect(await ask('POST', path)).toMatchObject({ status: 200, body: { unenforced: prefixes } });
  expect(asked).toEqual(Array(2).fill(['asset', 'Routes000004']));
  for (const unenforced of [async () => [], () => Promise.reject(new Error('anything'))]) {
    const answer = await open(undefined, unenforced).ask('POST', path);
    expect([answer.status, 'unenforced' in answer.body]).toEqual([200, false]);
  }
  const silent = open(undefined, () => new Promise(() => undefined));
  expect(await silent.ask('POST', path)).toMatchObject({ status: 200, body: { outcome: 'kept' } });
});

test('a history comes in pages, the latest first', async () => {
  const { ask } = open();
  const path = '/v1/subjects/Routes000005/revocation';
  for (let i = 0; i < 3; i++) for (const method of ['POST', 'DELETE']) await ask(method, path);
  const history = '/v1/revocations/subject/Routes000005/history';
  const all = (await ask('GET', history)).body.events;
  const actions = all.map(({ action }: { action: string }) => action);
  expect(actions).toEqual(['restored', 'revoked', 'restored', 'revoked', 'restored', 'revoked']);
  const first = (await ask('GET', `${history}?limit=4`)).body;
  const second = (await ask('GET', `${history}?limit=4&cursor=${first.next}`)).body;
  expect([first.events, second.events, second.next]).toEqual([all.slice(0, 4), all.slice(4), undefined]);
  const other = await ask('GET', `/v1/revocations/subject/Routes000006/history?cursor=${first.next}`);
  expect(other).toMatchObject({ status: 400, body: { code: 'ERR_CURSOR_INVALID' } });
});

test('a cut-off is set, only becomes later, is shown and taken back', async () => {
  const { ask, atEdge } = open();
  expect((await ask('GET', '/v1/sessions/cutoff')).status).toBe(404);
  const set = (before: number) => ask('PUT', '/v1/sessions/cutoff', { before, reason: 'leak' });
  const told = { before: NOW - 60, ...by, reason: 'leak', reasons: ['leak'], expiresAt: NOW + LIFE };
  expect(await set(NOW - 60)).toEqual({ status: 201, body: { ...told, outcome: 'added' } });
  expect(await set(NOW - 90)).toEqual({ status: 200, body: { ...told, outcome: 'kept' } });
  expect(await set(NOW)).toEqual({ status: 200, body: { ...told, before: NOW, outcome: 'changed' } });
  expect(await ask('GET', '/v1/sessions/cutoff')).toEqual({ status: 200, body: { ...told, before: NOW } });
  expect(await set(NOW + 1)).toMatchObject({ status: 422, body: { code: 'ERR_CUTOFF_FUTURE' } });
  expect(await atEdge()).toEqual(['before']);
  expect((await ask('GET', '/v1/revocations/sessions-before/all/history')).body.events).toHaveLength(2);
  expect((await ask('DELETE', '/v1/sessions/cutoff')).status).toBe(204);
  expect(await ask('DELETE', '/v1/sessions/cutoff')).toMatchObject({ status: 404, body: { code: 'ERR_NOT_REVOKED' } });
  expect(await atEdge()).toEqual([]);
});

test.each([
  [{ before: 0 }],
  [{ before: -1 }],
  [{ before: 1.5 }],
  [{ before: '1' }],
  [{ before: 1e300 }],
  [{}],
  [{ before: 1, kind: 'session' }],
])('a cut-off that is none is refused: %j', async (body) => {
  const { ask } = open();
  const { status, body: told } = await ask('PUT', '/v1/sessions/cutoff', body);
  expect(['ERR_BODY_INVALID', 'ERR_CUTOFF_FUTURE']).toContain(told.code);
  expect([400, 422]).toContain(status);
});

test.each([
  ['GET', '/v1/revocations?kind=key', 'ERR_QUERY_INVALID'],
  ['GET', '/v1/revocations?limit=1001', 'ERR_QUERY_INVALID'],
  ['GET', '/v1/revocations?cursor=x', 'ERR_CURSOR_INVALID'],
  ['GET', '/v1/revocations/key/k1/history', 'ERR_REVOCATION_KIND'],
  ['GET', '/v1/revocations/asset/aurora/history?limit=0', 'ERR_QUERY_INVALID'],
  ['GET', '/v1/revocations/asset/aurora/history?cursor=x', 'ERR_CURSOR_INVALID'],
  ['GET', '/v1/revocations/constructor/k1/history', 'ERR_REVOCATION_KIND'],
  ['GET', '/v1/revocations/session/short/history', 'ERR_SESSION_ID_INVALID'],
  ['POST', `/v1/assets/${'x'.repeat(129)}/revocation`, 'ERR_ASSET_ID_INVALID'],
  ['DELETE', '/v1/sessions/Routes-00001/revocation', 'ERR_SESSION_ID_INVALID'],
])('%s %s is refused: %s', async (method, path, code) => {
  const { ask } = open();
  expect(await ask(method, path)).toMatchObject({ status: 400, body: { code } });
});

describe('a store that fails', () => {
  test('202, and it is made up for: never an error of ours, never lost', async () => {
    let fails = true;
    const { ask, atEdge, list } = open((update) => {
      // Not even an error that is known of.
      if (fails) throw new RangeError('anything');
      return update();
    });
    const revoked = await ask('POST', '/v1/sessions/Routes000003/revocation', { reason: 'shared' });
    expect(revoked).toMatchObject({ status: 202, body: { sessionId: 'Routes000003', expiresAt: NOW + LIFE } });
    expect(await list.get('session', 'Routes000003', NOW)).toBeDefined();
    expect(await ask('PUT', '/v1/sessions/cutoff', { before: NOW })).toMatchObject({ status: 202 });
    fails = false;
    await expect.poll(atEdge, { timeout: 20_000 }).toEqual(expect.arrayContaining(['before', 'r/Routes000003']));
    fails = true;
    expect(await ask('DELETE', '/v1/sessions/cutoff')).toEqual({ status: 202, body: undefined });
    fails = false;
    await expect.poll(atEdge, { timeout: 20_000 }).not.toContain('before');
  });

  test('202 also where it does not answer at all', async () => {
    const { ask } = open(() => new Promise(() => undefined));
    expect(await ask('POST', '/v1/assets/hanging/revocation')).toMatchObject({
      status: 202,
      body: { asset: 'hanging' },
    });
  });
});
