import { spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { portcullis } from '../harness/cli.ts';
import { filesOf } from '../harness/masters.ts';
import { LONG } from '../harness/programs.ts';
import { CLI, removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const MIB = 1 << 20;
const folder = temporaryDirectory();
afterAll(() => removeDirectory(folder));
const path = (name: string) => join(folder, name);
const file = (name: string, content: string | Uint8Array, mode = 0o600) => {
  writeFileSync(path(name), content, { mode });
  return path(name);
};
const master = (command: string, ...args: string[]) => portcullis('master', command, ...args, '--data', path('data'));
beforeAll(async () => {
  mkdirSync(path('data'));
  const { code } = await portcullis('kms', 'create', '--alias', 'alias/portcullis-mastering', '--data', path('data'));
  expect(code).toBe(0);
});
const pem = (key: ReturnType<typeof generateKeyPairSync>['privateKey'], type: 'pkcs8' | 'spki') =>
  key.export({ type, format: 'pem' }) as string;

describe('master', () => {
  test.each(['gcm', 'ctr', 'cbc', 'framed'])('encrypts, shows, verifies and decrypts in mode %s', async (mode) => {
    const [source, output, back] = [
      file(`in-${mode}`, randomBytes(2 * MIB)),
      path(`out-${mode}`),
      path(`back-${mode}`),
    ];
    const encrypted = await master('encrypt', source, output, '--mode', mode, '--json');
    expect([encrypted.code, encrypted.stderr]).toEqual([0, '']);
    expect(JSON.parse(encrypted.stdout)).toMatchObject({
      output,
      mode,
      plaintextBytes: 2 * MIB,
      recipients: [{ type: 'kms' }],
    });
    const info = await portcullis('master', 'info', output);
    expect(info.stdout).toMatch(new RegExp(`^mode +${mode}, data key of 256 bits$`, 'm'));
    const verified = await master('verify', output, '--json');
    expect([verified.code, JSON.parse(verified.stdout)]).toMatchObject([0, { verified: true, authenticated: true }]);
    expect((await master('decrypt', output, back)).code).toBe(0);
    expect(readFileSync(back).equals(readFileSync(source))).toBe(true);

    const bytes = readFileSync(output);
    bytes[MIB] = (bytes[MIB] ?? 0) ^ 1;
    writeFileSync(output, bytes);
    const refused = await master('verify', output, '--json');
    expect([refused.code, JSON.parse(refused.stdout)]).toMatchObject([
      1,
      { verified: false, code: 'ERR_MASTER_AUTHENTICATION' },
    ]);
    const failed = await master('decrypt', output, path(`none-${mode}`));
    expect([failed.code, filesOf(path(`none-${mode}`))]).toEqual([2, []]);
  });

  test('a wrong context is told with the expected and the supplied one, by decrypt, verify and kms decrypt', async () => {
    const [source, output, key] = [file('in-context', randomBytes(1000)), path('out-context'), path('context.key')];
    expect(
      (await master('encrypt', source, output, '--mode', 'ctr', '--context', 'a=1', '--context', 'b=2')).code,
    ).toBe(0);
    const manifest = `${output}.manifest.json`;
    const kms = ['kms', 'decrypt', manifest, key, '--data', path('data')];
    for (const [at, supplied] of [['a=1'], ['a=1', 'b=3'], ['__proto__=1']].entries()) {
      const context = supplied.flatMap((pair) => ['--context', pair]);
      const told = supplied.map((pair) => pair.replace(/(.*)=(.*)/, '"$1":"$2"')).join(',');
      // Each context to all of them in the long tests, else the next one to the next.
      const commands = [
        () => master('decrypt', output, path('none-context'), ...context),
        () => master('verify', output, ...context),
        () => portcullis(...kms, ...context),
      ];
      for (const command of LONG ? commands : commands.slice(at, at + 1)) {
        const refused = await command();
        expect([refused.code, refused.stdout]).toEqual([2, '']);
        expect(refused.stderr).toBe(
          `portcullis: wrong encryption context: expected {"a":"1","b":"2"}, supplied {${told}}\n`,
        );
      }
    }
    expect([...filesOf(path('none-context')), ...filesOf(key)]).toEqual([]);
    const right = ['--context', 'b=2', '--context', 'a=1'];
    expect((await master('verify', output, ...right)).code).toBe(0);
    const { code, stdout } = await portcullis(...kms, ...right);
    expect([code, statSync(key).mode & 0o777]).toEqual([0, 0o600]);
    expect(stdout).not.toContain(readFileSync(key).toString('hex'));
    expect((await master('verify', output, '--data-key', key)).code).toBe(0);
    expect(await portcullis(...kms)).toMatchObject({ code: 2, stderr: expect.stringMatching(/EEXIST/) });
    expect(await master('verify', output, '--data-key', key, ...right)).toMatchObject({ code: 2 });
  });

  test('takes a key and IV of the caller, which need no KMS and appear nowhere', async () => {
    const [source, key, iv] = [file('own', 'mezzanine'), randomBytes(32), randomBytes(16).toString('hex')];
    const dataKey = file('own.key', key);
    const args = [source, path('own.enc'), '--mode', 'ctr', '--data-key', dataKey, '--iv', iv, '--no-kms'];
    const { code, stdout, stderr } = await portcullis('master', 'encrypt', ...args);
    expect(code).toBe(0);
    expect(stdout).toContain('who has the data key');
    const shown = stdout + stderr + readFileSync(path('own.enc.manifest.json'), 'latin1');
    for (const encoding of ['hex', 'base64'] as const) expect(shown).not.toContain(key.toString(encoding));
    const open = ['--data-key', dataKey];
    expect((await portcullis('master', 'decrypt', path('own.enc'), path('own.dec'), ...open)).code).toBe(0);
    const byMode = [...open, '--mode', 'ctr', '--iv', iv];
    expect((await portcullis('master', 'verify', path('own.enc'), ...byMode)).code).toBe(2);
    const warned = await portcullis('master', 'verify', path('own.enc'), ...byMode, '--unauthenticated');
    expect([warned.code, warned.stderr]).toEqual([0, expect.stringContaining('warning: nothing shows whether')]);
  });

  test('makes a master for an owner, signed, and lets another one in and out', async () => {
    const [owner, partner, studio] = [
      generateKeyPairSync('x25519'),
      generateKeyPairSync('ec', { namedCurve: 'P-256' }),
      generateKeyPairSync('ed25519'),
    ];
    const keys = {
      owner: file('owner.pem', pem(owner.privateKey, 'pkcs8')),
      ownerPublic: file('owner.pub', pem(owner.publicKey, 'spki'), 0o644),
      partner: file('partner.jwk', JSON.stringify(partner.privateKey.export({ format: 'jwk' }))),
      partnerPublic: file('partner.pub', JSON.stringify(partner.publicKey.export({ format: 'jwk' })), 0o644),
      studio: file('studio.pem', pem(studio.privateKey, 'pkcs8')),
      studioPublic: file('studio.pub', pem(studio.publicKey, 'spki'), 0o644),
    };
    const output = path('archive');
    const recipient = ['--recipient', keys.ownerPublic, '--no-kms', '--sign-key', keys.studio];
    expect((await master('encrypt', file('reel', 'reel'), output, '--mode', 'framed', ...recipient)).code).toBe(0);
    const verify = async (...args: string[]) => (await master('verify', output, ...args)).code;
    expect(await verify('--private-key', keys.owner, '--verify-key', keys.studioPublic)).toBe(0);
    expect(await verify('--private-key', keys.partner)).toBe(2);
    const rewrapped = await master(
      'rewrap',
      output,
      '--recipient',
      keys.partnerPublic,
      '--private-key',
      keys.owner,
      '--json',
    );
    expect(rewrapped.code).toBe(0);
    expect(await verify('--private-key', keys.partner)).toBe(0);
    const { recipients } = JSON.parse(rewrapped.stdout);
    expect((await master('rewrap', output, '--remove', recipients[1].keyId)).code).toBe(0);
    expect(await verify('--private-key', keys.partner)).toBe(2);
  });

  test.each([
    ['no mode', ['encrypt', path('source'), path('bad')], /--mode/],
    [
      'an IV that is no hexadecimal',
      ['encrypt', path('source'), path('bad'), '--mode', 'ctr', '--iv', 'xyz'],
      /hexadecimal/,
    ],
    [
      'a key that others can read',
      ['encrypt', path('source'), path('bad'), '--mode', 'ctr', '--data-key', path('open.key')],
      /chmod 600/,
    ],
    [
      'a key that is text',
      ['encrypt', path('source'), path('bad'), '--mode', 'ctr', '--data-key', path('text.key')],
      /base64 -d/,
    ],
    [
      'a KMS key that is not there',
      ['encrypt', path('source'), path('bad'), '--mode', 'gcm', '--kms-key', 'alias/none'],
      /alias\/none/,
    ],
    ['a source that is not there', ['encrypt', path('nothing'), path('bad'), '--mode', 'gcm'], /ENOENT/],
    ['a master without a manifest', ['decrypt', path('source'), path('bad')], /manifest\.json is not there/],
    ['nothing to rewrap', ['rewrap', path('source')], /say what changes/],
    ['an IV with a manifest', ['verify', path('source'), '--iv', '00'], /--mode/],
  ])('says what is wrong, and leaves nothing: %s', async (_, args, message) => {
    file('source', 'mezzanine');
    file('open.key', randomBytes(32), 0o644);
    file('text.key', `${randomBytes(24).toString('base64')}`);
    const [command = '', ...rest] = args;
    const { code, stdout, stderr } = await master(command, ...rest);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
    expect(filesOf(path('bad'))).toEqual([]);
  });

  test('resumes what was killed', async () => {
    const [source, output] = [file('long', ''), path('killed')];
    truncateSync(source, 96 * MIB);
    // It kills itself as soon as some of the master is there, so that the source need not be so long that we are in time.
    const dying = `import { existsSync, statSync } from 'node:fs';
      const begun = ${JSON.stringify(`${output}.partial`)};
      const look = () => existsSync(begun) && statSync(begun).size > ${MIB} && process.kill(process.pid, 'SIGKILL');
      setInterval(look, 1).unref();`;
    const hook = `data:text/javascript,${encodeURIComponent(dying)}`;
    const encrypt = [CLI, 'master', 'encrypt', source, output, '--mode', 'ctr', '--data', path('data')];
    const child = spawn(process.execPath, ['--import', hook, ...encrypt], { stdio: 'ignore' });
    expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
    expect(filesOf(output)).toEqual([`${basename(output)}.partial`, `${basename(output)}.partial.json`]);
    expect(statSync(`${output}.partial`).size).toBeLessThan(96 * MIB);
    const unfinished = await master('encrypt', source, output, '--mode', 'ctr');
    expect([unfinished.code, unfinished.stderr]).toEqual([2, expect.stringContaining('--resume goes on')]);
    expect((await master('encrypt', source, output, '--mode', 'ctr', '--resume')).code).toBe(0);
    expect((await master('verify', output)).code).toBe(0);
    expect(filesOf(output)).toEqual([basename(output), `${basename(output)}.manifest.json`]);
  });
});
