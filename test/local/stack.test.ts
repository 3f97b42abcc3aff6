import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { dirname, join } from 'node:path';
import type { Rule } from '@aws-sdk/client-wafv2';
import { describe, expect, test } from 'vitest';
import { exitOfCode } from '../../cli/exit-codes.ts';
import { readConfiguration } from '../../config/configuration.ts';
import { FIELDS } from '../../local/edge/access-log.ts';
import { packagePath } from '../../local/package-root.ts';
import { startStack as startStackHere } from '../../local/stack.ts';
import { ROLES, type Role } from '../../token-api/http/authorize.ts';
import { LONG } from '../harness/programs.ts';
import {
  accessLog,
  type Playback,
  rawRequest,
  removeDirectory,
  requestPlayback,
  revocation,
  startStack,
  temporaryDirectory,
  useStack,
} from '../harness/stack.ts';

const stack = useStack();
const { data } = stack;

const readLog = () => accessLog(data);
const logLines = () =>
  readLog()
    .trim()
    .split('\n')
    .filter((line) => !line.startsWith('#'));
let requests = 0;

/** Sends a request and resolves to its answer and the fields of its line in the access log, which comes a little later. */
async function logged(path: string, options: Parameters<typeof rawRequest>[2] = {}) {
  const mark = `test-${++requests}`;
  const answer = await rawRequest(stack.edge, path, {
    ...options,
    headers: { ...options.headers, 'user-agent': mark },
  });
  const line = () => logLines().find((text) => text.split('\t')[10] === mark);
  await expect.poll(line).toBeDefined();
  const values = line()?.split('\t') ?? [];
  return { ...answer, log: Object.fromEntries(FIELDS.map((field, i) => [field, values[i]])) };
}
const reasonOf = ({ headers }: { headers: Record<string, unknown> }) => headers['x-portcullis-reason'];
const pathOf = (url: string) => new URL(url).pathname;

describe('a title through the edge', () => {
  test('a playback URL opens manifest, playlists and segments, and the second title stays closed', async () => {
    const { playbackUrl, sessionId, expiresAt } = await requestPlayback(stack);
    expect(sessionId).toMatch(/^[A-Za-z0-9]{12}$/);
    expect(expiresAt).toBeGreaterThan(Date.now() / 1000 + 7000);
    const master = await fetch(playbackUrl);
    expect(master.status).toBe(200);
    expect(master.headers.get('content-type')).toBe('application/vnd.apple.mpegurl');
    expect(master.headers.get('access-control-allow-origin')).toBe('*');
    const [variant = ''] = (await master.text()).split('\n').filter((line) => line && !line.startsWith('#'));
    const playlist = await fetch(new URL(variant, playbackUrl));
    const segments = (await playlist.text()).split('\n').filter((line) => line && !line.startsWith('#'));
    expect(segments).toHaveLength(30);
    const segment = await fetch(new URL(segments[0] ?? '', playlist.url));
    expect(segment.status).toBe(200);
    expect((await segment.arrayBuffer()).byteLength).toBeGreaterThan(1000);
    const other = await fetch(playbackUrl.replace('/aurora/master', '/harbour/master'));
    expect([other.status, other.headers.get('x-portcullis-reason')]).toEqual([403, 'path-not-allowed']);
  });

  test('the same object serves all sessions from the cache, whole and in ranges', async () => {
    const first = await requestPlayback(stack);
    const second = await requestPlayback(stack);
    const file = (playback: Playback) => playback.playbackUrl.replace('master.m3u8', '180p/segment-00003.m4s');
    const { body: whole, log: missed } = await logged(pathOf(file(first)));
    const { body: again, log: hit } = await logged(pathOf(file(second)));
    expect(again.equals(whole)).toBe(true);
    expect([missed['x-edge-result-type'], hit['x-edge-result-type']]).toEqual(['Miss', 'Hit']);
    expect(hit).toMatchObject({ 'sc-content-type': 'video/iso.segment', 'sc-content-len': String(whole.length) });
    const part = await fetch(file(second), { headers: { range: 'bytes=100-199' } });
    expect([part.status, part.headers.get('content-range')]).toEqual([206, `bytes 100-199/${whole.length}`]);
    expect(Buffer.from(await part.arrayBuffer()).equals(whole.subarray(100, 200))).toBe(true);
    const beyond = await fetch(file(second), { headers: { range: `bytes=${whole.length}-` } });
    expect(beyond.status).toBe(416);
    const head = await fetch(file(second), { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length')]).toEqual([200, String(whole.length)]);
    const uncached = await fetch(file(first).replace('00003', '00004'), { headers: { range: 'bytes=0-9' } });
    expect([uncached.status, (await uncached.arrayBuffer()).byteLength]).toEqual([206, 10]);
  });

  test('of the query only the low-latency directives reach cache and origin', async () => {
    const { playbackUrl } = await requestPlayback(stack);
    const playlist = pathOf(playbackUrl).replace('master.m3u8', '180p/index.m3u8');
    const types = [];
    for (const query of ['', '?bust=1', '?bust=2', '?_HLS_msn=1', '?_HLS_msn=2', '?x=y&_HLS_msn=2']) {
      types.push((await logged(playlist + query)).log['x-edge-result-type']);
    }
    expect(types).toEqual(['Miss', 'Hit', 'Hit', 'Miss', 'Miss', 'Hit']);
  });

  test('a missing file is a 404 of the origin, not a denial', async () => {
    const { playbackUrl } = await requestPlayback(stack);
    const answer = await fetch(playbackUrl.replace('master', 'none'));
    expect([answer.status, answer.headers.get('x-portcullis-reason')]).toEqual([404, null]);
  });
});

describe('ranges and cut-off requests', () => {
  const file = (playback: Playback) => pathOf(playback.playbackUrl).replace('master.m3u8', '180p/segment-00007.m4s');

  test.each([
    ['bytes=-100', 206],
    ['bytes=0-0', 206],
    ['bytes=100-', 206],
    ['bytes=5-2', 416],
    ['bytes=0-1,5-6', 200],
    ['items=0-5', 200],
    ['bytes=99999999-', 416],
  ])('%s gets the same from the origin as from the cache', async (range, status) => {
    const playback = await requestPlayback(stack);
    // A directive makes an object of its own in the cache, so that each range finds it cold.
    const path = `${file(playback)}?_HLS_msn=${encodeURIComponent(range)}`;
    const cold = await rawRequest(stack.edge, path, { headers: { range } });
    await rawRequest(stack.edge, path);
    const warm = await rawRequest(stack.edge, path, { headers: { range } });
    expect([cold.status, warm.status]).toEqual([status, status]);
    expect(cold.headers['content-range']).toBe(warm.headers['content-range']);
    expect(cold.body.equals(warm.body)).toBe(true);
  });

  test('a version that the viewer has is not sent again', async () => {
    const path = file(await requestPlayback(stack));
    const { headers } = await rawRequest(stack.edge, path);
    const again = await rawRequest(stack.edge, path, { headers: { 'if-none-match': `"x", ${headers.etag}` } });
    expect([again.status, again.body.length, again.headers['content-length']]).toEqual([304, 0, undefined]);
  });

  test('viewers who go away in the middle, and odd ranges at the console, harm nobody', async () => {
    const path = file(await requestPlayback(stack));
    for (let i = 0; i < 20; i++) {
      const { hostname, port } = new URL(stack.edge);
      const socket = net.connect(Number(port), hostname);
      socket.write(`GET ${path}?_HLS_msn=gone${i} HTTP/1.1\r\nhost: x\r\n\r\n`);
      await new Promise((resolve) => socket.once('data', resolve));
      socket.destroy();
    }
    await rawRequest(new URL(stack.console).origin, '/index.html', { headers: { range: 'bytes=5-2' } });
    expect((await rawRequest(stack.edge, path)).status).toBe(200);
  });
});

describe('denials at the edge', () => {
  test('a preflight is answered without a token, an OPTIONS request is not', async () => {
    const headers = { origin: 'https://page.example', 'access-control-request-method': 'GET' };
    const preflight = await rawRequest(stack.edge, '/aurora/master.m3u8', { method: 'OPTIONS', headers });
    expect([preflight.status, preflight.headers['access-control-allow-headers']]).toEqual([204, '*']);
    const plain = await rawRequest(stack.edge, '/aurora/master.m3u8', { method: 'OPTIONS' });
    expect([plain.status, reasonOf(plain)]).toEqual([401, 'token-missing']);
  });

  test('no token', async () => {
    const answer = await rawRequest(stack.edge, '/aurora/master.m3u8');
    expect([answer.status, reasonOf(answer)]).toEqual([401, 'token-missing']);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.headers['access-control-expose-headers']).toBe('x-portcullis-reason');
  });

  test('one character changed', async () => {
    const { playbackUrl } = await requestPlayback(stack);
    const path = pathOf(playbackUrl);
    const position = path.indexOf('/aurora') - 10;
    const changed = path.slice(0, position) + (path[position] === 'A' ? 'B' : 'A') + path.slice(position + 1);
    const answer = await rawRequest(stack.edge, changed);
    expect([answer.status, reasonOf(answer)]).toEqual([401, 'token-signature-invalid']);
  });

  test.each([
    '/../harbour/master.m3u8',
    '/aurora/../harbour/master.m3u8',
    '/aurora/%2e%2e/harbour/master.m3u8',
    '/aurora/.%2E/harbour/master.m3u8',
    '//harbour/master.m3u8',
    '/aurora//master.m3u8',
    '/aurora/..%2fharbour/master.m3u8',
    '/aurora/..\\harbour\\master.m3u8',
    '/aurora/..%5Charbour',
    '/aurora/master.m3u8%00',
    '/aurora/%252e%252e/harbour/master.m3u8',
    '/aurora/%c0%ae%c0%ae/harbour/master.m3u8',
    '/aurora%2fmaster.m3u8',
    '/aurora-extras/master.m3u8',
    '/auroramaster.m3u8',
    '/aurora',
  ])('%s never reaches the origin', async (path) => {
    const { playbackUrl } = await requestPlayback(stack);
    const token = pathOf(playbackUrl).split('/')[1];
    const answer = await logged(`/${token}${path}`);
    expect(answer.status).toBe(403);
    expect(['path-unsafe', 'path-not-allowed']).toContain(reasonOf(answer));
    // Answered by the function: neither hit nor miss, so nobody was asked.
    expect(answer.log['x-edge-result-type']).toBe('FunctionGeneratedResponse');
  });

  test('the origin answers nobody but the edge', async () => {
    // Its port is not announced; what is on it asks for the edge's secret.
    const answer = await rawRequest(stack.edge, '/v1/assets', { headers: { 'x-origin-secret': 'guess' } });
    expect(answer.status).toBe(401);
  });

  test('a URI over 8,192 characters is refused', async () => {
    const answer = await rawRequest(stack.edge, `/${'a'.repeat(8193)}/x`);
    expect(answer.status).toBe(414);
  });

  test('methods that media does not need are refused', async () => {
    const { playbackUrl } = await requestPlayback(stack);
    const answer = await rawRequest(stack.edge, pathOf(playbackUrl), { method: 'POST', body: 'x' });
    expect(answer.status).toBe(403);
  });
});

describe('revocation', () => {
  // How soon, `npm run bench:revocation` measures: a busy machine would say it here.
  test('reaches the edge while it is being answered', async () => {
    const { playbackUrl, sessionId } = await requestPlayback(stack);
    expect((await fetch(playbackUrl)).status).toBe(200);
    const before = performance.now();
    const called = revocation(stack, sessionId, 'POST');
    let answer = await rawRequest(stack.edge, pathOf(playbackUrl));
    while (answer.status === 200 && performance.now() - before < 5000) {
      answer = await rawRequest(stack.edge, pathOf(playbackUrl));
    }
    expect([answer.status, reasonOf(answer)]).toEqual([403, 'session-revoked']);
    expect((await called).status).toBe(201);
  });

  test('is idempotent, works for unknown sessions, and can be taken back', async () => {
    const { playbackUrl, sessionId } = await requestPlayback(stack);
    const first = (await (await revocation(stack, sessionId, 'POST')).json()) as {
      revokedAt: number;
      expiresAt: number;
    };
    expect(first.expiresAt - first.revokedAt).toBe(86400);
    const second = await revocation(stack, sessionId, 'POST');
    expect([second.status, await second.json()]).toEqual([200, { ...first, outcome: 'kept' }]);
    expect((await revocation(stack, 'NeverSeen12345', 'POST')).status).toBe(201);
    expect((await revocation(stack, sessionId, 'DELETE')).status).toBe(204);
    expect((await fetch(playbackUrl)).status).toBe(200);
    expect((await revocation(stack, sessionId, 'DELETE')).status).toBe(404);
  });

  test('the sessions list shows who plays and who is revoked', async () => {
    const { playbackUrl, sessionId } = await requestPlayback(stack, 'harbour');
    const list = async () => {
      const response = await fetch(`${stack.api}/v1/sessions`, {
        headers: { authorization: `Bearer ${stack.tokens.security}` },
      });
      const { sessions } = (await response.json()) as { sessions: { sessionId: string }[] };
      return sessions.find((session) => session.sessionId === sessionId);
    };
    expect(await list()).toBeUndefined();
    await fetch(playbackUrl);
    await expect.poll(list).toMatchObject({ asset: 'harbour', subject: 'local-player', revoked: false });
    await revocation(stack, sessionId, 'POST');
    expect(await list()).toMatchObject({ revoked: true });
  });
});

describe('decisions', () => {
  test('are streamed as they are made, redacted', async () => {
    const { playbackUrl, sessionId } = await requestPlayback(stack);
    const abort = new AbortController();
    const response = await fetch(`${stack.edge}/v1/decisions`, {
      headers: { authorization: `Bearer ${stack.tokens.security}` },
      signal: abort.signal,
    });
    expect(response.headers.get('content-type')).toMatch('text/event-stream');
    let text = '';
    const reading = (async () => {
      for await (const chunk of response.body ?? []) text += Buffer.from(chunk).toString();
    })().catch(() => undefined);
    await fetch(playbackUrl);
    await fetch(playbackUrl.replace('/aurora/', '/harbour/'));
    const mine = () =>
      text
        .split('\n\n')
        .slice(0, -1)
        .flatMap((event) => /^data: (.*)$/m.exec(event)?.[1] ?? [])
        .map((json) => JSON.parse(json))
        .filter((decision) => decision.sessionId === sessionId);
    await expect.poll(() => mine().length).toBe(2);
    abort.abort();
    await reading;
    expect(mine()[0]).toMatchObject({ status: 200, reason: '', kid: expect.stringMatching(/^k/) });
    expect(mine()[1]).toMatchObject({ status: 403, reason: 'path-not-allowed' });
    const signature = pathOf(playbackUrl).split('/')[1]?.split('.')[3] ?? '';
    expect(text).not.toContain(signature);
    expect(mine()[1].uri).toContain('.-/harbour/');
  });
});

describe('bad input to the API is a problem document', () => {
  const call = (path: string, init: RequestInit & { token?: string } = {}) => {
    const { token = stack.tokens.player, ...rest } = init;
    const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
    return fetch(`${stack.api}${path}`, { headers, ...rest });
  };
  const playback = (body: string) => call('/v1/playback', { method: 'POST', body });
  const expectProblem = async (response: Response, status: number, code: string) => {
    expect(response.headers.get('content-type')).toBe('application/problem+json');
    const problem = await response.json();
    expect(problem).toMatchObject({
      type: 'about:blank',
      title: expect.any(String),
      status,
      code,
      detail: expect.any(String),
    });
    expect(JSON.stringify(problem)).not.toMatch(/at .*\.(?:ts|js):\d+/);
    expect(response.status).toBe(status);
  };

  test.each([
    ['malformed JSON', '{"asset":', 400, 'ERR_BODY_INVALID'],
    ['no body', '', 400, 'ERR_BODY_INVALID'],
    ['a list', '[]', 400, 'ERR_BODY_INVALID'],
    ['no asset', '{}', 400, 'ERR_BODY_INVALID'],
    ['an asset that is no text', '{"asset":7}', 400, 'ERR_BODY_INVALID'],
    ['an unknown member', '{"asset":"aurora","policy":{}}', 400, 'ERR_BODY_INVALID'],
    ['an unknown asset', '{"asset":"none"}', 404, 'ERR_ASSET_UNKNOWN'],
    ['an oversize body', JSON.stringify({ asset: 'a'.repeat(70_000) }), 413, 'ERR_BODY_TOO_LARGE'],
  ])('%s', async (_, body, status, code) => {
    await expectProblem(await playback(body), status, code);
  });

  test('no, broken, foreign and expired authentication', async () => {
    for (const token of ['', 'x', 'a.b.c', stack.tokens.player.slice(0, -2)]) {
      await expectProblem(await call('/v1/assets', { token }), 401, 'ERR_UNAUTHENTICATED');
    }
  });

  test('alg none is no authentication', async () => {
    const claims = { iss: 'portcullis-local', aud: 'portcullis', sub: 'x', roles: ['security'], exp: 9999999999 };
    const none = [{ alg: 'none' }, claims]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.');
    await expectProblem(await call('/v1/sessions', { token: `${none}.` }), 401, 'ERR_UNAUTHENTICATED');
  });

  test('every endpoint but health needs authentication, and its own role', async () => {
    const endpoints: [string, string, Role[]][] = [
      ['POST', '/v1/playback', ['player', 'backend']],
      ['GET', '/v1/assets', ['player', 'backend', 'security']],
      ['GET', '/v1/sessions', ['security']],
      ['GET', '/v1/decisions', ['security']],
      ['POST', '/v1/sessions/AbCdEf012345/revocation', ['security']],
      ['DELETE', '/v1/sessions/AbCdEf012345/revocation', ['security']],
    ];
    for (const [method, path, allowed] of endpoints) {
      await expectProblem(await call(path, { method, token: '' }), 401, 'ERR_UNAUTHENTICATED');
      for (const role of ROLES) {
        if (!allowed.includes(role))
          await expectProblem(await call(path, { method, token: stack.tokens[role] }), 403, 'ERR_ROLE');
      }
    }
    const health = await call('/healthz', { token: '' });
    expect([health.status, await health.json()]).toEqual([200, { ok: true }]);
  });

  test('a session id that is none, an unknown path', async () => {
    const token = stack.tokens.security;
    await expectProblem(
      await call('/v1/sessions/short/revocation', { method: 'POST', token }),
      400,
      'ERR_SESSION_ID_INVALID',
    );
    await expectProblem(await call('/v1/nothing', { token }), 404, 'ERR_NOT_FOUND');
    const bad = await call('/v1/sessions/AbCdEf012345/revocation', { method: 'POST', token, body: '{"reason":7}' });
    await expectProblem(bad, 400, 'ERR_BODY_INVALID');
  });
});

describe('the viewer is who the edge says', () => {
  test('an odd user-agent keeps nobody from a token that does not bind it', async () => {
    const answer = await rawRequest(stack.edge, '/v1/playback', {
      method: 'POST',
      body: '{"asset":"aurora"}',
      headers: {
        authorization: `Bearer ${stack.tokens.player}`,
        'content-type': 'application/json',
        'user-agent': 'Fernseher \u00dc',
      },
    });
    expect(answer.status).toBe(200);
  });

  test('an address per loopback source, never from a header', async () => {
    const { playbackUrl } = await requestPlayback(stack);
    const headers = {
      'cloudfront-viewer-country': 'XX',
      'cloudfront-viewer-address': '1.2.3.4:5',
      'x-forwarded-for': '1.2.3.4',
    };
    const { log } = await logged(pathOf(playbackUrl), { localAddress: '127.0.0.2', headers });
    expect(log['c-ip']).toBe('198.51.100.7');
  });
});

describe('the console', () => {
  test('hands tokens to who has its key, and to nobody else', async () => {
    const { origin, hash } = new URL(stack.console);
    const key = hash.replace('#key=', '');
    const post = (body: unknown, host = new URL(origin).host) =>
      rawRequest(origin, '/session', { method: 'POST', body: JSON.stringify(body), headers: { host } });
    const good = await post({ key });
    expect(JSON.parse(good.body.toString())).toMatchObject({
      edge: stack.edge,
      tokens: { security: expect.any(String) },
    });
    for (const body of [{ key: 'guess' }, {}, null, { key: [key, key] }]) expect((await post(body)).status).toBe(401);
    expect((await post({ key }, 'attacker.example')).status).toBe(421);
    const page = await fetch(origin);
    expect([page.status, page.headers.get('content-type')]).toEqual([200, expect.stringMatching('text/html')]);
    expect(page.headers.get('access-control-allow-origin')).toBeNull();
  });
});

describe('the access log', () => {
  test('has the fields of standard logs', async () => {
    const { log } = await logged('/aurora/master.m3u8?a=b', { headers: { referer: 'http://page.example/a b\t"c"' } });
    expect(log).toMatchObject({
      'cs-uri-stem': '/aurora/master.m3u8',
      'sc-status': '401',
      'cs(Referer)': 'http://page.example/a%20b%09%22c%22',
      'cs-uri-query': 'a=b',
    });
    expect(readLog().startsWith(`#Version: 1.0\n#Fields: ${FIELDS.join(' ')}\n`)).toBe(true);
    expect(FIELDS).toHaveLength(36);
    for (const line of logLines()) expect(line.split('\t')).toHaveLength(36);
  });

  test('says where the viewer is, as far as the edge knows', async () => {
    const { log } = await logged('/aurora/master.m3u8', { localAddress: '127.0.0.2' });
    expect(log).toMatchObject({ 'c-ip': '198.51.100.7', asn: '3215', 'c-country': 'FR' });
    expect((await logged('/aurora/master.m3u8', { localAddress: '127.0.0.9' })).log).toMatchObject({
      asn: '-',
      'c-country': '-',
    });
  });
});

test('no complete token and no key in anything that is logged', async () => {
  const { playbackUrl } = await requestPlayback(stack);
  const path = pathOf(playbackUrl);
  const token = path.split('/')[1] ?? '';
  const signature = token.split('.')[3] ?? '';
  for (const attempt of [
    path,
    path.replaceAll('.', '%2E'),
    path.replace('/aurora', '.x/aurora'),
    `/x/${token}/aurora`,
    `/aurora/master.m3u8?token=${token}`,
    `/${token.slice(13)}/aurora/x`,
  ]) {
    const headers = { referer: `http://page.example/${token}/`, cookie: `t=${token}` };
    await logged(attempt, { headers });
    await rawRequest(stack.edge, attempt, { headers: { 'user-agent': `Player ${token}` } });
  }
  await logged('/after-all-of-them');
  const ring = JSON.parse(readFileSync(join(data, 'key-ring.json'), 'utf8')) as { keys: { secret: string }[] };
  const store = JSON.parse(readFileSync(join(data, 'edge-store.json'), 'utf8')) as { data: { value: string }[] };
  const { sign, bind } = JSON.parse(store.data[0]?.value ?? '{}') as { sign: string; bind: string };
  const secrets = [signature, ring.keys[0]?.secret, sign, bind, ...Object.values(stack.tokens)];
  const everything = readLog() + stack.output();
  for (const secret of secrets) {
    expect(secret).toMatch(/.{40}/);
    expect(everything.includes(secret ?? '')).toBe(false);
  }
});

describe('starting and stopping', () => {
  /** Why a stack does not start, in this process: code and message of the error, and what it reported before. */
  async function refusalHere(data: string): Promise<{ code: string; message: string; lines: string[] }> {
    const lines: string[] = [];
    const { edge: settings, ...configuration } = await readConfiguration();
    const options = { ...configuration, settings, data, port: 0, isRendered: false };
    const error: Error & { code?: string } = await startStackHere({
      ...options,
      report: (line) => lines.push(line),
    }).then(
      () => new Error('it started'),
      (thrown) => thrown,
    );
    return { code: error.code ?? '', message: error.message, lines };
  }

  test('files with secrets are private', () => {
    for (const name of ['key-ring.json', 'edge-store.json', 'issuer.json', 'tokens.json']) {
      expect([name, statSync(join(data, name)).mode & 0o777]).toEqual([name, 0o600]);
    }
  });

  test('a second stack on the same data is refused, and the first goes on', async () => {
    await expect(startStack(data)).rejects.toThrow(/up ended with 2: portcullis: another stack runs on this data/);
    expect((await fetch(`${stack.api}/healthz`)).status).toBe(200);
  });

  test('a port in use is named', async () => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as net.AddressInfo;
    const other = temporaryDirectory();
    await expect(startStack(other, '--port', String(port))).rejects.toThrow(
      new RegExp(`up ended with 2: .*port ${port} is in use`),
    );
    server.close();
    removeDirectory(other);
  });

  test.each([
    ['key-ring.json', '{"version":1,"keys":[', /key ring .* is not JSON/],
    ['key-ring.json', '{"version":1,"keys":[]}', /exactly one key must be current/],
    ['edge-store.json', 'x', /cannot read store file/],
    ['viewers.json', '{"127.0.0.1":{"shoe":1}}', /viewers.json/],
    ['rule-group.json', '[{"Name":"x"}]', /rule group/],
    ['issuer.json', '{', /issuer.json/],
    ['issuer.json', '{}', /issuer.json holds no key/],
    ['dynamodb/CURRENT', 'x', /cannot open the database/],
    ['logs/access.log/x', '', /cannot write the access log .* EISDIR/],
  ])('a damaged %s is an error in one line, and is left as it is', async (name, content, message) => {
    const other = temporaryDirectory();
    mkdirSync(dirname(join(other, name)), { recursive: true });
    writeFileSync(join(other, name), content, { mode: 0o600 });
    const { code, message: said, lines } = await refusalHere(other);
    expect(exitOfCode(code)).toBe('usage');
    expect(said).toMatch(message);
    expect(said).not.toContain('\n');
    // Before anything is made of the title, which takes its time.
    expect(lines.filter((line) => line.startsWith('packaging'))).toEqual([]);
    expect(readFileSync(join(other, name), 'utf8')).toBe(content);
    expect(existsSync(join(other, 'lock'))).toBe(false);
    removeDirectory(other);
  });

  test.each(['key-ring.json', 'edge-store.json', 'issuer.json'])(
    'a %s that others can read is refused',
    async (name) => {
      const other = temporaryDirectory();
      writeFileSync(join(other, name), '{}');
      chmodSync(join(other, name), 0o644);
      const { code, message } = await refusalHere(other);
      expect([exitOfCode(code), message]).toEqual(['usage', expect.stringMatching(/chmod 600/)]);
      removeDirectory(other);
    },
  );

  test.runIf(LONG)('what ends npm ends the stack that it started', async () => {
    const npm = spawn('npm', ['run', '-s', 'up', '--', '--port', '0', '--ephemeral', '--json'], {
      cwd: packagePath(),
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [line] = await once(npm.stdout, 'data');
    const { api } = JSON.parse(String(line));
    expect((await fetch(`${api}/healthz`)).status).toBe(200);
    npm.kill('SIGTERM');
    await once(npm, 'exit');
    await expect
      .poll(() =>
        fetch(`${api}/healthz`).then(
          () => 'up',
          () => 'down',
        ),
      )
      .toBe('down');
  });

  test('--ephemeral leaves nothing behind', async () => {
    const other = temporaryDirectory();
    const ephemeral = await startStack(other, '--ephemeral');
    const place = ephemeral.tokenFile.replace('/tokens.json', '');
    expect(existsSync(place)).toBe(true);
    expect(await ephemeral.stop('SIGINT')).toBe(0);
    expect(existsSync(place)).toBe(false);
    expect(readdirSync(other)).toEqual([]);
    removeDirectory(other);
  });

  test('keys, sessions and revocations survive SIGINT and SIGKILL, and the folder keeps its mode', async () => {
    const other = temporaryDirectory();
    chmodSync(other, 0o755);
    let running = await startStack(other);
    const kept = await requestPlayback(running);
    const revoked = await requestPlayback(running);
    expect((await fetch(kept.playbackUrl)).status).toBe(200);
    await revocation(running, revoked.sessionId, 'POST');
    const { tokens } = running;
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      expect(await running.stop(signal)).toBe(signal === 'SIGINT' ? 0 : null);
      if (signal === 'SIGINT') expect(existsSync(join(other, 'stack.json'))).toBe(false);
      running = await startStack(other);
      const open = await rawRequest(running.edge, pathOf(kept.playbackUrl));
      const closed = await rawRequest(running.edge, pathOf(revoked.playbackUrl));
      expect([signal, open.status, closed.status, reasonOf(closed)]).toEqual([signal, 200, 403, 'session-revoked']);
      const sessions = await fetch(`${running.api}/v1/sessions`, {
        headers: { authorization: `Bearer ${tokens.security}` },
      });
      expect(JSON.stringify(await sessions.json())).toContain(kept.sessionId);
    }
    await running.stop();
    expect(statSync(other).mode & 0o777).toBe(0o755);
    removeDirectory(other);
  });
});

describe('the rule group', () => {
  test('is evaluated before the function, in WAF’s own JSON', async () => {
    const other = temporaryDirectory();
    const rules = [
      {
        Name: 'revoked-sessions',
        Priority: 0,
        Statement: {
          RegexMatchStatement: {
            RegexString: '^/(?:BlockedSess1|BlockedSess2)\\.',
            FieldToMatch: { UriPath: {} },
            TextTransformations: [{ Priority: 0, Type: 'NONE' }],
          },
        },
        Action: {
          Block: {
            CustomResponse: {
              ResponseCode: 403,
              ResponseHeaders: [{ Name: 'x-portcullis-reason', Value: 'session-revoked' }],
            },
          },
        },
        VisibilityConfig: { SampledRequestsEnabled: false, CloudWatchMetricsEnabled: false, MetricName: 'revoked' },
      },
    ] satisfies Rule[];
    writeFileSync(join(other, 'rule-group.json'), JSON.stringify(rules));
    const running = await startStack(other);
    const blocked = await rawRequest(running.edge, '/BlockedSess2.a.b.c/aurora/x');
    expect([blocked.status, reasonOf(blocked)]).toEqual([403, 'session-revoked']);
    const longer = await rawRequest(running.edge, '/BlockedSess22.a.b.c/aurora/x');
    expect(reasonOf(longer)).toBe('token-malformed');
    await running.stop();
    removeDirectory(other);
  });
});
