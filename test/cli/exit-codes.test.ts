import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXIT_CODES, EXIT_HELP, exitOfCode } from '../../cli/exit-codes.ts';
import { packagePath } from '../../local/package-root.ts';
import { inItsOwnProcess, portcullis } from '../harness/cli.ts';
import { removeDirectory, temporaryDirectory, useStack } from '../harness/stack.ts';

test('the README and the help have the table', async () => {
  expect((await portcullis('--help')).stdout).toContain(EXIT_HELP);
  const readme = readFileSync(packagePath('README.md'), 'utf8');
  for (const { code, meaning } of Object.values(EXIT_CODES)) expect(readme).toContain(`| ${code} | ${meaning} |`);
});

describe('how a command ends that something else than the API answers, or that it refuses', () => {
  let answer: { status: number; body: string };
  const server = http.createServer((_, response) => response.writeHead(answer.status).end(answer.body));
  let api = '';
  beforeAll(async () => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    api = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.close();
  });
  const stack = useStack();
  const ask = async (status: number, body: string) => {
    answer = { status, body };
    return portcullis('session', 'list', '--api', api, '--token-file', stack.tokenFile);
  };
  const problem = JSON.stringify({ code: 'ERR_X', detail: 'Why it is so.' });

  test.each([
    [400, 2, 'refused'],
    [401, 1, 'refused'],
    [403, 1, 'refused'],
    [404, 1, 'refused'],
    [409, 1, 'refused'],
    [413, 2, 'refused'],
    [415, 2, 'refused'],
    [422, 2, 'refused'],
    [429, 69, 'failed'],
    [451, 1, 'refused'],
    [500, 70, 'failed'],
    [503, 69, 'failed'],
  ])('a problem of %i: %i', async (status, expected, word) => {
    const { code, stdout, stderr } = await ask(status, problem);
    expect([code, stdout, stderr]).toEqual([expected, '', `portcullis: the API at ${api} ${word}: Why it is so.\n`]);
  });

  test.each([
    [200, '<html>'],
    [200, 'null'],
    [301, ''],
    [404, '<html>'],
    [404, '{"message":"Not Found"}'],
    [403, '{"code":7}'],
    [500, '<html>'],
  ])('%i %j is no answer of the API: 2', async (status, body) => {
    const { code, stderr } = await ask(status, body);
    expect([code, stderr]).toEqual([
      2,
      `portcullis: what answers at ${api} is not the API of Portcullis (${status})\n`,
    ]);
  });

  test.each([
    [502, '<html>'],
    [503, ''],
    [504, '{"message":"Endpoint request timed out"}'],
    [429, 'null'],
  ])('%i %j is that of something before it, which does not reach it: 69', async (status, body) => {
    const { code, stderr } = await ask(status, body);
    expect([code, stderr]).toEqual([69, `portcullis: the API at ${api} failed: ${status}\n`]);
  });

  test('an API that nobody listens for: 69; none that is named: 2', async () => {
    const told = ['--api', 'http://127.0.0.1:9', '--token-file', stack.tokenFile];
    const { code, stderr } = await portcullis('session', 'list', ...told);
    expect([code, stderr]).toEqual([
      69,
      expect.stringMatching(/no API answers at http:\/\/127\.0\.0\.1:9 .*stack up\?/),
    ]);
    const empty = temporaryDirectory();
    expect((await portcullis('session', 'list', '--data', empty)).code).toBe(2);
    removeDirectory(empty);
  });

  test('a process of its own ends by itself, and as the command does in one that stays, to the byte', async () => {
    const commands: [number, string[]][] = [
      [0, ['session', 'list', '--data', stack.data]],
      [1, ['key', 'rotate', '--compromised', 'k1', '--data', stack.data]],
      [2, ['session', 'none']],
    ];
    for (const [code, args] of commands) {
      const ended = await inItsOwnProcess('', args);
      expect(ended.code).toBe(code);
      expect(ended).toEqual(await portcullis(...args));
    }
  });

  test('a key that nobody knows is no: 1', async () => {
    const { code, stderr } = await portcullis('key', 'rotate', '--compromised', 'k1', '--data', stack.data);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/refused: .*k1/)]);
  });
});

test.each([
  ['ERR_STORE_THROTTLED', 'unavailable'],
  ['ERR_RING_UNREACHABLE', 'unavailable'],
  ['ERR_RULE_GROUP_UNAVAILABLE', 'unavailable'],
  ['ERR_RING_UNREACHABLE_BY_DESIGN', 'usage'],
  ['ERR_INPUT', 'usage'],
])('an error of ours, %s: %s', (code, exit) => {
  expect(exitOfCode(code)).toBe(exit);
});
