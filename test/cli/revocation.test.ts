import { describe, expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { laterThan, requestPlayback, useStack } from '../harness/stack.ts';

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
  const again = await run('add', '--asset', 'aurora', '--reason', 'another');
  expect([again.code, again.stdout, again.stderr]).toEqual([
    0,
    expect.stringMatching(
      /^already revoked: aurora, by local-security at \S+Z, because: withdrawn; holds until taken back\n$/,
    ),
    'portcullis: note: the reason of the first time stands, not this one\n',
  ]);
  expect((await run('remove', '--asset', 'aurora')).stdout).toBe('restored aurora\n');
  expect((await answer(playbackUrl))[0]).toBe(200);

  const subject = await run('add', '--subject', 'viewer 7', '--json');
  expect(JSON.parse(subject.stdout)).toMatchObject({ subject: 'viewer 7', source: 'manual', by: 'local-security' });

  const cutoff = await run('add', '--sessions-before', '2026-01-01T00:00:00+01:00', '--reason', 'leak');
  expect(cutoff.stdout).toBe('revoked sessions before 2025-12-31T23:00:00Z\n');
  const earlier = await run('add', '--sessions-before', '1760000000');
  expect(earlier.stdout).toMatch(
    /^already revoked: sessions before 2025-12-31T23:00:00Z, .*because: leak; holds until \S+Z\n$/,
  );
  const later = await run('add', '--sessions-before', '2026-02-01T00:00:00Z');
  expect(later.stdout).toBe('revoked sessions before 2026-02-01T00:00:00Z, in place of an earlier revocation\n');

  const list = await run('list');
  expect(list.stdout).toMatch(/^kind .*reasons\n/);
  expect(list.stdout).toMatch(/subject +viewer 7 +manual +local-security .*until taken back\n/);
  expect(list.stdout).toMatch(/sessions-before +2026-02-01T00:00:00Z +manual /);
  const ofKind = await run('list', '--kind', 'subject', '--json');
  expect(JSON.parse(ofKind.stdout).revocations).toMatchObject([{ kind: 'subject', id: 'viewer 7' }]);

  const history = await run('history', 'asset', 'aurora');
  expect(history.stdout).toMatch(/^\S+ +restored +by local-security +manual +withdrawn\n\S+ +revoked +by/);
  const never = await run('history', 'session', 'AbCdEf123456');
  expect([never.code, never.stdout]).toEqual([1, 'session AbCdEf123456 was never revoked\n']);

  expect((await run('remove', '--sessions-before')).stdout).toBe('restored the cut-off\n');
  const none = await run('remove', '--sessions-before', '--json');
  expect([none.code, JSON.parse(none.stdout)]).toEqual([1, { restored: false }]);
});

test('a session that was revoked says so again, with the reason that stands', async () => {
  const revoke = (reason: string) =>
    portcullis('session', 'revoke', 'AbCdEf777777', '--reason', reason, '--data', data);
  const first = await revoke('shared');
  expect([first.stdout, first.stderr]).toEqual(['revoked AbCdEf777777\n', '']);
  const same = await revoke('shared');
  expect([same.stdout, same.stderr]).toEqual([
    expect.stringMatching(/^already revoked: .*shared; holds until \S+Z\n$/),
    '',
  ]);
  expect((await revoke('copied')).stderr).toBe('portcullis: note: the reason of the first time stands, not this one\n');
});

test('a slip in the name of an asset is pointed out, and can be meant', async () => {
  const { code, stdout, stderr } = await run('add', '--asset', 'arora');
  expect([code, stdout]).toEqual([0, 'revoked arora\n']);
  expect(stderr).toMatch(
    /^portcullis: note: no asset in the catalogue is called 'arora': this stops only tokens .*\n$/,
  );
  expect(await run('remove', '--asset', 'arora')).toMatchObject({ code: 0, stderr: '' });
});

describe('where the edge does not enforce', () => {
  const mode = (name: string, prefix: string) => portcullis('edge', 'mode', name, '--prefix', prefix, '--data', data);
  const letsThrough = (where: string) =>
    `portcullis: note: the viewer-request function goes on letting it through below ${where}; portcullis edge mode enforce --prefix <path> ends that\n`;

  test('a revocation says that it is let through there, and only there', async () => {
    const { playbackUrl, sessionId } = await requestPlayback(stack);
    const revoke = (id: string) => portcullis('session', 'revoke', id, '--data', data);
    await mode('log', '/aurora/');
    await mode('off', '/harbour/180p/');

    const asset = await run('add', '--asset', 'aurora');
    expect(asset.stderr).toBe(letsThrough('/aurora/ (mode log)'));
    expect((await answer(playbackUrl))[0]).toBe(200);
    expect((await revoke(sessionId)).stderr).toBe(letsThrough('/aurora/ (mode log)'));
    // Below the manifest of the other, and of a session that nobody knows anywhere.
    const harbour = await run('add', '--asset', 'harbour', '--json');
    expect(JSON.parse(harbour.stdout).unenforced).toEqual([{ prefix: '/harbour/180p/', mode: 'off' }]);
    expect((await revoke('AbCdEf888888')).stderr).toBe(letsThrough('/harbour/180p/ (mode off), /aurora/ (mode log)'));
    expect((await run('add', '--subject', 'viewer 8')).stderr).not.toContain('letting it through');

    await mode('default', '/aurora/');
    await mode('default', '/harbour/180p/');
    expect((await revoke(sessionId)).stderr).toBe('');
    expect(await answer(playbackUrl)).toEqual([403, 'session-revoked']);
    for (const name of ['aurora', 'harbour']) await run('remove', '--asset', name);
  });
});

test('what plays on of a subject is named with its end; the list of sessions shows what is against each', async () => {
  const { playbackUrl, sessionId, expiresAt } = await requestPlayback(stack);
  expect((await answer(playbackUrl))[0]).toBe(200);
  const listed = async () => (await portcullis('session', 'list', '--data', data)).stdout;
  const state = async () => new RegExp(`^${sessionId} .*Z  ([a-z ]+)$`, 'm').exec(await listed())?.[1];
  await expect.poll(state, { timeout: 10_000 }).toBe('live');

  const subject = await run('add', '--subject', 'local-player');
  expect(subject.stdout).toBe('revoked local-player\n');
  const until = new Date(expiresAt * 1000).toISOString().replace('.000Z', 'Z');
  expect(subject.stderr).toMatch(
    new RegExp(
      `note: \\d+ sessions? of local-player may play on until ${until}: .*${sessionId}.*portcullis session revoke <id>\n$`,
    ),
  );
  expect(await state()).toBe('not renewed');
  await run('add', '--asset', 'aurora');
  expect(await state()).toBe('withdrawn');
  const again = await run('add', '--subject', 'local-player');
  expect(again.stderr).not.toContain(sessionId);
  await laterThan(Date.now() / 1000);
  await run('add', '--sessions-before', String(Math.floor(Date.now() / 1000)));
  expect(await state()).toBe('cut off');
  await portcullis('session', 'revoke', sessionId, '--data', data);
  expect(await state()).toBe('revoked');
  const { stdout } = await portcullis('session', 'list', '--data', data, '--json');
  const found = JSON.parse(stdout).sessions.find((session: { sessionId: string }) => session.sessionId === sessionId);
  expect(found).toMatchObject({ revoked: true, reason: 'session-revoked' });

  for (const what of [['--subject', 'local-player'], ['--asset', 'aurora'], ['--sessions-before']]) {
    expect((await run('remove', ...what)).code).toBe(0);
  }
  const none = await run('add', '--subject', 'viewer 9');
  expect(none.stderr).toContain(
    'no session of viewer 9 plays just now; tokens of it that are out work until they expire',
  );
});

test.each([
  [['add', '--session', 'AbCdEf123456'], /for a session there is: portcullis session revoke AbCdEf123456\n/],
  [['remove', '--session', 'AbCdEf123456'], /for a session there is: portcullis session restore AbCdEf123456\n/],
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
