import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { NOW, TEST_RING } from '../harness/minting.ts';

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-key-'));
afterAll(() => rmSync(scratch, { recursive: true }));
let files = 0;
function file(content: unknown, mode = 0o600): string {
  const path = join(scratch, `file-${++files}.json`);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content), { mode });
  return path;
}

const [key] = TEST_RING.keys;
const day = (days: number) => new Date((NOW + days * 86400) * 1000).toISOString();
const RING = {
  version: 1,
  keys: [
    { ...key, kid: 'gone', secret: '', state: 'retired', retiredAt: day(1), compromised: true },
    { ...key, kid: 'before', secret: Buffer.alloc(32, 5).toString('base64url'), state: 'previous', demotedAt: day(2) },
    { ...key, activatedAt: day(2) },
    { ...key, kid: 'after', secret: Buffer.alloc(32, 6).toString('base64url'), state: 'next', publishedAt: day(3) },
  ],
};
const SECRETS = RING.keys.map(({ secret }) => secret).filter(Boolean);

describe('key show', () => {
  test('says of each key its state, since when, and what comes when', async () => {
    const { code, stdout } = await portcullis('key', 'show', '--keys', file(RING));
    expect(code).toBe(0);
    expect(stdout).toMatch(/^gone +retired +\S+ +since \S+, compromised$/m);
    expect(stdout).toMatch(/^before +previous +\S+ +retires at 2025-10-12T09:08:20Z$/m);
    expect(stdout).toMatch(/^k1 +current +\S+ +since 2025-10-11T08:53:20Z$/m);
    expect(stdout).toMatch(/^after +next +\S+ +becomes current at 2025-10-12T09:03:20Z$/m);
    for (const secret of SECRETS) expect(stdout).not.toContain(secret);
  });

  test('as JSON, with the times of a configuration', async () => {
    const config = file({ edge: { maxTokenLifetimeSeconds: 3600, leewaySeconds: 10 }, keys: { bakeSeconds: 60 } });
    const { stdout } = await portcullis('key', 'show', '--keys', file(RING), '--config', config, '--json');
    const { keys, rotation } = JSON.parse(stdout);
    expect(rotation).toBeNull();
    expect(keys.map(({ kid, state }: Record<string, string>) => [kid, state])).toEqual([
      ['gone', 'retired'],
      ['before', 'previous'],
      ['k1', 'current'],
      ['after', 'next'],
    ]);
    expect(keys[1].retiresAt).toBe(NOW + 2 * 86400 + 900 + 3600 + 10);
    expect(keys[3].activatesAt).toBe(NOW + 3 * 86400 + 60);
    for (const secret of SECRETS) expect(stdout).not.toContain(secret);
  });

  test.each([
    ['no ring', () => join(scratch, 'none.json'), /cannot read key ring .*ENOENT/],
    ['one that others can read', () => file(RING, 0o644), /can be read by others/],
    [
      'two current keys',
      () => file({ version: 1, keys: [key, { ...key, kid: 'k2' }] }),
      /exactly one key must be current/,
    ],
  ])('%s is one line and exit code 2', async (_, path, message) => {
    const { code, stdout, stderr } = await portcullis('key', 'show', '--keys', path());
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });
});

describe('key import', () => {
  const primary = { '2025101_aaaaaaaaaaaaaaaaaaaa': 'ab'.repeat(64) };
  const secondary = { '2025102_bbbbbbbbbbbbbbbbbbbb': 'cd'.repeat(64) };

  test('adds the keys of both secrets, and a function of the dialect takes them beside ours', async () => {
    const ring = file(TEST_RING);
    const { code, stdout, stderr } = await portcullis(
      ...['key', 'import', file(primary), file(secondary), '--keys', ring, '--json'],
    );
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout).kids).toEqual([...Object.keys(primary), ...Object.keys(secondary)]);
    expect(statSync(ring).mode & 0o777).toBe(0o600);
    const { keys } = JSON.parse(readFileSync(ring, 'utf8'));
    expect(keys.map(({ state, use = 'ours' }: Record<string, string>) => [use, state])).toEqual([
      ['ours', 'current'],
      ['compat', 'current'],
      ['compat', 'previous'],
    ]);
    const out = join(scratch, 'function.js');
    const built = await portcullis('edge', 'build', '--dialect', 'compat', '--keys', ring, '--out', out, '--json');
    expect(JSON.parse(built.stdout).kids).toHaveLength(3);
    const policy = file({ exp: '+1h', paths: ['/aurora/'], exc: [], headers: [] });
    const minted = await portcullis('token', 'mint', '--dialect', 'compat', '--policy', policy, '--keys', ring);
    expect(minted.stderr).toBe('');
  });

  test('again, after the solution rotated: the new one is current, the one before goes on being accepted', async () => {
    const ring = file(TEST_RING);
    await portcullis('key', 'import', file(primary), '--keys', ring);
    const { code } = await portcullis('key', 'import', file(secondary), file(primary), '--keys', ring);
    expect(code).toBe(0);
    const { keys } = JSON.parse(readFileSync(ring, 'utf8'));
    expect(Object.fromEntries(keys.map((entry: Record<string, string>) => [entry.kid, entry.state]))).toEqual({
      k1: 'current',
      [Object.keys(secondary)[0] ?? '']: 'current',
      [Object.keys(primary)[0] ?? '']: 'previous',
    });
  });

  test('not another secret under an id that the ring has', async () => {
    const ring = file(TEST_RING);
    await portcullis('key', 'import', file(primary), '--keys', ring);
    const before = readFileSync(ring, 'utf8');
    const other = Object.fromEntries(Object.keys(primary).map((kid) => [kid, 'ef'.repeat(64)]));
    const { code, stderr } = await portcullis('key', 'import', file(other), '--keys', ring);
    expect([code, stderr]).toEqual([2, expect.stringContaining('another secret under the id')]);
    expect(readFileSync(ring, 'utf8')).toBe(before);
    expect((await portcullis('key', 'import', file(primary), '--keys', ring)).code).toBe(0);
  });

  test('makes a ring where there is none', async () => {
    const ring = join(scratch, 'new-ring.json');
    await portcullis('key', 'import', file(primary), '--keys', ring);
    const { keys } = JSON.parse(readFileSync(ring, 'utf8'));
    expect(keys.map(({ use = 'ours', state }: Record<string, string>) => `${use} ${state}`)).toEqual([
      'ours current',
      'compat current',
    ]);
    expect(statSync(ring).mode & 0o777).toBe(0o600);
  });

  test.each([
    ['a key ring', TEST_RING],
    ['nothing', {}],
    ['a secret that is none', { k: 'short' }],
    ['no JSON', '{"k":"abcdef'],
  ])('%s is refused, and the ring stays as it is', async (_, content) => {
    const ring = file(TEST_RING);
    const before = readFileSync(ring, 'utf8');
    const { code, stdout, stderr } = await portcullis('key', 'import', file(content), '--keys', ring);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).not.toContain('abcdef');
    expect(readFileSync(ring, 'utf8')).toBe(before);
  });
});

describe('key rotate', () => {
  test.each([
    ['where no stack runs', ['--data', scratch], /no stack is running on .*start one with npm run up/],
    ['--dry-run by itself', ['--dry-run'], /--dry-run needs --compromised/],
    [
      'a compromised key of a secret',
      ['--secret', 's', '--compromised', 'k1'],
      /needs --edge-store <arn> or --function/,
    ],
    [
      'a ring without an edge',
      ['--keys', 'r.json', '--edge', 'http://127.0.0.1:1'],
      /--function <name> or --edge-store <arn>/,
    ],
    ['a ring without a URL', ['--keys', 'r.json', '--function', 'f'], /needs --edge <url>/],
    ['an edge without a ring', ['--function', 'f', '--edge', 'http://127.0.0.1:1'], /--keys <file> or --secret <id>/],
    [
      'a dry run from here',
      ['--keys', 'r.json', '--function', 'f', '--compromised', 'k', '--dry-run'],
      /API of a running stack/,
    ],
  ])('%s says what to do', async (_, args, message) => {
    const { code, stderr } = await portcullis('key', 'rotate', ...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});
