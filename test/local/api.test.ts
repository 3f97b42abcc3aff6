import { randomUUID } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Role } from '../../token-api/http/authorize.ts';
import {
  type Playback,
  removeDirectory,
  requestPlayback,
  startStack,
  temporaryDirectory,
  useStack,
} from '../harness/stack.ts';

const LIMIT = 40;
const stack = useStack({
  api: { allowedOrigins: ['https://play.example.com'], requestsPerMinute: { player: LIMIT } },
});
const { data } = stack;

const call = (path: string, { role = 'backend' as Role, base = stack.api, ...init }: CallOptions = {}) =>
  fetch(`${base}${path}`, {
    ...init,
    headers: { authorization: `Bearer ${stack.tokens[role]}`, 'content-type': 'application/json', ...init.headers },
  });
type CallOptions = { role?: Role; base?: string; method?: string; body?: string; headers?: Record<string, string> };
const playback = (headers: Record<string, string> = {}, options: CallOptions = {}) =>
  call('/v1/playback', { method: 'POST', body: '{"asset":"aurora"}', headers, base: stack.edge, ...options });

const readLog = () => readFileSync(join(data, 'logs', 'api.log'), 'utf8');
const lines = () => {
  const all = readLog().trim().split('\n');
  return all.map((line) => JSON.parse(line) as Record<string, unknown>);
};
/** The log line of a request, which comes a little later than its answer. */
async function lineOf(answer: Response): Promise<Record<string, unknown>> {
  const id = answer.headers.get('x-request-id');
  const find = () => lines().find(({ requestId }) => requestId === id);
  await expect.poll(find).toBeDefined();
  return find() ?? {};
}

describe('every request', () => {
  test('has an id: in the answer, in a problem and in the log', async () => {
    const answer = await call('/v1/nothing');
    const id = answer.headers.get('x-request-id');
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect(await answer.json()).toMatchObject({ code: 'ERR_NOT_FOUND', requestId: id });
    expect(await lineOf(answer)).toMatchObject({ route: '(none)', status: 404, code: 'ERR_NOT_FOUND' });
    const chosen = await call('/v1/assets', { headers: { 'x-request-id': 'trace-1' } });
    expect(chosen.headers.get('x-request-id')).toBe('trace-1');
    for (const odd of ['a.b.c', 'a'.repeat(65), '{"a":1}']) {
      const replaced = await call('/v1/assets', { headers: { 'x-request-id': odd } });
      expect(replaced.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
    }
  });

  test('is one line of JSON, by the pattern of its route', async () => {
    const minted = await playback();
    const line = await lineOf(minted);
    expect(line).toEqual({
      level: 'INFO',
      message: 'request',
      timestamp: expect.any(String),
      service: 'api',
      sampling_rate: 0,
      requestId: expect.any(String),
      method: 'POST',
      route: '/v1/playback',
      status: 200,
      caller: 'local-backend',
      durationMs: expect.any(Number),
    });
    const revoked = await call('/v1/sessions/NeverSeen12345/revocation', { method: 'POST', role: 'security' });
    expect(await lineOf(revoked)).toMatchObject({ route: '/v1/sessions/:id/revocation', status: 201 });
    expect(readLog()).not.toContain('NeverSeen12345');
    const denied = await call('/v1/sessions');
    expect(await lineOf(denied)).toMatchObject({ status: 403, code: 'ERR_ROLE' });
    const anonymous = await call('/v1/sessions', { headers: { authorization: '' } });
    expect(await lineOf(anonymous)).not.toHaveProperty('caller');
  });

  test('counts: latency, tokens minted, refusals by their code, in the embedded metric format', async () => {
    const emf = () => lines().filter((line) => '_aws' in line);
    const minted = () => emf().reduce((sum, { TokensMinted = [] }) => sum + [TokensMinted].flat().length, 0);
    const before = minted();
    await lineOf(await playback());
    await lineOf(await playback({}, { body: '{"asset":"none"}' }));
    await expect.poll(() => minted() - before).toBe(1);
    const latest = emf().findLast((line) => 'Latency' in line);
    expect(latest).toMatchObject({
      _aws: { CloudWatchMetrics: [{ Namespace: 'Portcullis', Dimensions: [['service']] }] },
      service: 'api',
    });
    expect(emf().filter(({ code }) => code === 'ERR_ASSET_UNKNOWN')).toMatchObject([
      { Denied: 1, _aws: { CloudWatchMetrics: [{ Dimensions: [['service', 'code']] }] } },
    ]);
  });

  test('leaves no token, bearer, key, query or viewer attribute in the log, which only its owner may read', async () => {
    expect(statSync(join(data, 'logs', 'api.log')).mode & 0o777).toBe(0o600);
    const { playbackUrl, sessionId } = await requestPlayback(stack);
    const token = new URL(playbackUrl).pathname.split('/')[1] ?? '';
    const key = randomUUID();
    const attributes = { 'user-agent': 'Player/SecretAgent', referer: `https://page.example/${token}` };
    const last = [
      await playback({ 'idempotency-key': key, ...attributes }),
      await playback({ 'idempotency-key': key, ...attributes }, { body: `{"asset":"${token}"}` }),
      await call(`/v1/${token}/x?bearer=${stack.tokens.player}`),
      await call(`/v1/sessions/${sessionId}/revocation?why=because`, { role: 'security', method: 'POST' }),
      await call('/v1/assets', { headers: { authorization: `Bearer ${stack.tokens.backend}x` } }),
    ];
    for (const answer of last) await lineOf(answer);
    const everything = readLog() + stack.output();
    const secrets = [
      token,
      token.split('.').at(-1),
      sessionId,
      key,
      'SecretAgent',
      'page.example',
      'because',
      '127.0.0.1',
    ];
    for (const secret of [...secrets, ...Object.values(stack.tokens)]) {
      expect([secret, everything.replace(/"(?:edge|api|console)":"[^"]*"/g, '').includes(secret ?? '')]).toEqual([
        secret,
        false,
      ]);
    }
  });

  test('prints nothing: one line on the standard output is all there ever is', () => {
    expect(
      stack
        .output()
        .split('\n')
        .filter((line) => line.startsWith('{')),
    ).toHaveLength(1);
  });

  test('of health is neither logged nor counted', async () => {
    const before = readLog();
    const answer = await fetch(`${stack.api}/healthz`);
    expect([answer.status, answer.headers.get('ratelimit')]).toEqual([200, null]);
    expect(readLog()).toBe(before);
  });
});

describe('a page', () => {
  const preflight = (origin: string) =>
    fetch(`${stack.api}/v1/playback`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type,idempotency-key',
      },
    });

  test('of an allowed origin may call the API and read what it says of limits', async () => {
    const { status, headers } = await preflight('https://play.example.com');
    expect([status, headers.get('access-control-allow-origin')]).toEqual([204, 'https://play.example.com']);
    for (const name of ['authorization', 'content-type', 'idempotency-key', 'x-request-id'])
      expect(headers.get('access-control-allow-headers')?.split(',')).toContain(name);
    expect(headers.get('access-control-max-age')).toBe('600');
    const answer = await playback({ origin: 'https://play.example.com' });
    expect(answer.headers.get('access-control-allow-origin')).toBe('https://play.example.com');
    expect(answer.headers.get('vary')).toMatch(/origin/i);
    expect(answer.headers.get('access-control-expose-headers')?.split(',')).toEqual(
      expect.arrayContaining(['x-request-id', 'retry-after', 'ratelimit', 'ratelimit-policy', 'idempotent-replayed']),
    );
    expect(answer.headers.get('access-control-allow-credentials')).toBeNull();
    const refused = await playback({ origin: 'https://play.example.com', authorization: '' });
    expect([refused.status, refused.headers.get('access-control-allow-origin')]).toEqual([
      401,
      'https://play.example.com',
    ]);
  });

  test.each(['https://evil.example', 'https://play.example.com.evil.example', 'null', 'http://play.example.com'])(
    'of %s may not',
    async (origin) => {
      expect((await preflight(origin)).headers.get('access-control-allow-origin')).toBeNull();
      expect((await playback({ origin })).headers.get('access-control-allow-origin')).toBeNull();
    },
  );

  test('of the console may still', async () => {
    const { origin } = new URL(stack.console);
    expect((await preflight(origin)).headers.get('access-control-allow-origin')).toBe(origin);
  });
});

describe('an idempotency key', () => {
  test('makes one session of a playback that is asked for many times at once', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const answers = await Promise.all(Array.from({ length: 12 }, () => playback(headers)));
    const good = answers.filter(({ status }) => status === 200);
    const running = answers.filter(({ status }) => status === 409);
    expect(good.length + running.length).toBe(12);
    const repeated = await playback(headers);
    expect(repeated.headers.get('idempotent-replayed')).toBe('true');
    const playbacks = (await Promise.all([...good, repeated].map((answer) => answer.json()))) as Playback[];
    expect(new Set(playbacks.map(({ playbackUrl }) => playbackUrl)).size).toBe(1);
    expect((await fetch(playbacks[0]?.playbackUrl ?? '')).status).toBe(200);
    expect(await lineOf(repeated)).toMatchObject({ status: 200, replayed: true });
  });

  test('does not let anyone else have the answer', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const mine = (await (await playback(headers)).json()) as Playback;
    const other = (await (await playback(headers, { role: 'player' })).json()) as Playback;
    expect(other.sessionId).not.toBe(mine.sessionId);
    expect((await playback(headers, { role: 'security' })).status).toBe(403);
  });

  test('works for a revocation as well', async () => {
    const headers = { 'idempotency-key': randomUUID() };
    const revoke = () => call('/v1/sessions/NeverSeen99999/revocation', { method: 'POST', role: 'security', headers });
    const [first, again] = [await revoke(), await revoke()];
    expect([first.status, again.status, await again.text()]).toEqual([201, 201, await first.text()]);
  });
});

test('a caller over its limit is refused by the stack that was configured so, and security is not', async () => {
  const statuses = [];
  let answer = await playback({}, { role: 'player' });
  for (let i = 0; i < 2 * LIMIT && answer.status === 200; i++) {
    statuses.push(answer.status);
    answer = await playback({}, { role: 'player' });
  }
  expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([429, 'ERR_RATE_LIMITED']);
  expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
  expect(answer.headers.get('ratelimit-policy')).toBe(`"player";q=${LIMIT};w=60`);
  expect(statuses.length).toBeLessThanOrEqual(LIMIT * 2);
  expect((await call('/v1/assets')).headers.get('ratelimit-policy')).toBe('"backend";q=12000;w=60');
  const watching = await call('/v1/sessions', { role: 'security' });
  expect([watching.status, watching.headers.get('ratelimit')]).toEqual([200, null]);
});

test('a stack that is stopped while it is asked ends in peace', async () => {
  const other = temporaryDirectory();
  const busy = await startStack(other);
  let goesOn = true;
  let served = 0;
  const ask = () =>
    requestPlayback(busy).then(
      () => served++,
      () => undefined,
    );
  const asking = Array.from({ length: 8 }, async () => {
    while (goesOn) await ask();
  });
  await expect.poll(() => served, { timeout: 30_000 }).toBeGreaterThan(20);
  expect(await busy.stop()).toBe(0);
  goesOn = false;
  await Promise.all(asking);
  expect(busy.output()).not.toMatch(/error|^\s+at /m);
  removeDirectory(other);
});
