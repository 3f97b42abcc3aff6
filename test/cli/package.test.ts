import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RULES } from '../../enclave-render/packaging/lint/rules.ts';
import { packagePath } from '../../local/package-root.ts';
import { portcullis } from '../harness/cli.ts';
import { describeWithFfmpeg, frames, isThere, makeMedia } from '../harness/media.ts';
import { CLI, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

describeWithFfmpeg('portcullis package hls', () => {
  const scratch = temporaryDirectory();
  const source = join(scratch, 'source.mp4');
  const data = join(scratch, 'data');
  const hls = (...args: string[]) => portcullis('package', 'hls', ...args, '--data', data);
  beforeAll(async () => {
    await makeMedia(source, { seconds: 8 });
    expect((await portcullis('kms', 'create', '--alias', 'alias/portcullis-mastering', '--data', data)).code).toBe(0);
  });
  afterAll(() => removeDirectory(scratch));

  test('packages, says what it made, and the linter has nothing to say', async () => {
    const out = join(scratch, 'title');
    const { code, stdout, stderr } = await hls(source, out, '--rotate-every', '1', '--json');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(JSON.parse(stdout)).toMatchObject({ out, container: 'cmaf', encryption: 'aes-128', keys: 2, duration: 8 });
    const lint = await portcullis('package', 'lint', join(out, 'master.m3u8'), '--json');
    expect(lint.code).toBe(0);
    expect(JSON.parse(lint.stdout)).toMatchObject({ findings: [], errors: 0, warnings: 0, kind: 'multivariant' });
    const again = await hls(source, out);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain('--force');
    expect((await hls(source, out, '--force')).code).toBe(0);
  });

  test('--force never replaces the folder that a source is in', async () => {
    const out = join(scratch, 'with-source');
    expect((await hls(source, out)).code).toBe(0);
    mkdirSync(join(out, 'masters'));
    const inside = join(out, 'masters', 'source.mp4');
    copyFileSync(source, inside);
    const link = join(scratch, 'link.mp4');
    symlinkSync(inside, link);
    const linkInside = join(out, 'link.mp4');
    symlinkSync(source, linkInside);
    for (const file of [inside, link, linkInside]) {
      const { code, stderr } = await hls(file, out, '--force');
      expect({ file, code, stderr }).toEqual({ file, code: 2, stderr: expect.stringContaining('would be replaced') });
    }
    expect(isThere(inside)).toBe(true);
  });

  test('packages a master, of which nothing is ever in clear on the disk', async () => {
    const master = join(scratch, 'master.enc');
    expect((await portcullis('master', 'encrypt', source, master, '--mode', 'framed', '--data', data)).code).toBe(0);
    const out = join(scratch, 'of-master');
    expect(await hls(master, out, '--dash')).toMatchObject({ code: 0 });
    const plain = join(scratch, 'of-plain');
    expect(await hls(source, plain, '--dash')).toMatchObject({ code: 0 });
    const pictures = async (folder: string) => (await frames(join(folder, '180p', 'index.m3u8'), 'v', true)).length;
    expect(await pictures(out)).toBe(200);
    expect(readFileSync(join(out, '180p', 'segment-00002.m4s'))).toEqual(
      readFileSync(join(plain, '180p', 'segment-00002.m4s')),
    );
    const bytes = readFileSync(master);
    bytes[Math.floor(bytes.length / 2)] = (bytes[Math.floor(bytes.length / 2)] ?? 0) ^ 1;
    writeFileSync(master, bytes);
    const tampered = join(scratch, 'tampered');
    expect((await hls(master, tampered)).code).toBe(2);
    expect(isThere(tampered)).toBe(false);
  });

  test('live goes on whatever is asked, and gives keys to pages of this machine only', async () => {
    const out = join(scratch, 'for-live');
    expect((await hls(source, out)).code).toBe(0);
    const child = spawn(process.execPath, [CLI, 'package', 'live', out, '--json', '--data', data]);
    try {
      const [text] = (await once(child.stdout, 'data')) as [Buffer];
      const { url } = JSON.parse(text.toString());
      const { port } = new URL(url);
      const ask = async (path: string, headers = {}) => {
        const [response] = (await once(get({ port, path, headers }), 'response')) as [IncomingMessage];
        response.resume();
        return [response.statusCode, response.headers['access-control-allow-origin']];
      };
      expect(await ask('//')).toEqual([404, '*']);
      const [{ name }] = JSON.parse(readFileSync(join(out, 'keys.json'), 'utf8')).keys;
      const key = `/keys/${name}.key`;
      expect(await ask(key, { origin: 'https://elsewhere.example' })).toEqual([200, undefined]);
      expect(await ask(key, { origin: 'http://localhost:8080' })).toEqual([200, 'http://localhost:8080']);
      expect(await ask('/master.m3u8')).toEqual([200, '*']);
      // What a browser asks when the name of a page elsewhere has been made to lead here.
      expect(await ask(key, { host: `elsewhere.example:${port}` })).toEqual([421, undefined]);
      expect(await ask(key, { host: `localhost:${port}` })).toEqual([200, undefined]);
    } finally {
      child.kill('SIGTERM');
    }
  });

  test('live does not begin with a key that is bound to something else, or without one', async () => {
    const out = join(scratch, 'for-altered');
    expect((await hls(source, out, '--rotate-every', '1')).code).toBe(0);
    const file = join(out, 'keys.json');
    const table = JSON.parse(readFileSync(file, 'utf8'));
    const [first, second] = table.keys;
    const withFirst = (change: object) => [{ ...first, ...change }, second];
    const contexts = [{ ...first.context, purpose: 'mastering' }, { ...first.context, more: 'x' }, second.context, {}];
    for (const [keys, words] of [
      ...contexts.map((context) => [withFirst({ context }), 'bound to something else'] as const),
      // The context of the one and the ciphertext of the other: KMS says no.
      [withFirst({ encryptedKey: second.encryptedKey }), 'context'],
      [withFirst({ name: second.name, context: second.context }), 'context'],
      [withFirst({ keyId: 'arn:portcullis:kms:local:key/none' }), ''],
      [[second], `has no key ${first.name}`],
    ] as const) {
      writeFileSync(file, JSON.stringify({ ...table, keys }));
      const { code, stdout, stderr } = await portcullis('package', 'live', out, '--json', '--data', data);
      expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: '', stderr: expect.stringContaining(words) });
    }
  });

  test('what it says in clear is said: with --dash, and no option that would mislead', async () => {
    const { code, stderr, stdout } = await hls(source, join(scratch, 'clear'), '--dash');
    expect(code).toBe(0);
    expect(stderr).toContain('in clear');
    expect(stdout).toContain('in clear');
    for (const more of [
      ['--format', 'ts'],
      ['--rotate-every', '2'],
      ['--iv', 'random'],
      ['--key-storage', 'x'],
    ]) {
      expect((await hls(source, join(scratch, 'no'), '--dash', ...more)).code).toBe(2);
    }
  });

  test('bad input is exit code 2 with words, and leaves nothing', async () => {
    const before = readdirSync(scratch).sort();
    const out = join(scratch, 'bad');
    const sparse = ['--segment-seconds', '1'];
    for (const [args, words] of [
      [[source], 'name the sources'],
      [[join(scratch, 'none.mp4'), out], 'cannot read'],
      [[source, out, ...sparse], 'no key frame for 1.6'],
      [[source, out, '--part-seconds', '0'], 'from 0.1 to 10'],
      [[source, out, '--transcode', '999p'], '2160p, 1440p'],
      [[source, source, out, '--transcode', '360p'], 'one source'],
      [[source, out, '--kms-key', 'alias/none'], 'alias/none'],
    ] as const) {
      const { code, stderr } = await hls(...args);
      expect({ args, code, stderr }).toEqual({ args, code: 2, stderr: expect.stringContaining(words) });
    }
    expect(readdirSync(scratch).sort()).toEqual(before);
  });
});

describe('portcullis package lint', () => {
  const scratch = temporaryDirectory();
  afterAll(() => removeDirectory(scratch));

  test('is exit code 1 with a row a finding, and 2 for what is no manifest', async () => {
    const file = join(scratch, 'index.m3u8');
    writeFileSync(file, '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:9,\n/a.ts\n#EXT-X-ENDLIST\n');
    const { code, stdout } = await portcullis('package', 'lint', file);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^error {2}target-duration-exceeded {2}.*index\.m3u8:4 {2}9 s/m);
    expect(stdout).toMatch(/^root-relative-uri: /m);
    writeFileSync(file, 'hello');
    expect((await portcullis('package', 'lint', file)).code).toBe(2);
    expect((await portcullis('package', 'lint', 'file:///etc/passwd')).code).toBe(2);
  });

  test('docs/packaging.md has every rule and every code', () => {
    const text = readFileSync(packagePath('docs', 'packaging.md'), 'utf8');
    for (const [rule, { severity, words }] of Object.entries(RULES)) {
      expect(text).toContain(`| \`${rule}\` | ${severity} | ${words} |`);
    }
    const codes = readFileSync(packagePath('enclave-render', 'packaging', 'errors.ts'), 'utf8').match(/ERR_\w+/g) ?? [];
    expect(codes.filter((code) => !text.includes(`\`${code}\``))).toEqual([]);
  });
});
