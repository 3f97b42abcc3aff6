import { expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { requestPlayback, useStack } from '../harness/stack.ts';

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

test('something else that answers there is not taken for the API', async () => {
  const access = ['--api', new URL(stack.console).origin, '--token-file', stack.tokenFile];
  const { code, stderr } = await portcullis('session', 'revoke', 'AbCdEf012345', ...access);
  expect([code, stderr]).toEqual([2, expect.stringMatching(/refused|is not the API/)]);
});

test('an API that does not answer is named', async () => {
  const { code, stderr } = await portcullis(
    'session',
    'list',
    '--api',
    'http://127.0.0.1:9',
    '--token-file',
    stack.tokenFile,
  );
  expect([code, stderr]).toEqual([
    2,
    expect.stringMatching(/no API answers at http:\/\/127\.0\.0\.1:9 .* is the stack up\?/),
  ]);
});
