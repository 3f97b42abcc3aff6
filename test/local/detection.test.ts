import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { callApi } from '../harness/api.ts';
import { portcullis } from '../harness/cli.ts';
import { LONG } from '../harness/programs.ts';
import {
  accessLog,
  CLI,
  type Playback,
  type RunningStack,
  rawRequest,
  removeDirectory,
  requestPlayback,
  revocation,
  startStack,
  temporaryDirectory,
  useStack,
  withoutPackage,
} from '../harness/stack.ts';

const DETECTION = { reviewScore: 10, autoScore: 20, maxAutoShare: 1 };
/** The loopback viewers of a stack: in Berlin, in Paris, in New York. */
const VIEWERS = ['127.0.0.1', '127.0.0.2', '127.0.0.3'];
const SEGMENTS = Array.from({ length: 12 }, (_, i) => `360p/segment-${String(i + 1).padStart(5, '0')}.m4s`);

/** Fetches the segments as a viewer, and waits until the log has all of it. */
async function play(stack: RunningStack, { playbackUrl, sessionId }: Playback, viewer: string): Promise<void> {
  const mark = `Player/${Math.random().toString(36).slice(2)}`;
  for (const segment of SEGMENTS) {
    const { pathname } = new URL(segment, playbackUrl);
    const answer = await rawRequest(stack.edge, pathname, {
      localAddress: viewer,
      headers: { 'user-agent': mark },
    });
    expect([viewer, sessionId, segment, answer.status]).toEqual([viewer, sessionId, segment, 200]);
  }
  const lines = () => accessLog(stack.data).split(mark).length - 1;
  await expect.poll(lines, { timeout: 10_000 }).toBe(SEGMENTS.length);
}

// Past the edge, whose log has a line of every call.
const security = { role: 'security', direct: true } as const;
const suspicious = async (stack: RunningStack) =>
  (await callApi(stack, 'GET', '/v1/sessions/suspicious', security)).body.sessions;
async function atEdge(stack: RunningStack, { playbackUrl }: Playback): Promise<[number, unknown]> {
  const { status, headers } = await rawRequest(stack.edge, new URL(playbackUrl).pathname);
  return [status, headers['x-portcullis-reason']];
}

describe('a stack that enforces', () => {
  // Runs are asked for here; the clock of the stack would come in between.
  const stack = useStack({ revocation: { detection: { ...DETECTION, mode: 'enforce', everySeconds: 86_400 } } });
  const run = () => callApi(stack, 'POST', '/v1/detections', security);
  let shared: Playback;
  let ordinary: Playback;

  test('has nothing to say before the first run', async () => {
    expect(await callApi(stack, 'GET', '/v1/detections/latest', security)).toMatchObject({
      status: 404,
      body: { code: 'ERR_DETECTION_NONE' },
    });
    expect(await suspicious(stack)).toEqual([]);
    const { code, stdout } = await portcullis('session', 'suspicious', '--data', stack.data);
    expect([code, stdout]).toEqual([0, 'no suspicious sessions\n']);
  });

  test('finds a session that three viewers play at once, and cuts it off; an ordinary one goes on', async () => {
    shared = await requestPlayback(stack);
    ordinary = await requestPlayback(stack, 'harbour');
    await Promise.all(VIEWERS.map((viewer) => play(stack, shared, viewer)));
    const { pathname } = new URL('360p/segment-000.m4s', ordinary.playbackUrl);
    expect((await rawRequest(stack.edge, pathname)).status).toBe(200);

    const { status, body } = await run();
    expect([status, body]).toMatchObject([200, { mode: 'enforce', flagged: 1, auto: 1, revoked: 1, refused: [] }]);
    expect(body.sessionCount).toBeGreaterThanOrEqual(1);
    expect(await atEdge(stack, shared)).toEqual([403, 'session-revoked']);
    expect(await atEdge(stack, ordinary)).toEqual([200, undefined]);
    const latest = await callApi(stack, 'GET', '/v1/detections/latest', security);
    expect(latest.body).toEqual({ ...body, running: false });
  });

  test('lists it with its reasons and its viewers', async () => {
    const [found, ...others] = await suspicious(stack);
    expect(others).toEqual([]);
    expect(found).toMatchObject({
      sessionId: shared.sessionId,
      verdict: 'auto',
      title: 'aurora',
      revoked: true,
      source: 'auto',
      reasons: expect.arrayContaining(['3 countries in the same minute (+20)']),
      features: { identities: 3, countries: 3, asns: 3, segments: SEGMENTS.length },
    });
    const labels = found.timeline.map(({ label }: { label: string }) => label).join(' ');
    for (const country of ['DE', 'FR', 'US']) expect(labels).toContain(country);
    const requests = found.timeline.flatMap(({ minutes }: { minutes: [number, number][] }) => minutes);
    expect(requests.reduce((sum: number, [, count]: [number, number]) => sum + count, 0)).toBe(36);
    const { stdout } = await portcullis('session', 'suspicious', '--data', stack.data);
    expect(stdout).toMatch(/^score {2,}session .*\n.*aurora .*revoked by detection\n {7}\S/);
  });

  test('with nothing new does nothing', async () => {
    // What the edge was asked since is new: a run takes it in, and the next has nothing to do.
    await run();
    const { body: idle } = await run();
    expect(idle).toMatchObject({ objects: 0, rows: 0, revoked: 0 });
    // What was found before stands; it is later that detection looked.
    const { body: latest } = await callApi(stack, 'GET', '/v1/detections/latest', security);
    expect(latest.objects).toBeGreaterThan(0);
    expect(latest.checkedAt).toBe(idle.ranAt);
    const { code, stdout } = await portcullis('session', 'detect', '--data', stack.data);
    expect([code, stdout]).toEqual([0, 'there are no new log lines\n']);
  });

  test('leaves alone what a person restored', async () => {
    expect((await revocation(stack, shared.sessionId, 'DELETE')).status).toBe(204);
    await Promise.all(VIEWERS.map((viewer) => play(stack, shared, viewer)));
    expect((await run()).body).toMatchObject({ flagged: 1, auto: 1, revoked: 0 });
    expect(await atEdge(stack, shared)).toEqual([200, undefined]);
    const [found] = await suspicious(stack);
    expect(found).toMatchObject({ sessionId: shared.sessionId, revoked: false, restored: true });
    expect(found).not.toHaveProperty('source');
  });

  test('says so when its asset is withdrawn', async () => {
    const asset = '/v1/assets/aurora/revocation';
    const { status } = await callApi(stack, 'POST', asset, { ...security, body: { reason: 'rights' } });
    expect(status).toBe(201);
    expect((await suspicious(stack))[0]).toMatchObject({ revoked: false, reason: 'asset-withdrawn' });
    const { stdout } = await portcullis('session', 'suspicious', '--data', stack.data);
    expect(stdout).toMatch(/^score .*\n.*aurora .*withdrawn\n/);
    expect((await callApi(stack, 'DELETE', asset, security)).status).toBe(204);
  });

  test('refuses pages that are none, and who is not security', async () => {
    for (const query of ['?limit=0', '?limit=1001', '?cursor=x']) {
      const { status } = await callApi(stack, 'GET', `/v1/sessions/suspicious${query}`, security);
      expect([query, status]).toEqual([query, 400]);
    }
    for (const path of ['/v1/sessions/suspicious', '/v1/detections/latest']) {
      expect([path, (await callApi(stack, 'GET', path)).status]).toEqual([path, 403]);
    }
    // A session could not be called that: it is too short.
    const revoked = await callApi(stack, 'POST', '/v1/sessions/suspicious/revocation', security);
    expect(revoked).toMatchObject({ status: 400, body: { code: 'ERR_SESSION_ID_INVALID' } });
  });
});

describe('a stack that only looks', () => {
  const stack = useStack({ revocation: { detection: { ...DETECTION, mode: 'log', everySeconds: 10 } } });

  test('finds a shared session by itself, says so, and revokes nothing', async () => {
    const shared = await requestPlayback(stack);
    await Promise.all(VIEWERS.map((viewer) => play(stack, shared, viewer)));
    const found = async () => (await suspicious(stack)).map(({ sessionId }: Playback) => sessionId);
    await expect.poll(found, { timeout: 60_000, interval: 500 }).toEqual([shared.sessionId]);
    expect(await atEdge(stack, shared)).toEqual([200, undefined]);
    await expect.poll(stack.output, { timeout: 10_000 }).toMatch(/detection: 1 suspicious sessions, 0 revoked/);
  }, 120_000);
});

describe('a stack whose detection is off', () => {
  const stack = useStack({ revocation: { detection: { mode: 'off' } } });

  test('says so when it is up', async () => {
    expect([stack.detection, stack.waf]).toEqual([{ mode: 'off' }, { publish: false }]);
    const args = [CLI, 'up', '--port', '0', '--ephemeral', '--no-render'];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    let said = '';
    child.stdout.on('data', (chunk) => {
      said += chunk;
    });
    const leaks = /^ {4}leaks {4}detection lists them and revokes none .*; revocations are not published as WAF rules/m;
    try {
      await expect.poll(() => said, { timeout: 60_000 }).toMatch(leaks);
    } finally {
      child.kill();
      await once(child, 'exit');
    }
  }, 90_000);

  test('says how to switch it on', async () => {
    const { status, body } = await callApi(stack, 'POST', '/v1/detections', security);
    expect([status, body.code, body.detail]).toEqual([409, 'ERR_DETECTION_OFF', expect.stringMatching(/mode to log/)]);
    const { code, stderr } = await portcullis('session', 'detect', '--data', stack.data);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/detection is off; set revocation.detection.mode/)]);
  });
});

describe('a stack without DuckDB', () => {
  test.runIf(LONG)(
    'says once that detection is off, and why; everything else works',
    async () => {
      const data = temporaryDirectory();
      const config = join(data, 'portcullis.json');
      writeFileSync(config, JSON.stringify({ revocation: { detection: { everySeconds: 10 } } }));
      vi.stubEnv('NODE_OPTIONS', withoutPackage('@duckdb/node-api'));
      const stack = await startStack(data, '--config', config);
      vi.unstubAllEnvs();
      const playback = await requestPlayback(stack);
      await play(stack, playback, '127.0.0.1');
      const said = /detection is off: .*npm install @duckdb\/node-api/g;
      await expect.poll(() => stack.output().match(said)?.length, { timeout: 60_000, interval: 500 }).toBe(1);
      const { status, body } = await callApi(stack, 'POST', '/v1/detections', security);
      expect([status, body.code, body.detail]).toEqual([
        503,
        'ERR_DETECTION_SETUP',
        expect.stringMatching(/npm install @duckdb/),
      ]);
      expect(stack.output().match(said)).toHaveLength(1);
      await stack.stop();
      removeDirectory(data);
    },
    120_000,
  );
});
