import { beforeAll, describe, expect, test } from 'vitest';
import { FIELDS } from '../../local/edge/access-log.ts';
import { callApi } from '../harness/api.ts';
import { portcullis } from '../harness/cli.ts';
import { accessLog, requestPlayback, useStack } from '../harness/stack.ts';

const stack = useStack({ edge: { tokenPosition: '/aurora/~TOKEN', legacyUserAgents: ['OldTV/'] } });
const { data } = stack;
// The directory of the title is all that there is behind the token here: that is no scope that goes without saying.
beforeAll(async () => {
  const body = { lifetime: 'PT2H', paths: ['/aurora/'] };
  await callApi(stack, 'PUT', '/v1/policies/vod-2h', { role: 'backend', body });
});

const cli = (...args: string[]) => portcullis(...args, '--data', data);
async function answer(url: string, headers: Record<string, string> = {}): Promise<[number, string | null]> {
  const response = await fetch(url, { headers });
  await response.arrayBuffer();
  return [response.status, response.headers.get('x-portcullis-reason')];
}
const lastLog = () =>
  accessLog(data).trim().split('\n').at(-1)?.split('\t').at(FIELDS.indexOf('viewer-request-log-data'));

describe('a running stack with settings of its own', () => {
  test('puts the token where the configuration says, all the way from vending to the access log', async () => {
    const { playbackUrl, sessionId } = await requestPlayback(stack);
    expect(new URL(playbackUrl).pathname).toMatch(/^\/aurora\/[A-Za-z0-9]{12}\.[^/]+\/master\.m3u8$/);
    expect(await answer(playbackUrl)).toEqual([200, null]);
    await expect.poll(lastLog).toBe(`${sessionId},allowed,/aurora/master.m3u8`);
  });

  test('a mode set on the command line holds at once, and is logged', async () => {
    const bare = `${stack.edge}/aurora/master.m3u8`;
    expect(await answer(bare)).toEqual([401, 'token-missing']);
    const set = await cli('edge', 'mode', 'log', '--prefix', '/aurora/');
    expect([set.code, set.stdout]).toEqual([0, '/aurora/  log\n']);
    expect(await answer(bare)).toEqual([200, null]);
    await expect.poll(lastLog).toBe('-,token-missing,/aurora/master.m3u8');
    expect(await answer(`${stack.edge}/harbour/master.m3u8`)).toEqual([401, 'token-missing']);
    const listed = await cli('edge', 'mode', '--json');
    expect(JSON.parse(listed.stdout)).toEqual({ modes: [{ prefix: '/aurora/', mode: 'log' }] });
    const back = await cli('edge', 'mode', 'default', '--prefix', '/aurora/');
    expect(back.stdout).toBe('the mode built into the function holds everywhere\n');
    expect(await answer(bare)).toEqual([401, 'token-missing']);
  });

  test('a prefix that can match nothing is refused with what to do', async () => {
    const { code, stderr } = await cli('edge', 'mode', 'log', '--prefix', '/aurora');
    expect([code, stderr]).toEqual([2, expect.stringContaining('must begin and end with a slash')]);
  });

  test('a blocked asset is 451 until it is unblocked', async () => {
    const { playbackUrl } = await requestPlayback(stack);
    expect((await cli('edge', 'block', 'aurora', '--countries', 'FR')).stdout).toBe('aurora is blocked in FR\n');
    const added = await cli('edge', 'block', 'aurora', '--until', '4102444800');
    expect(added.stdout).toBe('aurora is blocked in FR\naurora is blocked everywhere until 2100-01-01T00:00:00Z\n');
    expect(await answer(playbackUrl)).toEqual([451, 'asset-withdrawn']);
    expect((await cli('edge', 'blocks')).stdout).toBe(added.stdout);
    expect((await cli('edge', 'unblock', 'aurora')).stdout).toBe('aurora is no longer blocked\n');
    expect(await answer(playbackUrl)).toEqual([200, null]);
    const again = await cli('edge', 'unblock', 'aurora');
    expect([again.code, again.stdout]).toEqual([1, 'aurora was not blocked\n']);
    expect((await cli('edge', 'blocks')).stdout).toBe('no asset is blocked\n');
    expect(stack.output()).toContain('added to the blocks of "aurora": {"countries":["FR"]}');
  });

  test.each([
    [['--countries', 'germany'], /'germany' is not two capital letters/],
    [['--until', '1760007200'], /--until is past/],
    [['--from', '4102444800', '--until', '4102444700'], /must begin before it ends/],
  ])('a block that can never hold is refused: %j', async (options, message) => {
    const { code, stderr } = await cli('edge', 'block', 'aurora', ...options);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
  });

  test('an asset that nobody knows is pointed out', async () => {
    const { code, stderr } = await cli('edge', 'block', 'arora', '--countries', 'FR');
    expect([code, stderr]).toEqual([0, expect.stringContaining("no asset in the catalogue is called 'arora'")]);
  });

  test('a preflight with a forged token makes no session', async () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const header = part({ alg: 'HS256', typ: 'portcullis+jwt', kid: 'nokey' });
    const claims = { sid: 'Forged012345', aid: 'aurora', iat: 1, exp: 4e9, sst: 1, paths: ['/aurora/'], sub: 'victim' };
    const url = `${stack.edge}/aurora/Forged012345.${header}.${part(claims)}.${'A'.repeat(43)}/master.m3u8`;
    const preflight = { origin: 'http://a.example', 'access-control-request-method': 'GET' };
    expect((await fetch(url, { method: 'OPTIONS', headers: preflight })).status).toBe(204);
    const headers = { authorization: `Bearer ${stack.tokens.security}` };
    const { sessions } = (await (await fetch(`${stack.api}/v1/sessions`, { headers })).json()) as {
      sessions: { sessionId: string }[];
    };
    expect(sessions.map(({ sessionId }) => sessionId)).not.toContain('Forged012345');
  });

  test('an old player passes without a token', async () => {
    expect(await answer(`${stack.edge}/aurora/master.m3u8`, { 'user-agent': 'OldTV/1.7' })).toEqual([200, null]);
  });

  test('only security may change what the edge does', async () => {
    for (const [method, path] of [
      ['GET', '/v1/edge/modes'],
      ['PUT', '/v1/edge/modes'],
      ['PUT', '/v1/assets/aurora/blocks'],
    ] as const) {
      const headers = { authorization: `Bearer ${stack.tokens.backend}` };
      expect((await fetch(`${stack.api}${path}`, { method, headers })).status).toBe(403);
    }
  });
});
