import { chmodSync, chownSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { removeDirectory, requestPlayback, temporaryDirectory, useStack } from '../harness/stack.ts';

const stack = useStack();
const { data } = stack;

test('list, revoke, restore through the API of the running stack', async () => {
  const { playbackUrl, sessionId } = await requestPlayback(stack);
  expect((await fetch(playbackUrl)).status).toBe(200);
  const list = async () => JSON.parse((await portcullis('session', 'list', '--data', data, '--json')).stdout).sessions;
  await expect.poll(list, { timeout: 10_000 }).toMatchObject([{ sessionId, asset: 'aurora', revoked: false }]);

  const revoke = await portcullis('session', 'revoke', sessionId, '--data', data, '--reason', 'shared link', '--json');
  expect([revoke.code, JSON.parse(revoke.stdout)]).toMatchObject([
    0,
    { sessionId, reason: 'shared link', by: 'local-security' },
  ]);
  expect((await fetch(playbackUrl)).status).toBe(403);
  expect((await portcullis('session', 'list', '--data', data)).stdout).toMatch(
    new RegExp(`^session .*\\n${sessionId} .*revoked`),
  );

  const access = ['--api', stack.api, '--token-file', stack.tokenFile, '--data', '/nowhere'];
  expect(await portcullis('session', 'restore', sessionId, ...access)).toMatchObject({
    code: 0,
    stdout: `restored ${sessionId}\n`,
  });
  expect((await fetch(playbackUrl)).status).toBe(200);
  expect((await portcullis('session', 'restore', sessionId, '--data', data)).code).toBe(1);
});

describe('the file of a running stack decides where a bearer token goes, so it counts only when', () => {
  /** Lists the sessions with a data directory whose file says `changed`, after `prepare`. */
  async function listWith(changed: object | string, prepare: (path: string) => void, ...more: string[]) {
    const other = temporaryDirectory();
    const path = join(other, 'stack.json');
    const known = JSON.parse(readFileSync(join(data, 'stack.json'), 'utf8'));
    const content = typeof changed === 'string' ? changed : JSON.stringify({ ...known, ...changed });
    writeFileSync(path, content, { mode: 0o600 });
    prepare(path);
    const result = await portcullis('session', 'list', '--data', other, ...more);
    removeDirectory(other);
    return result;
  }
  const asItIs = () => {};

  test('the API is on this machine', async () => {
    expect(await listWith({}, asItIs)).toMatchObject({ code: 0 });
    const port = new URL(stack.api).port;
    for (const api of [
      'https://evil.example',
      `http://127.0.0.1:${port}@evil.example`,
      'http://127.0.0.1.evil.example',
      `http://localhost:${port}`,
      'somewhere',
    ]) {
      const { code, stderr } = await listWith({ api }, asItIs);
      expect([api, code, stderr]).toEqual([
        api,
        2,
        expect.stringMatching(/names an API that is not on this machine; give --api and --token-file/),
      ]);
    }
  });

  test.each(['620', '602'])('nobody else may write it: mode %s', async (mode) => {
    const { code, stderr } = await listWith({}, (path) => chmodSync(path, mode));
    expect([code, stderr]).toEqual([2, expect.stringMatching(/can be written by others; give --api/)]);
  });

  test.skipIf(process.getuid?.() !== 0)('it is one of our own (only root can make another)', async () => {
    const { code, stderr } = await listWith({}, (path) => chownSync(path, 65534, 65534));
    expect([code, stderr]).toEqual([2, expect.stringMatching(/belongs to another user; give --api/)]);
  });

  test.each(['', 'null', '{"api":7}', '{"api":"http://127.0.0.1:1"}'])(
    'it is what a stack writes: %s',
    async (text) => {
      const { code, stderr } = await listWith(text, asItIs);
      expect([code, stderr]).toEqual([2, expect.stringMatching(/is not what a stack writes/)]);
    },
  );

  test('it can be read', async () => {
    const { code, stderr } = await portcullis('session', 'list', '--data', join(data, 'stack.json'));
    expect([code, stderr]).toEqual([2, expect.stringMatching(/cannot read .*ENOTDIR/)]);
  });

  test('and it does not count when all is told', async () => {
    const told = ['--api', stack.api, '--token-file', stack.tokenFile];
    expect(await listWith('', (path) => chmodSync(path, 0o666), ...told)).toMatchObject({ code: 0 });
  });
});

test('something else that answers there is not taken for the API', async () => {
  const access = ['--api', new URL(stack.console).origin, '--token-file', stack.tokenFile];
  const { code, stderr } = await portcullis('session', 'revoke', 'AbCdEf012345', ...access);
  expect([code, stderr]).toEqual([2, expect.stringMatching(/refused|is not the API/)]);
});
