import { createDecipheriv, createHash } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { KeyTable } from '../../enclave-render/packaging/key-table.ts';
import type { PackagedTitle } from '../../enclave-render/packaging/title.ts';
import { packagePath } from '../../local/package-root.ts';
import type { TitleChain } from '../../local/title-chain.ts';
import { callApi } from '../harness/api.ts';
import {
  type RunningStack,
  rawRequest,
  removeDirectory,
  requestPlayback,
  revocation,
  startStack,
  temporaryDirectory,
  useStack,
} from '../harness/stack.ts';

const read = <Content>(...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8')) as Content;
const below = (url: string, path: string) => new URL(url).pathname.replace('master.m3u8', path);

/** What the console page is told of the mastered title. */
async function chainOf(stack: RunningStack): Promise<TitleChain> {
  const { origin, hash } = new URL(stack.console);
  const body = JSON.stringify({ key: hash.slice('#key='.length) });
  const answer = await fetch(`${origin}/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  return ((await answer.json()) as { chain: TitleChain }).chain;
}

describe('content keys through the edge', () => {
  const stack = useStack();
  const title = () => join(stack.data, 'titles', 'aurora');
  const names = () => read<KeyTable>(title(), 'keys.json').keys.map(({ name }) => name);
  const keyPath = (url: string, name: string | undefined) => below(url, `keys/${name}.key`);
  /** The names of the content keys that KMS was asked to decrypt since the stack looked at the first one. */
  const decrypts = () =>
    readFileSync(join(stack.data, 'kms', 'keystore.json.audit.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
      .filter(({ operation, context }) => operation === 'Decrypt' && context?.purpose === 'hls-content-key')
      .map(({ context }) => context.name);

  test('many viewers at every rotation: KMS is asked once for each key', async () => {
    const before = decrypts().length;
    const viewers = await Promise.all(Array.from({ length: 25 }, () => requestPlayback(stack)));
    for (const name of names()) {
      const answers = await Promise.all(
        viewers.map(({ playbackUrl }) => rawRequest(stack.edge, keyPath(playbackUrl, name))),
      );
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
      expect(new Set(answers.map(({ body }) => body.toString('hex'))).size).toBe(1);
    }
    expect(decrypts().slice(before).sort()).toEqual(names().sort());
  });

  test('a key opens the segments that the playlist says, and viewers may not store it', async () => {
    const { playbackUrl } = await requestPlayback(stack);
    const playlist = (await rawRequest(stack.edge, below(playbackUrl, '360p/index.m3u8'))).body.toString();
    const [, uri = ''] = /#EXT-X-KEY:METHOD=AES-128,URI="([^"]+)"/.exec(playlist) ?? [];
    const { href } = new URL(uri, new URL('360p/index.m3u8', playbackUrl));
    const key = await rawRequest(stack.edge, new URL(href).pathname);
    expect([key.status, key.headers['cache-control'], key.headers['content-type'], key.body.length]).toEqual([
      ...[200, 'no-store', 'application/octet-stream', 16],
    ]);
    const { body } = await rawRequest(stack.edge, below(playbackUrl, '360p/segment-00001.m4s'));
    const decipher = createDecipheriv('aes-128-cbc', key.body, Buffer.alloc(16));
    expect(Buffer.concat([decipher.update(body), decipher.final()]).toString('latin1', 4, 8)).toMatch(/styp|moof/);
  });

  test('the edge holds a key for others, and validates each token first', async () => {
    const [name] = names();
    const first = await requestPlayback(stack);
    const second = await requestPlayback(stack);
    const harbour = await requestPlayback(stack, 'harbour');
    const before = decrypts().length;
    for (const { playbackUrl } of [first, second]) {
      const { status, headers } = await rawRequest(stack.edge, keyPath(playbackUrl, name));
      expect([status, headers['cache-control']]).toEqual([200, 'no-store']);
    }
    expect(decrypts().length).toBe(before);
    const asked = async (path: string) => {
      const { status, headers, body } = await rawRequest(stack.edge, path);
      return [status, headers['x-portcullis-reason'], body.length];
    };
    expect(await asked(`/aurora/keys/${name}.key`)).toEqual([401, 'token-missing', 0]);
    const path = keyPath(first.playbackUrl, name);
    const at = path.indexOf('/aurora') - 10;
    const altered = path.slice(0, at) + (path[at] === 'A' ? 'B' : 'A') + path.slice(at + 1);
    expect(await asked(altered)).toEqual([401, 'token-signature-invalid', 0]);
    const other = keyPath(harbour.playbackUrl, name).replace('/harbour/', '/aurora/');
    expect(await asked(other)).toEqual([403, 'path-not-allowed', 0]);
    expect((await revocation(stack, first.sessionId, 'POST')).status).toBe(201);
    await expect.poll(() => asked(path)).toEqual([403, 'session-revoked', 0]);
    expect((await asked(keyPath(second.playbackUrl, name)))[0]).toBe(200);
  });

  test.each([
    'keys.json',
    'keys.jso%6e',
    'packaging.json',
    'keys/keys.json',
    'keys/none.key',
    'keys/',
    'keys',
    '',
    '360p/',
    '360p/index.m3u8.bak',
    // As it was committed, in clear.
    '360p/segment-001.m4s',
    '360p/segment-00031.m4s',
  ])('%s is not served', async (path) => {
    const { playbackUrl } = await requestPlayback(stack);
    expect((await rawRequest(stack.edge, below(playbackUrl, path))).status).toBe(404);
  });

  test('what does not name its folder as it is called finds no other one', async () => {
    const { playbackUrl } = await requestPlayback(stack);
    const [, token] = new URL(playbackUrl).pathname.split('/');
    for (const path of [
      '/%61urora/360p/segment-001.m4s',
      '/aurora/%2e/360p/segment-001.m4s',
      '/aurora/x%2f..%2fkeys.json',
    ]) {
      expect((await rawRequest(stack.edge, `/${token}${path}`)).status).toBeGreaterThanOrEqual(403);
    }
  });

  test('no key is in a log or in what the stack printed', async () => {
    const { playbackUrl } = await requestPlayback(stack);
    const logs = readdirSync(join(stack.data, 'logs')).map((file) =>
      readFileSync(join(stack.data, 'logs', file), 'latin1'),
    );
    const trail = readFileSync(join(stack.data, 'kms', 'keystore.json.audit.jsonl'), 'latin1');
    const text = [...logs, trail, stack.output(), JSON.stringify(await chainOf(stack))].join('\n');
    expect(text).toContain('.key');
    for (const name of names()) {
      const { body } = await rawRequest(stack.edge, keyPath(playbackUrl, name));
      for (const form of ['hex', 'base64', 'base64url', 'latin1'] as const)
        expect(text).not.toContain(body.toString(form));
    }
  });

  test('the console is told the whole chain', async () => {
    const chain = await chainOf(stack);
    expect(chain.failure).toBeUndefined();
    expect(chain.package?.keys.map(({ name }) => name)).toEqual(names());
    const manifest = readFileSync(join(stack.data, 'masters', 'aurora-360p.master.manifest.json'));
    const manifestSha256 = createHash('sha256').update(manifest).digest('hex');
    expect(chain.encodings[0]?.master).toMatchObject({ mode: 'framed', manifestSha256 });
    expect(read<PackagedTitle>(title(), 'packaging.json').renditions.map(({ name }) => name)).toEqual([
      ...['360p', '180p', 'audio'],
    ]);
  });

  test('what is packaged into the data directory is served as a title of its own', async () => {
    cpSync(title(), join(stack.data, 'titles', 'borealis'), { recursive: true });
    const body = { title: 'Borealis', path: '/borealis/master.m3u8', policy: 'vod-2h' };
    expect((await callApi(stack, 'PUT', '/v1/assets/borealis', { role: 'backend', body })).status).toBe(201);
    const { playbackUrl } = await requestPlayback(stack, 'borealis');
    expect((await rawRequest(stack.edge, new URL(playbackUrl).pathname)).status).toBe(200);
    expect((await rawRequest(stack.edge, keyPath(playbackUrl, names()[0]))).body).toHaveLength(16);
  });
});

describe('a stack whose KMS cannot be used', () => {
  test('serves the committed title, and the console is told which links were not run', async () => {
    const data = temporaryDirectory();
    const config = join(data, 'portcullis.json');
    const keystore = join(data, 'keystore.json');
    writeFileSync(keystore, '{}', { mode: 0o600 });
    writeFileSync(config, JSON.stringify({ mastering: { kms: { provider: 'embedded', keystore } } }));
    const stack = await startStack(data, '--config', config);
    const chain = await chainOf(stack);
    expect(chain.failure).toEqual({ link: 'master', why: expect.stringContaining('ERR_KMS_KEYSTORE') });
    expect(stack.output()).toContain('aurora is served as it was committed, in clear');
    const { playbackUrl } = await requestPlayback(stack);
    const segment = await rawRequest(stack.edge, below(playbackUrl, '360p/segment-001.m4s'));
    const committed = readFileSync(packagePath('dist', 'title', 'aurora', '360p', 'segment-001.m4s'));
    expect(segment.body.equals(committed)).toBe(true);
    expect((await rawRequest(stack.edge, below(playbackUrl, 'keys/none.key'))).status).toBe(404);
    expect(await stack.stop()).toBe(0);
    removeDirectory(data);
  });

  test('asks players to come again for keys that it cannot open, and the edge holds nothing of that', async () => {
    const data = temporaryDirectory();
    const first = await startStack(data);
    await first.stop();
    cpSync(join(data, 'titles', 'aurora'), join(data, 'titles', 'later'), { recursive: true });
    const stack = await startStack(data);
    const body = { title: 'Later', path: '/later/master.m3u8', policy: 'vod-2h' };
    await callApi(stack, 'PUT', '/v1/assets/later', { role: 'backend', body });
    const { playbackUrl } = await requestPlayback(stack, 'later');
    const [key] = read<KeyTable>(data, 'titles', 'later', 'keys.json').keys;
    const keystore = join(data, 'kms', 'keystore.json');
    const content = readFileSync(keystore);
    writeFileSync(keystore, '{}');
    const ask = () => rawRequest(stack.edge, below(playbackUrl, `keys/${key?.name}.key`));
    const { status, headers } = await ask();
    expect([status, headers['retry-after'], headers['cache-control']]).toEqual([503, '2', 'no-store']);
    expect(stack.output()).toContain('of later cannot be served: ERR_KMS_KEYSTORE');
    writeFileSync(keystore, content);
    expect((await ask()).body).toHaveLength(16);
    await stack.stop();
    removeDirectory(data);
  });
});
