import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type OpenPort, openPort } from '../../local/listen.ts';
import { createOrigin } from '../../local/origin.ts';
import { rawRequest, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const SECRET = 'a-secret-of-the-edge';
const scratch = temporaryDirectory();
let origin: OpenPort;

beforeAll(async () => {
  mkdirSync(join(scratch, 'film', '360p'), { recursive: true });
  const files = [
    'master.m3u8',
    'keys.json',
    'packaging.json',
    '360p/segment 1.m4s',
    '.hidden.m3u8',
    '360p/x.m3u8.partial',
  ];
  for (const file of files) writeFileSync(join(scratch, 'film', file), file);
  writeFileSync(join(scratch, 'outside.m3u8'), 'outside');
  origin = await openPort(0);
  const titleFolder = (title: string) => (title === 'film' ? join(scratch, 'film') : undefined);
  origin.serve(
    createOrigin({
      titleFolder,
      originSecret: SECRET,
      keyServer: (request, response) => void response.end(`key of ${request.url}`),
    }),
  );
});
afterAll(async () => {
  await origin.close();
  removeDirectory(scratch);
});

async function ask(path: string, secret = SECRET): Promise<[number, string]> {
  const { status, body } = await rawRequest(origin.url, path, { headers: { 'x-origin-secret': secret } });
  return [status, body.toString()];
}

test('only the edge gets an answer, of files as of keys', async () => {
  for (const path of ['/film/master.m3u8', '/film/keys/1.key']) {
    expect(await ask(path, 'guess')).toEqual([403, '']);
    expect((await rawRequest(origin.url, path)).status).toBe(403);
  }
  expect(await ask('/film/master.m3u8')).toEqual([200, 'master.m3u8']);
  expect(await ask('/film/keys/1.key?x=y')).toEqual([200, 'key of /film/keys/1.key?x=y']);
});

test('escapes are undone once, and the query is no part of a name', async () => {
  expect(await ask('/film/360p/segment%201.m4s')).toEqual([200, '360p/segment 1.m4s']);
  expect(await ask('/film/master.m3u8?_HLS_msn=1')).toEqual([200, 'master.m3u8']);
  expect((await ask('/film/master%252em3u8'))[0]).toBe(404);
});

test.each([
  '/film/keys.json',
  '/film/keys%2ejson',
  '/film/keys.json?x=.m3u8',
  '/film/keys.json%3f.m3u8',
  '/film/keys.json%00.m3u8',
  '/film/packaging.json',
  '/film/360p/x.m3u8.partial',
  '/film/.hidden.m3u8',
  '/film/',
  '/film',
  '/',
  '/other/master.m3u8',
  '/film/../outside.m3u8',
  '/film/..%2foutside.m3u8',
  '/../outside.m3u8',
  '/%2e%2e/outside.m3u8',
  '/film/%',
])('%s is not there', async (path) => {
  const [status, body] = await ask(path);
  expect([400, 403, 404]).toContain(status);
  expect(body).not.toMatch(/keys\.json$|packaging|outside|hidden/);
});

test('nothing is changed through it', async () => {
  const headers = { 'x-origin-secret': SECRET };
  for (const path of ['/film/master.m3u8', '/film/keys/1.key']) {
    expect((await rawRequest(origin.url, path, { method: 'PUT', headers, body: 'x' })).status).toBe(405);
  }
});
