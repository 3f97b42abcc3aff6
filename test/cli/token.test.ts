import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseKeyRing, verificationKeys } from '../../token-api/key-ring/key-ring.ts';
import { portcullis, portcullisWithInput } from '../harness/cli.ts';
import { NOW, TEST_RING } from '../harness/minting.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const data = temporaryDirectory();
afterAll(() => removeDirectory(data));
const file = (name: string, content: unknown, mode = 0o600) => {
  const path = join(data, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content), { mode });
  chmodSync(path, mode);
  return path;
};

const policy = file('policy.json', { lifetime: 'PT1H', paths: ['/aurora/'], bindings: ['ip', 'user-agent'] });
const viewer = file('viewer.json', { ip: '203.0.113.7', userAgent: 'Player/1.0' });
const keys = file('ring.json', TEST_RING);
const url = 'https://media.example.com/aurora/master.m3u8';
const mint = (...more: string[]) =>
  portcullis(
    'token',
    'mint',
    '--policy',
    policy,
    '--viewer',
    viewer,
    '--keys',
    keys,
    '--url',
    url,
    '--now',
    `${NOW}`,
    ...more,
  );

let minted: { url: string; token: string; sessionId: string; expiresAt: number };
beforeAll(async () => {
  minted = JSON.parse((await mint('--json')).stdout);
});

test('mint warns of bindings that break ordinary viewers', async () => {
  const { stderr } = await mint();
  expect(stderr).toMatch(/binding 'ip' breaks mobile viewers/);
  expect(stderr).toMatch(/binding 'user-agent' breaks AirPlay/);
});

test('mint prints the URL, or JSON', async () => {
  const { code, stdout } = await mint();
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /^https:\/\/media\.example\.com\/[A-Za-z0-9]{12}\.ey[\w-]+\.ey[\w-]+\.[\w-]{43}\/aurora\/master\.m3u8\n$/,
  );
  expect(minted).toMatchObject({ expiresAt: NOW + 3600 });
});

describe('verify', () => {
  const verify = (target: string, ...more: string[]) =>
    portcullis('token', 'verify', target, '--keys', keys, '--viewer', viewer, '--json', '--now', `${NOW}`, ...more);

  test('exit 0 and the claims when the edge would allow it', async () => {
    const { code, stdout } = await verify(minted.url);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ allowed: true, reason: '', claims: { aid: 'aurora' } });
  });

  test.each([
    [
      'token-signature-invalid',
      401,
      () => minted.url.replace(/(.)(.{9}\/aurora\/)/, (_, first, rest) => `${first === 'A' ? 'B' : 'A'}${rest}`),
      [],
    ],
    ['path-not-allowed', 403, () => minted.url.replace('/aurora/', '/harbour/'), []],
    ['path-unsafe', 403, () => minted.url.replace('/aurora/', '/aurora/../'), []],
    ['token-missing', 401, () => url, []],
    ['token-expired', 401, () => minted.url, ['--now', `${NOW + 3600}`]],
    [
      'binding-mismatch',
      403,
      () => minted.url,
      ['--viewer', file('other.json', { ip: '203.0.113.8', userAgent: 'Player/1.0' })],
    ],
    ['binding-missing', 403, () => minted.url, ['--viewer', file('none.json', {})]],
    [
      'token-lifetime-exceeded',
      401,
      () => minted.url,
      ['--config', file('short.json', { edge: { maxTokenLifetimeSeconds: 60 } })],
    ],
  ])('exit 1 and %s', async (reason, status, target, more) => {
    const { code, stdout } = await verify(target(), ...more);
    expect([code, JSON.parse(stdout)]).toMatchObject([1, { allowed: false, reason, status }]);
  });

  test('knows what is revoked when it is given the store', async () => {
    const key = { ...verificationKeys(parseKeyRing(TEST_RING)).k1, before: 0 };
    const withEntries = async (...entries: [string, unknown][]) => {
      const data = entries.map(([name, value]) => ({ key: name, value: JSON.stringify(value) }));
      return JSON.parse((await verify(minted.url, '--store', file('store.json', { data }))).stdout).reason;
    };
    const revoked: [string, unknown] = [`r/${minted.sessionId}`, 1];
    const blocked: [string, unknown] = ['a/aurora', [{}]];
    expect(await withEntries(['k/k1', key])).toBe('');
    expect(await withEntries(['k/k1', key], revoked)).toBe('session-revoked');
    expect(await withEntries(['k/k1', { ...key, before: NOW + 1 }])).toBe('session-cutoff');
    expect(await withEntries(['k/k1', key], blocked)).toBe('');
    expect(await withEntries(['k/k1', { ...key, blocks: true }], blocked)).toBe('asset-withdrawn');
    expect(await withEntries(revoked)).toBe('token-key-unknown');
    expect(
      (await portcullis('token', 'verify', minted.url, '--keys', keys, '--viewer', viewer, '--now', `${NOW}`)).stdout,
    ).toMatch(/unless revoked/);
  });

  test('for people it says what the reason means', async () => {
    const { stdout } = await portcullis('token', 'verify', url, '--keys', keys);
    expect(stdout).toBe('denied: token-missing (401)\nNo token where the URL should have one.\n');
  });
});

describe('inspect', () => {
  test('shows the claims of a URL or a token, and no signature', async () => {
    for (const target of [minted.url, minted.token, minted.token.slice(13)]) {
      const { code, stdout } = await portcullis('token', 'inspect', target, '--json');
      expect([code, JSON.parse(stdout)]).toMatchObject([
        0,
        { kid: 'k1', sessionId: minted.sessionId, claims: { bnd: ['ip', 'user-agent'] } },
      ]);
      expect(stdout).not.toContain(minted.token.split('.')[3]);
    }
  });

  test('exit 1 for what is none', async () => {
    expect(await portcullis('token', 'inspect', 'x.y.z')).toMatchObject({
      code: 1,
      stdout: expect.stringMatching('not a token'),
    });
  });
});

describe('- stands for standard input, which no list of processes shows', () => {
  test('verify and inspect read it, with or without a line feed', async () => {
    for (const input of [minted.url, `${minted.url}\n`]) {
      const more = ['--keys', keys, '--viewer', viewer, '--now', `${NOW}`, '--json'];
      const verified = await portcullisWithInput(input, 'token', 'verify', '-', ...more);
      expect([verified.code, JSON.parse(verified.stdout)]).toMatchObject([0, { allowed: true }]);
      const inspected = await portcullisWithInput(input, 'token', 'inspect', '-', '--json');
      expect([inspected.code, JSON.parse(inspected.stdout)]).toMatchObject([0, { sessionId: minted.sessionId }]);
    }
  });

  test.each(['renew', 'verify', 'inspect'])('%s says when there is nothing, and its help has it', async (name) => {
    const more = name === 'verify' ? ['--keys', keys] : [];
    const { code, stderr } = await portcullisWithInput('\n', 'token', name, '-', ...more);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/standard input is empty/)]);
    expect((await portcullis('token', name, '--help')).stdout).toMatch(new RegExp(`portcullis token ${name} - ?`));
  });
});

describe('bad usage and input: exit 2, one clear line, no stack trace', () => {
  const cases: [string, string[], RegExp][] = [
    ['no command', [], /Usage: portcullis/],
    ['an unknown command', ['fly'], /unknown command 'fly'/],
    ['a slip in a noun', ['tokne'], /unknown command 'tokne'\n\(Did you mean token\?\)/],
    ['the name of something of JavaScript', ['constructor'], /unknown command 'constructor'/],
    ['a missing option', ['token', 'mint', '--url', url], /required option '--policy/],
    ['a number that is none', ['up', '--port', 'eighty'], /whole number from 0 to 65533/],
    ['a missing file', ['token', 'verify', url, '--keys', '/nowhere/ring.json'], /cannot read key ring .*ENOENT/],
    ['a world-readable ring', ['token', 'verify', url, '--keys', file('open.json', TEST_RING, 0o644)], /chmod 600/],
    ['a corrupt ring', ['token', 'verify', url, '--keys', file('corrupt.json', '{"version":1')], /is not JSON/],
    ['a URL that is none', ['token', 'verify', 'ftp://x', '--keys', keys], /must be http/],
    [
      'an unknown setting',
      ['token', 'verify', url, '--keys', keys, '--config', file('c.json', { edge: { x: 1 } })],
      /edge\.x/,
    ],
    ['a session id that is none', ['session', 'revoke', 'x', '--data', data], /12–64 letters and digits/],
    ['no stack', ['session', 'list', '--data', data], /start one with npm run up/],
    ['an unknown engine', ['edge', 'invoke', keys, '--events', keys, '--engine', 'v9'], /Allowed choices are vm, njs/],
  ];
  test.each(cases)('%s', async (_, args, message) => {
    const { code, stderr } = await portcullis(...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  test.each([
    ['policy', { policy: 'soon' }, /policy: /],
    ['lifetime', { lifetime: 'soon' }, /policy: lifetime/],
    ['bindings', { lifetime: 'PT1H', bindings: ['shoe-size'] }, /unknown binding 'shoe-size'; known are ip, network/],
  ])('a policy with a wrong %s', async (_, content, message) => {
    const { code, stderr } = await mint('--policy', file('bad.json', content));
    expect([code, stderr.trim().split('\n').length]).toEqual([2, 1]);
    expect(stderr).toMatch(message);
  });
});

test.each([['--help'], ['token', '--help'], ['token', 'mint', '--help'], ['edge', 'invoke', '--help'], ['--version']])(
  'help: %s %s %s',
  async (...args) => {
    const { code, stdout } = await portcullis(...(args.filter(Boolean) as string[]));
    expect(code).toBe(0);
    expect(stdout.length).toBeGreaterThan(4);
  },
);
