import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

const newKeystore = () => join(scratch, randomUUID(), 'keys.json');
const kms = (...args: string[]) => portcullis('kms', ...args);
const answerOf = async (...args: string[]) => {
  const { code, stdout, stderr } = await kms(...args, '--json');
  expect([code, stderr]).toEqual([0, '']);
  return JSON.parse(stdout);
};

describe('portcullis kms', () => {
  test('takes a key through its life', async () => {
    const keystore = newKeystore();
    const on = ['--keystore', keystore];
    const alias = 'alias/portcullis-mastering';
    const created = await answerOf('create', '--alias', alias, '--description', 'archive', ...on);
    expect(created).toMatchObject({ state: 'Enabled', version: 1, aliases: [alias], description: 'archive' });
    expect(created.arn).toBe(`arn:aws:kms:local:000000000000:key/${created.keyId}`);
    expect(statSync(keystore).mode & 0o777).toBe(0o600);
    expect(await answerOf('rotate', alias, ...on)).toMatchObject({ version: 2 });
    expect(await answerOf('disable', created.arn, ...on)).toMatchObject({ state: 'Disabled' });
    expect(await answerOf('enable', created.keyId, ...on)).toMatchObject({ state: 'Enabled' });
    const pending = await answerOf('delete', alias, '--days', '7', ...on);
    expect(pending.state).toBe('PendingDeletion');
    expect(pending.deletesAt - created.createdAt).toBeGreaterThanOrEqual(7 * 86_400);
    expect(await answerOf('cancel-deletion', alias, ...on)).toMatchObject({ state: 'Disabled', deletesAt: null });
    const other = await answerOf('create', ...on);
    expect(await answerOf('alias', 'alias/b', other.keyId, ...on)).toMatchObject({ aliases: ['alias/b'] });
    expect(await answerOf('alias', 'alias/b', alias, '--move', ...on)).toMatchObject({ aliases: [alias, 'alias/b'] });
    expect(await answerOf('alias', 'alias/b', '--remove', ...on)).toMatchObject({ aliases: [alias] });
    expect((await answerOf('list', ...on)).keys).toEqual([await answerOf('describe', alias, ...on), other]);
    const { stdout } = await kms('list', ...on);
    expect(stdout).toMatch(
      /^key +state +material +aliases\n\S{36} +Disabled +version 2 +alias\/portcullis-mastering$/m,
    );
    const text = readFileSync(keystore, 'utf8');
    for (const { material } of JSON.parse(text).content.keys[0].versions) expect(stdout).not.toContain(material);
  });

  test('finds the keystore in the data directory, by configuration, and under a passphrase', async () => {
    const data = join(scratch, randomUUID());
    await answerOf('create', '--data', data);
    expect(existsSync(join(data, 'kms', 'keystore.json'))).toBe(true);
    const [keystore, passphraseFile, config] = [
      newKeystore(),
      join(scratch, randomUUID()),
      join(scratch, randomUUID()),
    ];
    writeFileSync(passphraseFile, 'correct horse battery staple\n', { mode: 0o600 });
    writeFileSync(config, JSON.stringify({ mastering: { kms: { provider: 'embedded', keystore, passphraseFile } } }));
    const { keyId } = await answerOf('create', '--config', config);
    const under = ['--keystore', keystore, '--passphrase-file', passphraseFile];
    expect((await answerOf('list', ...under)).keys).toMatchObject([{ keyId }]);
    writeFileSync(config, JSON.stringify({ mastering: { kms: { provider: 'aws', region: 'eu-central-1' } } }));
    const { code, stderr } = await kms('list', '--config', config);
    expect([code, stderr]).toEqual([2, expect.stringContaining('aws kms create-key')]);
  });

  test('many processes at once lose nothing', async () => {
    const keystore = newKeystore();
    const results = await Promise.all(Array.from({ length: 4 }, () => kms('create', '--keystore', keystore)));
    expect(results.map(({ code }) => code)).toEqual([0, 0, 0, 0]);
    expect((await answerOf('list', '--keystore', keystore)).keys).toHaveLength(4);
    const trail = readFileSync(`${keystore}.audit.jsonl`, 'utf8').trimEnd().split('\n');
    expect(trail.map((line) => JSON.parse(line).operation)).toEqual(Array(4).fill('CreateKey'));
  });

  test.each<[string, string[], RegExp]>([
    ['no keystore', ['list'], /there is none: make one with portcullis kms create/],
    ['an alias that is none', ['create', '--alias', 'mastering'], /an alias is alias\//],
    ['a waiting period that is too short', ['delete', 'alias/a', '--days', '6'], /from 7 to 30/],
    ['an alias without a key', ['alias', 'alias/a'], /needs the key it stands for/],
    ['an alias to remove, and a key', ['alias', 'alias/a', 'alias/b', '--remove'], /needs the key it stands for/],
    ['a passphrase file that is none', ['create', '--passphrase-file', '/dev/null'], /no regular file|another user/],
  ])('%s is exit code 2, and leaves nothing behind', async (_, args, message) => {
    const keystore = newKeystore();
    const { code, stdout, stderr } = await kms(...args, '--keystore', keystore);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
    expect(existsSync(keystore)).toBe(false);
  });

  test('a key that is not there, a damaged keystore and one that others can read are one line and exit code 2', async () => {
    const keystore = newKeystore();
    await answerOf('create', '--keystore', keystore);
    const lineOf = async (...args: string[]) => {
      const { code, stdout, stderr } = await kms(...args, '--keystore', keystore);
      expect([code, stdout, stderr.trim().split('\n').length]).toEqual([2, '', 1]);
      return stderr;
    };
    expect(await lineOf('describe', 'alias/none')).toMatch(/no key alias\/none in the keystore/);
    writeFileSync(keystore, readFileSync(keystore, 'utf8').slice(0, -20));
    expect(await lineOf('list')).toMatch(/incomplete, damaged/);
    rmSync(keystore);
    writeFileSync(keystore, '{}', { mode: 0o644 });
    expect(await lineOf('create')).toMatch(/can be read by others .*chmod 600/);
  });
});
