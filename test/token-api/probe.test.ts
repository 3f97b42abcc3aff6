import http from 'node:http';
import * as v from 'valibot';
import { afterAll, expect, test } from 'vitest';
import { buildEdgeFunction } from '../../edge-functions/build/bundle.ts';
import { EdgeSettingsSchema } from '../../edge-functions/build/settings.ts';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { openPort } from '../../local/listen.ts';
import { packagePath } from '../../local/package-root.ts';
import { edgeProbe, functionProbe, probeEvents } from '../../token-api/key-ring/probe.ts';
import { decide, NOW, TEST_KEY } from '../harness/minting.ts';

const closers: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const close of closers) await close();
});

/** An edge that answers what `reasonOf` says of a path, '' being the 404 of an origin that has nothing there. */
async function edge(reasonOf: (path: string) => string, status = 404) {
  const port = await openPort(0);
  closers.push(port.close);
  const paths: string[] = [];
  port.serve((request, response) => {
    const path = request.url ?? '';
    paths.push(path);
    const reason = reasonOf(path);
    if (reason === '') response.writeHead(status).end();
    else response.writeHead(reason.startsWith('token-') ? 401 : 403, { 'x-portcullis-reason': reason }).end();
  });
  const world = { now: NOW };
  const probe = edgeProbe({
    edgeUrl: port.url,
    tokenPrefix: '/',
    patienceSeconds: 5,
    now: () => world.now,
    sleep: async () => {
      world.now++;
    },
  });
  return { probe, paths, world };
}

/** What the validator says, with the key or without. */
const validator = (path: string, hasKey = true) => decide(path, undefined, { now: NOW, key: hasKey ? TEST_KEY : null });

test('an edge that has the key is asked twice: for a token of it, and for one with another signature', async () => {
  const { probe, paths } = await edge((path) => validator(path));
  await probe(TEST_KEY);
  expect(paths.map((path) => validator(path))).toEqual(['', 'token-signature-invalid']);
  expect(paths[0]).toMatch(/\/\.portcullis\/probe$/);
});

test('a published function is asked the same, as viewer requests', async () => {
  const asked: string[] = [];
  const options = {
    name: 'viewer-request',
    tokenPrefix: '/',
    patienceSeconds: 0,
    now: () => NOW,
    sleep: async () => 0,
  };
  const ask = async ({ request, context }: { request: { uri: string }; context: { eventType: string } }) => {
    asked.push(`${context.eventType} ${validator(request.uri)}`);
    return validator(request.uri);
  };
  await functionProbe({ ...options, ask })(TEST_KEY);
  expect(asked).toEqual(['viewer-request ', 'viewer-request token-signature-invalid']);
  const unaware = functionProbe({ ...options, ask: async ({ request }) => validator(request.uri, false) });
  await expect(unaware(TEST_KEY)).rejects.toMatchObject({
    code: 'ERR_ROTATION_PROBE',
    message: expect.stringContaining('function viewer-request does not accept'),
  });
  await expect(functionProbe({ ...options, ask: async () => '' })(TEST_KEY)).rejects.toMatchObject({
    code: 'ERR_ROTATION_PROBE',
    message: expect.stringContaining('edge mode enforce'),
  });
});

test('it waits for the key to arrive, for as long as it is told', async () => {
  const arriving = await edge((path) => validator(path, arriving.paths.length > 3));
  await arriving.probe(TEST_KEY);
  const { probe, world } = await edge((path) => validator(path, false));
  await expect(probe(TEST_KEY)).rejects.toMatchObject({
    code: 'ERR_ROTATION_PROBE',
    message: expect.stringContaining('token-key-unknown'),
  });
  expect(world.now).toBe(NOW + 5);
});

test('an edge that lets everything through proves nothing, and the message says how to change that', async () => {
  const { probe } = await edge(() => '');
  await expect(probe(TEST_KEY)).rejects.toMatchObject({
    code: 'ERR_ROTATION_PROBE',
    message: expect.stringContaining('portcullis edge mode enforce --prefix /.portcullis/'),
  });
});

test.each([
  ['an edge whose function fails', async () => (await edge(() => '', 503)).probe],
  [
    'an address where nothing listens',
    async () => {
      const server = http.createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => server.once('listening', resolve));
      const { port } = server.address() as { port: number };
      await new Promise((resolve) => server.close(resolve));
      const options = { edgeUrl: `http://127.0.0.1:${port}`, tokenPrefix: '/', patienceSeconds: 0 };
      return edgeProbe({ ...options, now: () => NOW, sleep: async () => {} });
    },
  ],
])('%s is no proof', async (_, open) => {
  const probe = await open();
  const error = await probe(TEST_KEY).catch((thrown: Error) => thrown);
  expect(error).toMatchObject({ code: 'ERR_ROTATION_PROBE' });
  expect((error as Error).message).not.toContain(TEST_KEY.sign);
});

test.each(['enforce', 'log', 'off'] as const)(
  'a function of mode %s passes its test with its keys, and fails with others',
  async (mode) => {
    const other = { ...TEST_KEY, sign: Buffer.alloc(32, 9).toString('base64url') };
    const keys = { k1: { sign: TEST_KEY.sign, bind: TEST_KEY.bind }, k2: { sign: other.sign, bind: other.bind } };
    const settings = v.parse(EdgeSettingsSchema, { mode, tokenPosition: '/live/~TOKEN' });
    const sources = packagePath('dist', 'lib', 'edge-functions', 'viewer-request');
    const outcomes = async (embedded: typeof keys) => {
      const { code } = await buildEdgeFunction(sources, 'embedded', settings, embedded);
      const { allowed, denied } = probeEvents(keys, '/live/', NOW);
      const results = await runInVm(code, [...allowed, ...denied], { now: NOW, store: new Map() });
      return results.map((result) =>
        'value' in result ? ((result.value as { statusCode?: number }).statusCode ?? 'goes on') : result.error,
      );
    };
    expect(await outcomes(keys)).toEqual(['goes on', 'goes on', 403]);
    if (mode === 'enforce') expect(await outcomes({ ...keys, k2: keys.k1 })).toEqual(['goes on', 401, 403]);
  },
);
