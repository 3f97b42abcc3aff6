import { expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { requestPlayback, useStack } from '../harness/stack.ts';

const stack = useStack();
const { data } = stack;

const run = (...args: string[]) => portcullis('revocation', ...args, '--data', data);
const answer = async (url: string) => {
  const { status, headers } = await fetch(url);
  return [status, headers.get('x-portcullis-reason')];
};

test('an asset, a subject and all sessions before a time are revoked, listed, explained and taken back', async () => {
  const { playbackUrl } = await requestPlayback(stack);
  expect((await run('list')).stdout).toBe('nothing is revoked\n');

  const asset = await run('add', '--asset', 'aurora', '--reason', 'withdrawn');
  expect([asset.code, asset.stdout]).toEqual([0, 'revoked aurora\n']);
  expect(await answer(playbackUrl)).toEqual([451, 'asset-withdrawn']);
  expect((await run('add', '--asset', 'aurora')).stdout).toBe('revoked now: aurora\n');
  expect((await run('remove', '--asset', 'aurora')).stdout).toBe('restored aurora\n');
  expect((await answer(playbackUrl))[0]).toBe(200);

  const subject = await run('add', '--subject', 'viewer 7', '--json');
  expect(JSON.parse(subject.stdout)).toMatchObject({ subject: 'viewer 7', source: 'manual', by: 'local-security' });

  const cutoff = await run('add', '--sessions-before', '2026-01-01T00:00:00+01:00', '--reason', 'leak');
  expect(cutoff.stdout).toBe('revoked sessions before 2025-12-31T23:00:00Z\n');
  const earlier = await run('add', '--sessions-before', '1760000000');
  expect(earlier.stdout).toBe('revoked now: sessions before 2025-12-31T23:00:00Z\n');

  const list = await run('list');
  expect(list.stdout).toMatch(/^kind .*reasons\n/);
  expect(list.stdout).toMatch(/subject +viewer 7 +manual +local-security .*until taken back\n/);
  expect(list.stdout).toMatch(/sessions-before +2025-12-31T23:00:00Z +manual .*leak\n/);
  const ofKind = await run('list', '--kind', 'subject', '--json');
  expect(JSON.parse(ofKind.stdout).revocations).toMatchObject([{ kind: 'subject', id: 'viewer 7' }]);

  const history = await run('history', 'asset', 'aurora');
  expect(history.stdout).toMatch(/^\S+ +restored +by local-security +manual +withdrawn\n\S+ +revoked +by/);
  const never = await run('history', 'session', 'AbCdEf123456');
  expect([never.code, never.stdout]).toEqual([1, 'session AbCdEf123456 was never revoked\n']);

  expect((await run('remove', '--sessions-before')).stdout).toBe('restored the cut-off\n');
  const again = await run('remove', '--sessions-before', '--json');
  expect([again.code, JSON.parse(again.stdout)]).toEqual([1, { restored: false }]);
});

test.each([
  [['add'], /give one of --asset, --subject and --sessions-before/],
  [['add', '--asset', 'a', '--subject', 'b'], /give one of/],
  [['add', '--sessions-before', '2026-01-01'], /a time with its zone/],
  [['add', '--sessions-before', '4102444800'], /in the future/],
  [['list', '--kind', 'key'], /Allowed choices are session, asset, subject, sessions-before/],
  [['history', 'key', 'k1'], /Allowed choices are/],
  [['history', 'subject'], /which subject\? Give its id/],
  [['history', 'session', 'short'], /12–64 letters and digits/],
])('%j is refused with what to do', async (args, message) => {
  const { code, stderr } = await run(...args);
  expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
});
