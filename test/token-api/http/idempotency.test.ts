import { randomUUID } from 'node:crypto';
import { ScanCommand } from '@aws-sdk/lib-dynamodb';
import { Hono } from 'hono';
import { HTTPException } from 'hono/http-exception';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LocalDynamoDb } from '../../../local/dynamodb.ts';
import { idempotency } from '../../../token-api/http/idempotency.ts';
import { problemDetails } from '../../../token-api/http/problem.ts';
import type { AnswerEntry } from '../../../token-api/idempotency/answers.ts';
import { ANSWERS_TABLE, dynamoDbAnswers } from '../../../token-api/idempotency/dynamodb.ts';
import { requestSeal } from '../../../token-api/idempotency/seal.ts';
import { callerFromHeaders } from '../../harness/api.ts';
import { openDatabase } from '../../harness/database.ts';
import { NOW } from '../../harness/minting.ts';

let database: LocalDynamoDb;
beforeAll(async () => {
  database = await openDatabase([ANSWERS_TABLE]);
});
afterAll(() => database.close());

const TOKEN = 'a-token-that-nobody-may-read';

/** An API whose one route counts its runs and answers as its body says. */
function api() {
  const clock = { now: NOW };
  const reported: string[] = [];
  const report = (error: Error) => void reported.push(error.name);
  const state = { runs: 0, hold: Promise.resolve() };
  const app = new Hono();
  app.onError(problemDetails(report));
  const once = idempotency({ answers: dynamoDbAnswers(database.client), report, now: () => clock.now });
  app.on(['POST', 'PUT'], '/:path', callerFromHeaders, once, async (c) => {
    const run = ++state.runs;
    const { status = 200, expiresAt } = (await c.req.json()) as { status?: number; expiresAt?: number };
    await state.hold;
    if (status === 204) return c.body(null, 204);
    if (status >= 400) throw new HTTPException(status as ContentfulStatusCode, { message: `run ${run}` });
    c.header('cache-control', 'no-store');
    return c.json({ run, token: TOKEN, expiresAt }, status as ContentfulStatusCode);
  });
  const ask = async (key: string | undefined, body: object = {}, headers: Record<string, string> = {}, path = '/a') => {
    const answer = await app.request(path, {
      method: 'POST',
      body: JSON.stringify(body),
      ...(key === undefined ? { headers } : { headers: { 'idempotency-key': key, ...headers } }),
    });
    const text = await answer.text();
    const json = text === '' ? {} : JSON.parse(text);
    const replayed = answer.headers.get('idempotent-replayed') === 'true';
    return { status: answer.status, text, json, replayed, headers: answer.headers };
  };
  return { app, ask, clock, state, reported };
}

test('the same request gets the same answer, and runs once', async () => {
  const { ask, state } = api();
  const key = randomUUID();
  const first = await ask(key, { status: 201 });
  const second = await ask(`"${key}"`, { status: 201 });
  expect([second.status, second.text]).toEqual([201, first.text]);
  expect([first.replayed, second.replayed]).toEqual([false, true]);
  for (const name of ['content-type', 'cache-control']) expect(second.headers.get(name)).toBe(first.headers.get(name));
  expect(state.runs).toBe(1);
});

test('without a key, and with other methods, nothing is kept', async () => {
  const { app, ask, state } = api();
  await ask(undefined);
  await ask(undefined);
  const init = { method: 'PUT', body: '{}', headers: { 'idempotency-key': randomUUID() } };
  await app.request('/a', init);
  await app.request('/a', init);
  expect(state.runs).toBe(4);
});

test('an answer without a body is given again as one', async () => {
  const { ask } = api();
  const key = randomUUID();
  await ask(key, { status: 204 });
  const again = await ask(key, { status: 204 });
  expect([again.status, again.text, again.replayed]).toEqual([204, '', true]);
});

test('another body is refused, however little it differs', async () => {
  const { ask, state } = api();
  const key = randomUUID();
  await ask(key, { a: 1 });
  const other = await ask(key, { a: 2 });
  expect([other.status, other.json.code]).toEqual([422, 'ERR_IDEMPOTENCY_KEY_REUSED']);
  expect(state.runs).toBe(1);
});

test('a key is its caller’s own, for one path, with the roles it had', async () => {
  const { ask, state } = api();
  const key = randomUUID();
  await ask(key);
  for (const headers of [{ 'test-subject': 'other' }, { 'test-roles': 'backend' }]) {
    expect((await ask(key, {}, headers)).replayed).toBe(false);
  }
  expect((await ask(key, {}, {}, '/b')).replayed).toBe(false);
  expect(state.runs).toBe(4);
});

test('of many at once one runs; the others are told that it does, or get its answer', async () => {
  const { ask, state } = api();
  const key = randomUUID();
  let release = () => {};
  state.hold = new Promise((resolve) => {
    release = resolve;
  });
  const all = Array.from({ length: 20 }, () => ask(key));
  const early = await Promise.race(all);
  expect([early.status, early.json.code]).toEqual([409, 'ERR_IDEMPOTENCY_RUNNING']);
  expect(early.headers.get('retry-after')).toBe('1');
  const another = await ask(key, { a: 'another body' });
  expect(another.status).toBe(422);
  release();
  const answers = await Promise.all(all);
  // One that lost the key just before the end may find the answer already.
  const [ran, ...others] = answers.toSorted((a, b) => a.status - b.status || Number(a.replayed) - Number(b.replayed));
  expect([ran?.status, ran?.replayed]).toEqual([200, false]);
  for (const other of others) expect(other.replayed || other.status === 409).toBe(true);
  expect((await ask(key)).replayed).toBe(true);
  expect(state.runs).toBe(1);
});

test.each([400, 429, 500, 503])('an answer of %i is not kept: the same key may try again', async (status) => {
  const { ask, state } = api();
  const key = randomUUID();
  for (let i = 1; i <= 2; i++) {
    const answer = await ask(key, { status });
    expect([answer.status, answer.replayed]).toEqual([status, false]);
    expect(state.runs).toBe(i);
  }
});

test.each([403, 404, 422])('a refusal (%i) is kept as it was', async (status) => {
  const { ask, state } = api();
  const key = randomUUID();
  const first = await ask(key, { status });
  const again = await ask(key, { status });
  expect([again.status, again.text, again.replayed]).toEqual([status, first.text, true]);
  expect(again.headers.get('content-type')).toBe('application/problem+json');
  expect(state.runs).toBe(1);
});

test('an answer is forgotten after a day, or when what it holds expires', async () => {
  const { ask, clock, state } = api();
  const [day, hour] = [randomUUID(), randomUUID()];
  await ask(day);
  await ask(hour, { expiresAt: NOW + 3600 });
  clock.now = NOW + 3599;
  expect((await ask(hour, { expiresAt: NOW + 3600 })).replayed).toBe(true);
  clock.now = NOW + 3600;
  expect((await ask(hour, { expiresAt: NOW + 3600 })).replayed).toBe(false);
  clock.now = NOW + 86_399;
  expect((await ask(day)).replayed).toBe(true);
  clock.now = NOW + 86_400;
  expect((await ask(day)).replayed).toBe(false);
  expect(state.runs).toBe(4);
});

test('a run that died gives its key back after a minute; should it live, it changes nothing any more', async () => {
  const { ask, clock, state } = api();
  const key = randomUUID();
  let release = () => {};
  state.hold = new Promise((resolve) => {
    release = resolve;
  });
  const slow = ask(key);
  await expect.poll(() => state.runs).toBe(1);
  clock.now = NOW + 59;
  expect((await ask(key)).status).toBe(409);
  clock.now = NOW + 60;
  state.hold = Promise.resolve();
  const second = await ask(key);
  expect([second.status, second.json.run]).toEqual([200, 2]);
  release();
  expect((await slow).json.run).toBe(1);
  expect((await ask(key)).json.run).toBe(2);
});

test('a key that is none is refused', async () => {
  const { ask, state } = api();
  const long = 'a'.repeat(20);
  for (const key of ['', 'short', 'a'.repeat(19), 'a'.repeat(129), `"${long}`, `${long} b`, `"${long}";p=1`]) {
    const { status, json } = await ask(key);
    expect([key, status, json.code]).toEqual([key, 400, 'ERR_IDEMPOTENCY_KEY_INVALID']);
  }
  expect(state.runs).toBe(0);
});

test('the table says nothing of answer, body, key or caller, and an answer opens for its own request alone', async () => {
  const { ask } = api();
  const keys = [randomUUID(), randomUUID()];
  const body = { viewer: '203.0.113.77' };
  for (const key of keys) await ask(key, body, { 'test-subject': 'somebody' });
  const { Items = [] } = await database.client.send(new ScanCommand({ TableName: ANSWERS_TABLE.TableName }));
  const everything = Items.flatMap((item) => Object.values(item))
    .map((value) => (value instanceof Uint8Array ? Buffer.from(value).toString('latin1') : String(value)))
    .join('\n');
  for (const secret of [TOKEN, body.viewer, ...keys, 'somebody']) expect(everything).not.toContain(secret);

  const scope = { subject: 'somebody', roles: ['player'], method: 'POST', path: '/a' };
  const [first, second] = keys.map((key) => requestSeal(key, scope)) as [
    ReturnType<typeof requestSeal>,
    ReturnType<typeof requestSeal>,
  ];
  const { sealed = new Uint8Array() } = Items.find(({ id }) => id === first.id) as AnswerEntry;
  expect(first.open(sealed).body).toContain(TOKEN);
  expect(() => second.open(sealed)).toThrow();
  for (let i = 0; i < sealed.length; i += 7) {
    const changed = Uint8Array.from(sealed, (byte, at) => (at === i ? byte ^ 1 : byte));
    expect(() => first.open(changed)).toThrow();
  }
});

test('a request that cannot be kept is not run', async () => {
  const { ask, state, reported } = api();
  await database.close();
  const refused = await ask(randomUUID());
  expect([refused.status, refused.json.code]).toEqual([503, 'ERR_UNAVAILABLE']);
  expect([state.runs, reported.length]).toEqual([0, 1]);
});
