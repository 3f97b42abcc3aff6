import { exec } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { keyName, revocationName } from '../../edge-functions/store/names.ts';
import { packagePath } from '../../local/package-root.ts';
import { createMinter } from '../../token-api/index.ts';
import { mintingKey, parseKeyRing, verificationKeys } from '../../token-api/key-ring/key-ring.ts';
import { portcullis } from '../harness/cli.ts';
import { NOW, TEST_RING } from '../harness/minting.ts';
import { describeWith } from '../harness/programs.ts';
import { CLI, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const data = temporaryDirectory();
afterAll(() => removeDirectory(data));
const file = (name: string, content: string) => {
  writeFileSync(join(data, name), content, { mode: 0o600 });
  return join(data, name);
};

const ring = parseKeyRing(TEST_RING);
const minter = createMinter({ key: () => mintingKey(ring), maxLifetimeSeconds: 86400, now: () => NOW });
const minted = minter.mint({ policy: { lifetime: 'PT1H' }, viewer: {}, url: 'https://m.example/aurora/master.m3u8' });
const event = (uri: string) => ({
  version: '1.0',
  context: { distributionDomainName: 'd', distributionId: 'E', eventType: 'viewer-request', requestId: 'r' },
  viewer: { ip: '203.0.113.7' },
  request: { method: 'GET', uri, querystring: {}, headers: {}, cookies: {} },
});
const good = event(new URL(minted.url).pathname);
const events = file('events.jsonl', `${JSON.stringify(good)}\n\n${JSON.stringify(event('/aurora/master.m3u8'))}\n`);
const keys = file('ring.json', JSON.stringify(TEST_RING));
const entries = Object.entries(verificationKeys(ring)).map(([kid, key]) => ({
  key: keyName(kid),
  value: JSON.stringify({ ...key, before: 0 }),
}));
const store = file('store.json', JSON.stringify({ data: entries }));
const revoked = file(
  'revoked.json',
  JSON.stringify({ data: [...entries, { key: revocationName(minted.sessionId), value: '1' }] }),
);
const out = join(data, 'function.js');
const storeBundle = packagePath('dist', 'edge', 'viewer-request.js');

test('build writes the function with its keys, privately', async () => {
  writeFileSync(out, 'an older one', { mode: 0o644 });
  const { code, stdout } = await portcullis('edge', 'build', '--keys', keys, '--out', out, '--json');
  expect([code, JSON.parse(stdout)]).toMatchObject([0, { out, budget: 10240, kids: ['k1'] }]);
  expect(statSync(out).mode & 0o777).toBe(0o600);
});

function suite(engine: string): void {
  const invoke = async (bundle: string, ...more: string[]) => {
    const args = ['edge', 'invoke', bundle, '--events', events, '--engine', engine, '--now', `${NOW}`, ...more];
    const { code, stdout } = await portcullis(...args);
    return {
      code,
      answers: stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    };
  };
  const allowed = { ...good.request, uri: '/aurora/master.m3u8' };
  const denied = (reason: string, statusCode: number) => ({
    statusCode,
    headers: { 'x-portcullis-reason': { value: reason } },
  });

  test('prints what the handler returns, an event a line', async () => {
    await portcullis('edge', 'build', '--keys', keys, '--out', out);
    expect(await invoke(out)).toEqual({ code: 0, answers: [allowed, expect.objectContaining({ statusCode: 401 })] });
    expect(await invoke(storeBundle, '--store', store)).toMatchObject({
      code: 0,
      answers: [allowed, denied('token-missing', 401)],
    });
  });

  test('reads revocations from the store, keys too, and the clock from --now', async () => {
    expect((await invoke(storeBundle, '--store', revoked)).answers[0]).toMatchObject(denied('session-revoked', 403));
    expect((await invoke(storeBundle)).answers[0]).toMatchObject(denied('token-key-unknown', 401));
    expect((await invoke(out, '--now', `${NOW + 3600}`)).answers[0]).toMatchObject(denied('token-expired', 401));
  });

  test('exit 1 when a handler throws, 2 when the bundle is none', async () => {
    const throws = file('throws.js', "function handler(event) { throw 'no'; }\n");
    expect(await invoke(throws)).toEqual({ code: 1, answers: [null, null] });
    const none = await portcullis(
      'edge',
      'invoke',
      file('none.js', 'function ('),
      '--events',
      events,
      '--engine',
      engine,
    );
    expect([none.code, none.stderr]).toEqual([2, expect.stringMatching(/^portcullis: /)]);
  });
}

describe('invoke in vm', () => suite('vm'));
describeWith('njs', 'invoke in njs', () => suite('njs'));

test('a store that is missing, or that the function does not read, is pointed out', async () => {
  await portcullis('edge', 'build', '--keys', keys, '--out', out);
  const without = await portcullis('edge', 'invoke', storeBundle, '--events', events);
  expect(without.stderr).toMatch(/empty without --store/);
  const unread = await portcullis('edge', 'invoke', out, '--events', events, '--store', store);
  expect(unread.stderr).toMatch(/--store changes nothing/);
});

test('a reader that closes the pipe early is no error', async () => {
  const many = file('many.jsonl', `${JSON.stringify(good)}\n`.repeat(5000));
  const command = `node ${CLI} edge invoke ${out} --events ${many} | head -1 | wc -l`;
  const { stdout, stderr } = await promisify(exec)(command);
  expect([stdout.trim(), stderr]).toEqual(['1', '']);
});

test.each([
  [
    'a line that is no JSON',
    ['edge', 'invoke', storeBundle, '--events', file('bad.jsonl', `${JSON.stringify(good)}\n{`)],
    /line 2 is not JSON/,
  ],
  [
    'an event that is none',
    ['edge', 'invoke', storeBundle, '--events', file('none.jsonl', '{"request":{}}')],
    /line 1 is no viewer-request event: request.uri is missing/,
  ],
  [
    'a store in another format',
    ['edge', 'invoke', storeBundle, '--events', events, '--store', file('s.json', '{}')],
    /is not \{"data"/,
  ],
  ['a folder that is not there', ['edge', 'build', '--keys', keys, '--out', '/nowhere/f.js'], /cannot write .*ENOENT/],
])('%s is refused', async (_, args, message) => {
  const { code, stderr } = await portcullis(...args);
  expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
});
