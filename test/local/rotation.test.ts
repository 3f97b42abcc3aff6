import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import type { Role } from '../../token-api/http/authorize.ts';
import { currentKey } from '../../token-api/key-ring/key-ring.ts';
import { createMinter } from '../../token-api/minting/minter.ts';
import { callApi } from '../harness/api.ts';
import { portcullis } from '../harness/cli.ts';
import { LONG } from '../harness/programs.ts';
import { requestPlayback, useStack } from '../harness/stack.ts';

/** Long enough for a few calls of the command on a busy machine; in the long tests each is a process. */
const BAKE_SECONDS = LONG ? 10 : 5;
// Denials only where the edge is told to enforce: a rotation must prove its key all the same.
const stack = useStack({ edge: { mode: 'log' }, keys: { bakeSeconds: BAKE_SECONDS } });
const { data } = stack;
beforeAll(() => portcullis('edge', 'mode', 'enforce', '--prefix', '/', '--data', data));

const run = (...args: string[]) => portcullis('key', ...args, '--data', data, '--json');
const kidOf = (url: string): string =>
  JSON.parse(Buffer.from(new URL(url).pathname.split('.')[1] ?? '', 'base64url').toString()).kid;
const ask = async (url: string) => {
  const { status, headers } = await fetch(url);
  return [status, headers.get('x-portcullis-reason')];
};
const keys = async (): Promise<Record<string, string>> => {
  const { stdout } = await run('show');
  return Object.fromEntries(JSON.parse(stdout).keys.map((key: { kid: string; state: string }) => [key.kid, key.state]));
};
const keyIn = async (state: string) => Object.entries(await keys()).find(([, present]) => present === state)?.[0];

test('a rotation is noticed by nobody: tokens of both keys open, and minting changes over when the key has baked', async () => {
  const before = await requestPlayback(stack);
  const first = kidOf(before.playbackUrl);
  const rotated = await run('rotate');
  expect(rotated.stderr).toBe('');
  const { next, endedSessions, pausedSeconds } = JSON.parse(rotated.stdout);
  expect([endedSessions, pausedSeconds]).toEqual([0, 0]);
  expect(await keys()).toEqual({ [first]: 'current', [next.kid]: 'next' });
  expect(kidOf((await requestPlayback(stack)).playbackUrl)).toBe(first);

  const again = await run('rotate');
  expect([again.code, again.stderr]).toEqual([
    1,
    expect.stringContaining(`key '${next.kid}' is next and becomes current`),
  ]);

  await expect.poll(async () => kidOf((await requestPlayback(stack)).playbackUrl), { timeout: 40_000 }).toBe(next.kid);
  expect(await keys()).toEqual({ [first]: 'previous', [next.kid]: 'current' });
  expect(await ask(before.playbackUrl)).toEqual([200, null]);
  expect(await ask((await requestPlayback(stack)).playbackUrl)).toEqual([200, null]);
});

test('a compromised key opens nothing from then on; minting pauses until the next one has baked', async () => {
  const playback = await requestPlayback(stack);
  const kid = kidOf(playback.playbackUrl);
  expect(await ask(playback.playbackUrl)).toEqual([200, null]);
  const planned = await run('rotate', '--compromised', kid, '--dry-run');
  expect(JSON.parse(planned.stdout).pausedSeconds).toBeGreaterThan(0);
  expect(await ask(playback.playbackUrl)).toEqual([200, null]);

  const dropped = JSON.parse((await run('rotate', '--compromised', kid)).stdout);
  expect(dropped.endedSessions).toBeGreaterThan(0);
  expect(dropped.pausedSeconds).toBeGreaterThan(0);
  expect(await ask(playback.playbackUrl)).toEqual([401, 'token-key-unknown']);
  const paused = await fetch(`${stack.edge}/v1/playback`, {
    method: 'POST',
    headers: { authorization: `Bearer ${stack.tokens.player}`, 'content-type': 'application/json' },
    body: JSON.stringify({ asset: 'aurora' }),
  });
  expect([paused.status, (await paused.json()).code]).toEqual([503, 'ERR_RING_PAUSED']);
  expect(Number(paused.headers.get('retry-after'))).toBeGreaterThan(0);
  await expect.poll(async () => (await keyIn('current')) === dropped.next.kid, { timeout: 40_000 }).toBe(true);
  expect(kidOf((await requestPlayback(stack)).playbackUrl)).toBe(dropped.next.kid);

  const repeated = await run('rotate', '--compromised', 'k-never-was');
  expect([repeated.code, repeated.stderr]).toEqual([1, expect.stringContaining("the ring has no key 'k-never-was'")]);
});

test.runIf(LONG)('what a stolen key was turned into ends with it, under whichever key it goes on', async () => {
  const stolen = currentKey(JSON.parse(readFileSync(join(data, 'key-ring.json'), 'utf8')));
  const { sub } = JSON.parse(Buffer.from(stack.tokens.player.split('.')[1] ?? '', 'base64url').toString());
  const forge = () =>
    createMinter({ key: () => stolen, maxLifetimeSeconds: 86400 }).mint({
      policy: { lifetime: 'PT12H', paths: ['/'] },
      viewer: { subject: sub },
      url: `${stack.edge}/aurora/master.m3u8`,
    });
  const exchange = (how: 'renewal' | 'handoff', token: string) =>
    callApi(stack, 'POST', `/v1/tokens/${how}`, { body: { token, ...(how === 'handoff' && { viewer: {} }) } });
  const [forged, handed, kept] = [forge(), forge(), forge()];
  const honest = await requestPlayback(stack);

  const { next } = JSON.parse((await run('rotate')).stdout);
  await expect.poll(async () => (await keyIn('current')) === next.kid, { timeout: 40_000 }).toBe(true);
  await expect.poll(async () => kidOf((await requestPlayback(stack)).playbackUrl), { timeout: 40_000 }).toBe(next.kid);
  const { playbackUrl: renewed } = (await exchange('renewal', forged.url)).body;
  const { playbackUrl: twice } = (await exchange('handoff', renewed)).body;
  const { playbackUrl: cast } = (await exchange('handoff', handed.url)).body;
  const later = await requestPlayback(stack);
  for (const url of [renewed, twice, cast, later.playbackUrl]) {
    expect([kidOf(url), await ask(url)]).toEqual([next.kid, [200, null]]);
  }
  expect(await ask(kept.url)).toEqual([200, null]);

  const drop = ['rotate', '--compromised', stolen.kid];
  const planned = JSON.parse((await run(...drop, '--dry-run')).stdout);
  expect(await ask(renewed)).toEqual([200, null]);
  const { endedSessions, pausedSeconds } = JSON.parse((await run(...drop)).stdout);
  expect([endedSessions, pausedSeconds]).toEqual([planned.endedSessions, 0]);
  // The three that were forged, and whoever began with the stolen key before.
  expect(endedSessions).toBeGreaterThanOrEqual(4);

  for (const url of [renewed, twice, cast]) {
    expect(await ask(url)).toEqual([403, 'session-revoked']);
    for (const how of ['renewal', 'handoff'] as const) {
      const refused = await exchange(how, url);
      expect([refused.status, refused.body.code]).toEqual([403, 'ERR_SESSION_REVOKED']);
    }
  }
  for (const url of [forged.url, handed.url, kept.url, honest.playbackUrl]) {
    expect(await ask(url)).toEqual([401, 'token-key-unknown']);
    const refused = await exchange('renewal', url);
    expect([refused.status, refused.body.reason]).toEqual([401, 'token-key-unknown']);
  }
  expect(await ask(later.playbackUrl)).toEqual([200, null]);
});

test('a wish that does not say it is JSON is refused, not left out: it could be that of dropping a key', async () => {
  const before = await keys();
  for (const type of ['application/x-www-form-urlencoded', 'text/plain', 'application/jsonp']) {
    const answer = await fetch(`${stack.api}/v1/keys/rotation`, {
      method: 'POST',
      headers: { authorization: `Bearer ${stack.tokens.security}`, 'content-type': type },
      body: '{"compromised":"k-never-was","dryRun":true}',
    });
    const { code, detail } = await answer.json();
    expect([answer.status, code]).toEqual([400, 'ERR_BODY_INVALID']);
    expect(detail).toContain('content-type: application/json');
  }
  expect(await keys()).toEqual(before);
});

test('the API tells ids and states, to those who may know, and nothing else', async () => {
  const as = async (role: Role) =>
    fetch(`${stack.api}/v1/keys`, { headers: { authorization: `Bearer ${stack.tokens[role]}` } });
  const answer = await (await as('backend')).json();
  expect(Object.fromEntries(answer.keys.map(({ kid, state }: Record<string, string>) => [kid, state]))).toEqual(
    await keys(),
  );
  for (const key of answer.keys) expect(Object.keys(key)).toEqual(['kid', 'state']);
  expect((await as('player')).status).toBe(403);
});

test('a ring that is damaged or gone changes nothing: the last good one is minted with, and the stack says so', async () => {
  const path = join(data, 'key-ring.json');
  const good = readFileSync(path, 'utf8');
  const { keys: present } = JSON.parse(good);
  writeFileSync(path, '{"version":1,"keys":');
  await expect.poll(stack.output, { timeout: 10_000 }).toContain('is not JSON');
  expect(await ask((await requestPlayback(stack)).playbackUrl)).toEqual([200, null]);
  expect(readFileSync(path, 'utf8')).toBe('{"version":1,"keys":');
  renameSync(path, `${path}.gone`);
  await expect.poll(stack.output, { timeout: 10_000 }).toContain('ENOENT');
  expect(await ask((await requestPlayback(stack)).playbackUrl)).toEqual([200, null]);
  writeFileSync(path, good, { mode: 0o600 });
  for (const { secret } of present) if (secret) expect(stack.output()).not.toContain(secret);
});
