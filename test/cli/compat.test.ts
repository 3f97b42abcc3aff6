import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { readKeys } from '../../edge-functions/store/keys-line.ts';
import { packagePath } from '../../local/package-root.ts';
import { portcullis } from '../harness/cli.ts';
import { NOW, TEST_RING } from '../harness/minting.ts';
import { describeWith } from '../harness/programs.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

/** What the function may weigh without keys, in bytes: it has to leave room for several of them. */
const WITHOUT_KEYS = 9216;

const data = temporaryDirectory();
afterAll(() => removeDirectory(data));
const file = (name: string, content: unknown) => {
  writeFileSync(join(data, name), typeof content === 'string' ? content : JSON.stringify(content), { mode: 0o600 });
  return join(data, name);
};

const KID = '20251009_00112233445566778899';
const SECRET = '0f'.repeat(64);
const secret = file('secret.json', { [KID]: SECRET });
const compatKey = { kid: KID, secret: SECRET, use: 'compat', state: 'previous', createdAt: 0 };
const ring = file('ring.json', { version: 1, keys: [...TEST_RING.keys, compatKey] });
const policy = file('policy.json', { paths: ['/aurora/'], exc: [], exp: '+1h', ssn: true, headers: ['user-agent'] });
const viewer = file('viewer.json', { sessionId: 'user-42', headers: { 'user-agent': 'Player/1.0' } });
const url = 'https://media.example.com/aurora/master.m3u8';
const out = join(data, 'function.js');

const mint = (...more: string[]) =>
  portcullis(
    'token',
    'mint',
    '--dialect',
    'compat',
    '--policy',
    policy,
    '--viewer',
    viewer,
    '--now',
    `${NOW}`,
    ...more,
  );
const build = (keys: string, ...more: string[]) =>
  portcullis('edge', 'build', '--dialect', 'compat', '--keys', keys, '--out', out, ...more);

test('without keys the function leaves room for them', () => {
  const bytes = statSync(packagePath('dist', 'edge', 'viewer-request.compat.js')).size;
  expect(bytes).toBeLessThanOrEqual(WITHOUT_KEYS);
});

test('mint prints the token, or the URL with it, or JSON', async () => {
  const alone = await mint('--keys', secret);
  expect([alone.code, alone.stderr]).toEqual([0, '']);
  expect(alone.stdout).toMatch(/^user-42\.ey[\w-]+\.ey[\w-]+\.[\w-]{43}\n$/);
  const token = alone.stdout.trim();
  expect((await mint('--keys', ring, '--url', url)).stdout).toBe(
    `https://media.example.com/${token}/aurora/master.m3u8\n`,
  );
  const { stdout } = await mint('--keys', secret, '--json');
  expect(JSON.parse(stdout)).toEqual({ token, url: null, sessionId: 'user-42', issuedAt: NOW, expiresAt: NOW + 3600 });
});

test.each([
  ['ERR_COMPAT_BINDING_MISSING', { co: true }],
  ['ERR_COMPAT_TIME', { exp: '+1d' }],
  ['ERR_COMPAT_PATHS', { exc: ['/'] }],
  ['ERR_COMPAT_POLICY', { asset: 'aurora' }],
])('mint refuses by name what the format cannot protect: %s', async (code, change) => {
  const bad = file('bad.json', { paths: ['/aurora/'], exp: '+1h', ...change });
  const { code: exit, stdout, stderr } = await mint('--keys', secret, '--policy', bad);
  expect([exit, stdout, stderr]).toEqual([2, '', expect.stringMatching(new RegExp(`^portcullis: .*\\(${code}\\)\n$`))]);
});

test('the strict dialect needs a URL, and takes no secret of that solution', async () => {
  const strict = file('strict.json', { lifetime: 'PT1H' });
  const args = ['token', 'mint', '--policy', strict, '--keys'];
  expect((await portcullis(...args, ring)).stderr).toMatch(/required option '--url <url>'/);
  expect(await portcullis(...args, secret, '--url', url)).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/secret of the AWS solution v1: use it with --dialect compat/),
  });
  expect(await portcullis('edge', 'build', '--keys', secret, '--out', out)).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/secret of the AWS solution v1: use it with --dialect compat/),
  });
});

test('build embeds keys of both kinds, and no secret', async () => {
  const { code, stdout, stderr } = await build(ring, '--json');
  expect([code, stderr]).toEqual([0, '']);
  expect(JSON.parse(stdout)).toMatchObject({ out, budget: 10240, kids: ['k1', KID] });
  expect(statSync(out).mode & 0o777).toBe(0o600);
  const built = readFileSync(out, 'utf8');
  expect(built).not.toContain(SECRET);
  const key = expect.stringMatching(/^[\w-]{43}$/);
  expect(readKeys(built)?.keys).toEqual({ k1: { sign: key, bind: key }, [KID]: { compat: key } });
});

test('the strict function of a ring of both kinds knows the keys of ours alone', async () => {
  const { stdout } = await portcullis('edge', 'build', '--keys', ring, '--out', out, '--json');
  expect(JSON.parse(stdout).kids).toEqual(['k1']);
  expect(readFileSync(out, 'utf8')).not.toContain(KID);
});

test('a key that is not one of that solution is pointed out', async () => {
  const odd = file('odd.json', { [KID]: 'secret1_value_to_replace' });
  expect((await build(odd)).stderr).toMatch(/note: key '20251009_\w+' is not the 128 hexadecimal digits/);
  const { code, stderr } = await build(file('short.json', { [KID]: 'changeme' }));
  expect([code, stderr]).toEqual([2, expect.stringMatching(/keys\.0\.secret: must be 16–256/)]);
});

function suite(engine: string): void {
  test('the built function takes tokens of both kinds', async () => {
    const ours = file('ours.json', { lifetime: 'PT1H' });
    const strict = ['token', 'mint', '--policy', ours, '--keys', ring, '--url', url, '--now', `${NOW}`];
    const urls = await Promise.all([mint('--keys', secret, '--url', url), portcullis(...strict)]);
    const events = urls.map(({ stdout }) => ({
      version: '1.0',
      context: {},
      viewer: { ip: '203.0.113.7' },
      request: {
        method: 'GET',
        uri: new URL(stdout).pathname,
        querystring: {},
        headers: { 'user-agent': { value: 'Player/1.0' } },
        cookies: {},
      },
    }));
    await build(ring);
    const lines = file('events.jsonl', events.map((event) => JSON.stringify(event)).join('\n'));
    const args = ['edge', 'invoke', out, '--events', lines, '--engine', engine, '--now', `${NOW}`];
    const { stdout } = await portcullis(...args);
    const answers = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).uri);
    expect(answers).toEqual(['/aurora/master.m3u8', '/aurora/master.m3u8']);
  });
}

describe('invoked in vm', () => suite('vm'));
describeWith('njs', 'invoked in njs', () => suite('njs'));
