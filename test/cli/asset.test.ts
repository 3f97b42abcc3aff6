import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { portcullis, portcullisWithInput } from '../harness/cli.ts';
import { laterThan, useStack } from '../harness/stack.ts';

const stack = useStack();
const { data } = stack;

const cli = (...args: string[]) => portcullis(...args, '--data', data);
const file = (name: string, content: unknown) => {
  writeFileSync(join(data, name), JSON.stringify(content));
  return join(data, name);
};
const policy = file('policy.json', { lifetime: 'PT10M', bindings: ['user-agent'] });
const viewer = file('viewer.json', { userAgent: 'Player/1.0', subject: 'viewer-1' });
const status = async (url: string) => (await fetch(url, { headers: { 'user-agent': 'Player/1.0' } })).status;

test('an asset is added with its policy, minted for, renewed and taken out', async () => {
  const path = ['--path', '/aurora/master.m3u8'];
  const bare = await cli('asset', 'put', 'film', ...path);
  expect([bare.code, bare.stderr]).toEqual([2, expect.stringMatching(/give --policy or --policy-id/)]);
  const added = await cli('asset', 'put', 'film', ...path, '--title', 'Film', '--policy', policy, '--json');
  const film = { id: 'film', title: 'Film', path: '/aurora/master.m3u8', policy: 'film' };
  expect([added.code, JSON.parse(added.stdout)]).toEqual([0, film]);
  const listed = await cli('asset', 'list');
  expect(listed.stdout).toMatch(/^asset {2}.*\n(?:.*\n)*film +Film +\/aurora\/master\.m3u8 +film\n/);
  expect(JSON.parse((await cli('asset', 'list', '--json')).stdout).assets).toContainEqual(film);

  const minted = await cli('token', 'mint', '--asset', 'film', '--viewer', viewer, '--json');
  const { playbackUrl, sessionId } = JSON.parse(minted.stdout);
  expect(await status(playbackUrl)).toBe(200);
  await laterThan(Date.now() / 1000);
  const renewed = await cli('token', 'renew', playbackUrl, '--viewer', viewer);
  expect([renewed.code, renewed.stdout]).toEqual([0, expect.stringContaining(`/${sessionId}.`)]);
  expect(await status(renewed.stdout.trim())).toBe(200);
  const piped = await portcullisWithInput(
    `${playbackUrl}\n`,
    ...['token', 'renew', '-', '--viewer', viewer, '--data', data],
  );
  expect([piped.code, piped.stdout]).toEqual([0, expect.stringContaining(`/${sessionId}.`)]);
  const refused = await cli('token', 'renew', playbackUrl);
  expect([refused.code, refused.stdout]).toEqual([
    1,
    expect.stringMatching(/^refused: .*binding-missing.* \(403\)\n$/),
  ]);

  // Only what is given changes.
  const replaced = await cli('asset', 'put', 'film', '--path', '/aurora/360p/index.m3u8', '--policy-id', 'vod-2h');
  expect([replaced.code, replaced.stdout]).toEqual([0, 'replaced film\n']);
  const { assets } = JSON.parse((await cli('asset', 'list', '--json')).stdout);
  expect(assets).toContainEqual({ ...film, path: '/aurora/360p/index.m3u8', policy: 'vod-2h' });

  expect(await cli('asset', 'rm', 'film')).toMatchObject({ code: 0, stdout: 'removed film\n' });
  expect(await cli('asset', 'rm', 'film')).toMatchObject({ code: 1, stdout: 'there is no asset film\n' });
});

describe('what a terminal would act on is shown, not sent to it', () => {
  const escaped = '\\u001b]0;owned\\u0007\\u000aline\\u007f\\u009b2J\\u2028\\u202egnp\\u2066';
  const title = JSON.parse(`"${escaped}"`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it is about.
  const controls = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/;

  test('in a list, and in JSON, which means the same', async () => {
    const put = ['asset', 'put', 'shady', '--path', '/aurora/master.m3u8', '--policy', policy];
    expect((await cli(...put, '--title', title)).code).toBe(0);
    const listed = await cli('asset', 'list');
    expect(listed.stdout).not.toMatch(controls);
    // One line of it, and the columns after it where they are in the others.
    const lines = listed.stdout.trimEnd().split('\n');
    const line = lines.find((text) => text.startsWith('shady')) ?? '';
    expect(line).toContain(` ${escaped} `);
    expect(line.indexOf('/aurora/')).toBe(lines[0]?.indexOf('path'));
    const json = await cli('asset', 'list', '--json');
    expect(json.stdout).not.toMatch(controls);
    expect(JSON.parse(json.stdout).assets).toContainEqual(expect.objectContaining({ id: 'shady', title }));
    expect((await cli('asset', 'rm', 'shady')).code).toBe(0);
  });

  test('in errors, which say what the API says', async () => {
    const problem = JSON.stringify({ code: 'ERR_X', detail: title });
    const server = http.createServer((_, response) => response.writeHead(403).end(problem)).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const api = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const { code, stderr } = await portcullis('asset', 'list', '--api', api, '--token-file', stack.tokenFile);
    server.close();
    expect([code, stderr]).toEqual([1, `portcullis: the API at ${api} refused: ${escaped}\n`]);
  });

  test('in notes', async () => {
    const blocked = await cli('edge', 'block', title);
    expect(blocked.stderr).not.toMatch(controls);
    expect(blocked.stderr).toContain(escaped);
  });
});

test('an asset nobody knows gets no token: exit 1', async () => {
  const { code, stdout, stderr } = await cli('token', 'mint', '--asset', 'none');
  expect([code, stdout, stderr]).toEqual([1, '', expect.stringMatching(/refused: There is no such asset/)]);
});

describe('bad usage and input: exit 2 and one clear line', () => {
  const put = ['asset', 'put', 'film', '--path', '/aurora/master.m3u8'];
  test.each<[string, string[], RegExp]>([
    ['a policy nobody knows', [...put, '--policy-id', 'none'], /no policy 'none'.*store it first/],
    ['a policy that is wrong', [...put, '--policy', file('wrong.json', { lifetime: 'soon' })], /policy: lifetime/],
    ['a path that is none', ['asset', 'put', 'film', '--path', 'aurora', '--policy-id', 'vod-2h'], /absolute path/],
    ['no path', ['asset', 'put', 'film'], /required option '--path/],
    ['an id that is none', ['asset', 'rm', 'a b'], /id in the path must be 1–128 letters/],
    ['two ways of minting', ['token', 'mint', '--asset', 'aurora', '--keys', 'ring.json'], /cannot be used with/],
    ['no way of minting', ['token', 'mint'], /required option '--url/],
  ])('%s', async (_, args, message) => {
    const { code, stderr } = await cli(...args);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});

test.each(['put', 'list', 'rm'])('help of asset %s has an example', async (name) => {
  const { code, stdout } = await portcullis('asset', name, '--help');
  expect([code, stdout]).toEqual([0, expect.stringContaining(`portcullis asset ${name}`)]);
});
