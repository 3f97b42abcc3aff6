import { generateKeyPairSync } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { appendAuditEntry, checkpointsPath } from '../../enclave-render/audit/audit-log.ts';
import { portcullis } from '../harness/cli.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));
const path = (name: string) => join(folder, name);
const [log, bare, secret, key, checkpoints] = [
  path('audit.jsonl'),
  path('bare.jsonl'),
  path('key.pem'),
  path('key.pub.pem'),
  path('checkpoints'),
];

beforeAll(async () => {
  const pair = generateKeyPairSync('ed25519');
  writeFileSync(secret, pair.privateKey.export({ format: 'pem', type: 'pkcs8' }), { mode: 0o600 });
  writeFileSync(key, pair.publicKey.export({ format: 'pem', type: 'spki' }));
  const events = ['job-submitted', 'receipt-verified', 'output-accepted'] as const;
  for (const [index, event] of events.entries()) {
    const entry = { at: 1_795_000_000_000 + index, event, jobId: 'job-1', details: { code: 'x' } };
    await appendAuditEntry({ path: log, signingKey: pair.privateKey }, entry);
  }
  mkdirSync(path('owner'));
  copyFileSync(secret, path('owner/sign.pem'));
  copyFileSync(log, bare);
});

test('verify says that a log without a checkpoint is not protected at its end', async () => {
  const { code, stdout } = await portcullis('audit', 'verify', bare);
  expect([code, stdout]).toEqual([
    0,
    '3 entries, chained without a gap\n' +
      'no checkpoint, or it was lost: nothing shows whether entries were cut off at the end, or the whole log was made anew\n',
  ]);
  const json = JSON.parse((await portcullis('audit', 'verify', bare, '--json')).stdout);
  expect(json).toMatchObject({ ok: true, entries: 3, signedFor: 0 });
});

test('verify holds a log to the checkpoints beside it, with the key of its owner, or one that is given', async () => {
  const whole = await portcullis('audit', 'verify', log);
  expect([whole.code, whole.stdout]).toEqual([0, expect.stringContaining('a checkpoint signs for all of them')]);
  const cut = path('elsewhere/audit.jsonl');
  mkdirSync(path('elsewhere'));
  copyFileSync(checkpointsPath(log), checkpointsPath(cut));
  writeFileSync(cut, readFileSync(log, 'utf8').split('\n').slice(0, 2).join('\n').concat('\n'));
  const refused = await portcullis('audit', 'verify', cut, '--key', key, '--json');
  expect([refused.code, JSON.parse(refused.stdout)]).toMatchObject([1, { ok: false, code: 'ERR_AUDIT_TRUNCATED' }]);
  const unknown = await portcullis('audit', 'verify', cut);
  expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining('give --key FILE')]);
});

test('checkpoint signs for it; verify then finds what was cut off, and a copy that differs', async () => {
  const made = await portcullis('audit', 'checkpoint', log, '--sign-key', secret);
  expect(made.code).toBe(0);
  writeFileSync(checkpoints, made.stdout);
  const whole = await portcullis('audit', 'verify', log, '--checkpoint', checkpoints, '--key', key);
  expect([whole.code, whole.stdout]).toEqual([0, expect.stringContaining('a checkpoint signs for all of them')]);

  const cut = path('cut.jsonl');
  writeFileSync(cut, readFileSync(log, 'utf8').split('\n').slice(0, 2).join('\n').concat('\n'));
  const refused = await portcullis('audit', 'verify', cut, '--checkpoint', checkpoints, '--key', key, '--json');
  expect([refused.code, JSON.parse(refused.stdout)]).toMatchObject([1, { ok: false, code: 'ERR_AUDIT_TRUNCATED' }]);
  const copy = await portcullis('audit', 'verify', cut, '--copy', log);
  expect([copy.code, copy.stdout]).toEqual([1, expect.stringContaining('ERR_AUDIT_TRUNCATED')]);
});

test('show prints the entries', async () => {
  const { code, stdout } = await portcullis('audit', 'show', log);
  expect(code).toBe(0);
  expect(stdout).toContain('2026-11-18T');
  expect(stdout.split('\n').slice(1, 4)).toEqual([
    expect.stringMatching(/^0 .* job-submitted .* job-1 .*code=x$/),
    expect.stringMatching(/^1 .* receipt-verified /),
    expect.stringMatching(/^2 .* output-accepted /),
  ]);
});

test.each<[string, string[], RegExp]>([
  ['no log', ['verify', path('none')], /cannot read .*ENOENT/],
  ['a checkpoint without a key', ['verify', log, '--checkpoint', log], /give --checkpoint and --key/],
  ['a key without a checkpoint', ['verify', bare, '--key', key], /give --checkpoint and --key/],
  ['a file without checkpoints', ['verify', log, '--checkpoint', '/dev/null', '--key', key], /no checkpoint in/],
  ['a key that is none', ['verify', log, '--checkpoint', log, '--key', log], /key/],
  ['a log to sign for that is empty', ['checkpoint', '/dev/null', '--sign-key', secret], /nothing to sign for/],
  ['a log to show that was changed', ['show', key], /line 1 is no entry/],
])('%s: 2, and what to do', async (_, args, message) => {
  const { code, stdout, stderr } = await portcullis('audit', ...args);
  expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(message)]);
});
