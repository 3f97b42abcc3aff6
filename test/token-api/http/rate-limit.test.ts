import { Hono } from 'hono';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { LocalDynamoDb } from '../../../local/dynamodb.ts';
import { problemDetails } from '../../../token-api/http/problem.ts';
import { rateLimit } from '../../../token-api/http/rate-limit.ts';
import { dynamoDbRequestCounts, REQUEST_COUNTS_TABLE } from '../../../token-api/rate-limits/dynamodb.ts';
import { callerFromHeaders } from '../../harness/api.ts';
import { openDatabase } from '../../harness/database.ts';

let database: LocalDynamoDb;
beforeAll(async () => {
  database = await openDatabase([REQUEST_COUNTS_TABLE]);
});
afterAll(() => database.close());

/** A minute begins at a multiple of sixty. */
const MINUTE = 1_760_000_040;

function api(player: number, backend: number) {
  const clock = { now: MINUTE };
  const reported: string[] = [];
  const report = (error: Error) => void reported.push(error.name);
  const app = new Hono();
  app.onError(problemDetails(report));
  const counts = dynamoDbRequestCounts(database.client);
  const limit = rateLimit({ requestsPerMinute: { player, backend }, counts, report, now: () => clock.now });
  app.get('/', callerFromHeaders, limit, (c) => c.text('ok'));
  const ask = async (subject: string, roles = 'player') => {
    const answer = await app.request('/', { headers: { 'test-subject': subject, 'test-roles': roles } });
    const field = (name: string) => answer.headers.get(name);
    const { code } = (answer.ok ? {} : await answer.json()) as { code?: string };
    return { status: answer.status, code, limit: field('ratelimit'), retryAfter: field('retry-after'), field };
  };
  return { ask, clock, reported };
}

test('each caller has so many requests a minute, is told what is left, and when to come back', async () => {
  const { ask, clock } = api(2, 100);
  clock.now = MINUTE + 20;
  const first = await ask('one');
  expect([first.status, first.limit]).toEqual([200, '"player";r=1;t=40']);
  expect(first.field('ratelimit-policy')).toBe('"player";q=2;w=60');
  expect((await ask('one')).limit).toBe('"player";r=0;t=40');
  clock.now = MINUTE + 59;
  for (let i = 0; i < 3; i++) {
    const refused = await ask('one');
    expect([refused.status, refused.code, refused.retryAfter]).toEqual([429, 'ERR_RATE_LIMITED', '1']);
    expect(refused.limit).toBe('"player";r=0;t=1');
  }
  expect((await ask('two')).status).toBe(200);
  clock.now = MINUTE + 60;
  expect((await ask('one')).limit).toBe('"player";r=1;t=60');
});

test('many at once get no more than one after the other', async () => {
  const { ask } = api(10, 100);
  const answers = await Promise.all(Array.from({ length: 30 }, () => ask('eager')));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
});

test('two instances count together', async () => {
  const [left, right] = [api(2, 100), api(2, 100)];
  const statuses = [];
  for (const { ask } of [left, right, left, right]) statuses.push((await ask('spread')).status);
  expect(statuses).toEqual([200, 200, 429, 429]);
});

test('the role that allows most counts, each role of a subject by itself', async () => {
  const { ask } = api(1, 3);
  expect((await ask('cms', 'backend')).limit).toBe('"backend";r=2;t=60');
  expect((await ask('cms', 'player')).limit).toBe('"player";r=0;t=60');
  expect((await ask('cms', 'player,backend')).limit).toBe('"backend";r=1;t=60');
  const inverse = api(9, 3);
  expect((await inverse.ask('both', 'player,backend')).limit).toBe('"player";r=8;t=60');
});

test('security is not limited', async () => {
  const { ask } = api(1, 1);
  for (let i = 0; i < 5; i++) {
    const answer = await ask('watch', 'player,security');
    expect([answer.status, answer.limit]).toEqual([200, null]);
  }
});

test('a subject of any length and characters is one caller', async () => {
  const { ask } = api(1, 1);
  const subject = encodeURIComponent('ü'.repeat(600));
  expect([(await ask(subject)).status, (await ask(subject)).status]).toEqual([200, 429]);
});

test('when nobody can be counted nobody is served, but security', async () => {
  const { ask, reported } = api(100, 100);
  await database.close();
  const refused = await ask('unlucky');
  expect([refused.status, refused.code, refused.retryAfter]).toEqual([503, 'ERR_UNAVAILABLE', '5']);
  expect(reported).toHaveLength(1);
  expect((await ask('watch', 'security')).status).toBe(200);
});
