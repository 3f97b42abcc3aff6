import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { type ApiCall, callApi } from '../harness/api.ts';
import { portcullis } from '../harness/cli.ts';
import { laterThan, rawRequest, revocation, useStack } from '../harness/stack.ts';

const stack = useStack({
  api: { allowedOrigins: ['https://play.example.com'], maxSessionSeconds: 60, sessionsPerSubject: 2 },
});
const { data } = stack;

beforeAll(async () => {
  for (const [id, lifetime] of [
    ['short', 'PT50S'],
    ['brief', 'PT6S'],
    ['whole', 'PT1M'],
  ]) {
    await call('PUT', `/v1/policies/${id}`, { body: { lifetime, bindings: ['user-agent'] } });
    await call('PUT', `/v1/assets/${id}`, { body: { path: '/aurora/master.m3u8', policy: id } });
  }
});

const call = (method: string, path: string, options?: ApiCall) =>
  callApi(stack, method, path, { role: 'backend', ...options });
const viewer = { userAgent: 'Player/1.0' };
const start = (subject: string | undefined, asset = 'short') =>
  call('POST', '/v1/tokens', { body: { asset, viewer: { ...viewer, subject } } });
const renew = (token: string) => call('POST', '/v1/tokens/renewal', { body: { token, viewer } });
const code = ({ status, body }: { status: number; body: { code?: string } }) => [status, body?.code];
const FULL = [403, 'ERR_SESSION_LIMIT'];

describe('sessions per subject', () => {
  test('of many requests at once exactly as many are served as there are places', async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => start('crowd')));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(2);
    for (const answer of answers) if (answer.status !== 200) expect(code(answer)).toEqual(FULL);
    expect((await start('somebody-else')).status).toBe(200);
    for (let i = 0; i < 4; i++) expect((await start(undefined)).status).toBe(200);
  });

  test('a renewal and a hand-off keep the place of their session, and take no other', async () => {
    const first = (await start('keeper')).body;
    const second = (await start('keeper')).body;
    expect(code(await start('keeper'))).toEqual(FULL);
    await laterThan(Date.now() / 1000);
    const renewals = await Promise.all([first, second, first, second].map(({ token }) => renew(token)));
    expect(renewals.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    const body = { token: first.token, viewer: { userAgent: 'TV/1.0' }, presenter: viewer };
    expect((await call('POST', '/v1/tokens/handoff', { body })).status).toBe(200);
    expect(code(await start('keeper'))).toEqual(FULL);
  });

  test('a revoked session frees its place, and finds none when it comes back', async () => {
    const first = (await start('caught')).body;
    await start('caught');
    expect(code(await start('caught'))).toEqual(FULL);
    await revocation(stack, first.sessionId, 'POST');
    expect((await start('caught')).status).toBe(200);
    await revocation(stack, first.sessionId, 'DELETE');
    await laterThan(Date.now() / 1000);
    expect(code(await renew(first.token))).toEqual(FULL);
  });

  test('so does one whose latest token has expired', async () => {
    // At once: on a busy machine the first of them could have expired before the last is asked for.
    const answers = await Promise.all([1, 2, 3].map(() => start('gone', 'brief')));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 403]);
    await expect.poll(async () => (await start('gone')).status, { timeout: 30_000, interval: 500 }).toBe(200);
  });
});

describe('the maximum of a session', () => {
  test('ends renewals', async () => {
    const { token } = (await start('long', 'whole')).body;
    await laterThan(Date.now() / 1000);
    expect(code(await renew(token))).toEqual([403, 'ERR_SESSION_ENDED']);
  });

  test('holds for policies too', async () => {
    const answer = await call('PUT', '/v1/policies/long', { body: { lifetime: 'PT61S' } });
    expect(code(answer)).toEqual([422, 'ERR_POLICY_LIFETIME_TOO_LONG']);
    // That of the titles lives longer than a session may here.
    expect(code(await start('long', 'aurora'))).toEqual([422, 'ERR_POLICY_LIFETIME_TOO_LONG']);
  });
});

test('pages of the origins that are allowed may call the API, and the console, and no others', async () => {
  const allowed = async (origin: string) => {
    const headers = { origin, 'access-control-request-method': 'POST' };
    const { headers: answered } = await rawRequest(stack.api, '/v1/playback', { method: 'OPTIONS', headers });
    return answered['access-control-allow-origin'];
  };
  const page = new URL(stack.console).origin;
  for (const origin of ['https://play.example.com', page]) expect(await allowed(origin)).toBe(origin);
  for (const origin of ['https://evil.example', 'null', 'http://play.example.com']) {
    expect(await allowed(origin)).toBeUndefined();
  }
});

test.each([
  [{ sessionsPerSubject: -1 }, /api\.sessionsPerSubject/],
  [{ maxSessionSeconds: 59 }, /api\.maxSessionSeconds/],
  [{ handoffSeconds: '1h' }, /api\.handoffSeconds/],
  [{ allowedOrigins: ['play.example.com'] }, /api\.allowedOrigins\.0: must be an origin like/],
  [{ sessions: 1 }, /api\.sessions: unknown field/],
])('a setting that cannot be meant is named: %j', async (api, message) => {
  const file = join(data, 'wrong.json');
  writeFileSync(file, JSON.stringify({ api }));
  const { code: exit, stderr } = await portcullis('up', '--port', '0', '--ephemeral', '--config', file);
  expect([exit, stderr]).toEqual([2, expect.stringMatching(message)]);
});
