import { spawnSync } from 'node:child_process';
import { createDecipheriv, createHmac, hkdfSync, randomUUID } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { type EncryptionContext, KmsError } from '../../../enclave-render/kms/data-keys.ts';
import { EmbeddedKms } from '../../../enclave-render/kms/embedded.ts';
import {
  canonicalContext,
  explainContext,
  formatContext,
  sameContext,
} from '../../../enclave-render/kms/encryption-context.ts';
import { packagePath } from '../../../local/package-root.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

const CONTEXT = { service: 'mediaconvert.amazonaws.com', title: 'tt-000123' };
const SECRET = Uint8Array.from({ length: 32 }, (_, i) => i);
const PASSPHRASE = 'correct horse battery staple';
const DAY = 86_400_000;

const newPath = () => join(scratch, randomUUID(), 'keystore.json');
const passphraseFile = (text: string, mode = 0o600) => {
  const path = join(scratch, randomUUID());
  writeFileSync(path, text, { mode });
  return path;
};
/** A keystore with one key, which `alias/a` stands for. */
async function newKms(options: { passphraseFile?: string; now?: () => number } = {}) {
  const keystore = newPath();
  const kms = new EmbeddedKms({ keystore, ...options });
  const { arn } = await kms.createKey({ alias: 'alias/a' });
  return { kms, keystore, arn };
}
const trailOf = (keystore: string): Record<string, unknown>[] =>
  readFileSync(`${keystore}.audit.jsonl`, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
const materialsOf = (keystore: string): string[] =>
  JSON.parse(readFileSync(keystore, 'utf8')).content.keys.flatMap(
    ({ versions }: { versions: { material: string }[] }) => versions.map(({ material }) => material),
  );
const refused = (message: RegExp, code = 'ERR_KMS_KEYSTORE') => ({
  name: 'KmsError',
  code,
  message: expect.stringMatching(message),
});

describe('the keystore', () => {
  test('and its trail are private, its folder too', async () => {
    const { keystore } = await newKms();
    for (const path of [keystore, `${keystore}.audit.jsonl`]) expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(keystore, '..')).mode & 0o777).toBe(0o700);
  });

  test.each([0o640, 0o604, 0o620, 0o666])('of mode %o is refused', async (mode) => {
    const { kms, keystore } = await newKms();
    chmodSync(keystore, mode);
    await expect(kms.listKeys()).rejects.toMatchObject(refused(/can be read by others .*chmod 600/));
    await expect(kms.createKey()).rejects.toMatchObject(refused(/chmod 600/));
  });

  test('that is a symbolic link or no file is refused, also when a key is made', async () => {
    const { keystore } = await newKms();
    const link = join(scratch, randomUUID());
    symlinkSync(keystore, link);
    const dangling = join(scratch, randomUUID());
    symlinkSync(join(scratch, 'nowhere'), dangling);
    for (const path of [link, dangling, scratch]) {
      const kms = new EmbeddedKms({ keystore: path });
      await expect(kms.listKeys()).rejects.toMatchObject(refused(/symbolic link|no regular file/));
      await expect(kms.createKey()).rejects.toMatchObject(refused(/symbolic link|no regular file/));
    }
    expect(existsSync(join(scratch, 'nowhere'))).toBe(false);
  });

  test('that is not there is made by the first key alone', async () => {
    const keystore = newPath();
    const kms = new EmbeddedKms({ keystore });
    expect(await kms.exists()).toBe(false);
    for (const attempt of [kms.listKeys(), kms.rotateKey('alias/a'), kms.generate('alias/a', 128, {})]) {
      await expect(attempt).rejects.toMatchObject(refused(/there is none.*portcullis kms create/));
    }
    expect(existsSync(join(keystore, '..'))).toBe(false);
  });

  test('cut off anywhere is refused, and never replaced', async () => {
    const { kms, keystore } = await newKms();
    const whole = readFileSync(keystore);
    // Without its last byte, a line feed, it is whole.
    for (let length = 0; length < whole.length - 1; length += 7) {
      writeFileSync(keystore, whole.subarray(0, length));
      await expect(kms.listKeys()).rejects.toMatchObject(refused(/incomplete, damaged/));
    }
    await expect(kms.createKey()).rejects.toMatchObject(refused(/incomplete, damaged/));
    expect(statSync(keystore).size).toBeLessThan(whole.length);
  });

  test('with another key, state or alias written into it is refused', async () => {
    const { kms, keystore } = await newKms();
    const text = readFileSync(keystore, 'utf8');
    const [material = ''] = materialsOf(keystore);
    const flipped = `${material.startsWith('A') ? 'B' : 'A'}${material.slice(1)}`;
    for (const [from, to] of [
      [material, flipped],
      ['Enabled', 'Disabled'],
      ['alias/a', 'alias/b'],
    ] as const) {
      writeFileSync(keystore, text.replace(from, to));
      await expect(kms.listKeys()).rejects.toMatchObject(refused(/altered or is damaged/));
    }
  });

  test('an older copy says that it may be one, and opens what it can', async () => {
    const { kms, keystore } = await newKms();
    const before = await kms.encrypt('alias/a', SECRET, CONTEXT);
    copyFileSync(keystore, `${keystore}.old`);
    await kms.rotateKey('alias/a');
    const after = await kms.encrypt('alias/a', SECRET, CONTEXT);
    copyFileSync(`${keystore}.old`, keystore);
    expect((await kms.decrypt(before.encrypted, CONTEXT)).plaintext).toEqual(SECRET);
    await expect(kms.decrypt(after.encrypted, CONTEXT)).rejects.toMatchObject(
      refused(/version 2 .*has 1: .*older copy/, 'ERR_KMS_INVALID_CIPHERTEXT'),
    );
    // Rotated again, it has a version 2, but another one.
    await kms.rotateKey('alias/a');
    await expect(kms.decrypt(after.encrypted, CONTEXT)).rejects.toMatchObject({ code: 'ERR_KMS_INVALID_CIPHERTEXT' });
  });

  test('changed by many at once loses nothing', async () => {
    const { keystore, arn } = await newKms();
    const many = Array.from({ length: 8 }, () => new EmbeddedKms({ keystore }));
    await Promise.all(many.map((kms, i) => (i % 2 ? kms.createKey() : kms.rotateKey(arn))));
    const keys = await new EmbeddedKms({ keystore }).listKeys();
    expect(keys).toHaveLength(5);
    expect(keys[0]).toMatchObject({ arn, version: 5 });
  });

  test('that a process was killed in the middle of changing can be changed again', async () => {
    const { kms, keystore } = await newKms();
    mkdirSync(`${keystore}.lock`);
    await kms.createKey();
    expect(existsSync(`${keystore}.lock`)).toBe(false);
  });

  test('of two who make it with one alias at once, one is refused', async () => {
    const keystore = newPath();
    const attempts = [1, 2].map(() => new EmbeddedKms({ keystore }).createKey({ alias: 'alias/a' }));
    const outcomes = await Promise.allSettled(attempts);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code] : []))).toEqual([
      'ERR_KMS_ALREADY_EXISTS',
    ]);
    expect(await new EmbeddedKms({ keystore }).listKeys()).toHaveLength(1);
  });
});

/**
 * Makes a second key in a process of its own, which kills itself before its n-th call that changes the file system; n = 0: never. Gives
 * its exit code, null when it was killed, and the calls it made, each with what it was about.
 */
function changeAndDie(keystore: string, n: number, when: 'before' | 'halfway' = 'before') {
  const module = packagePath('dist', 'lib', 'enclave-render', 'kms', 'embedded.js');
  const script = `
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    let calls = 0;
    const names = new Map();
    const dying = (name, call) => function (...args) {
      const about = typeof args[0] === 'number' ? names.get(args[0]) : typeof args[0] === 'string' ? args[0] : 'handle';
      if (name === 'open') {
        const opened = args.at(-1);
        if (typeof opened === 'function') args[args.length - 1] = (error, fd) => { names.set(fd, args[0]); opened(error, fd); };
      }
      fs.writeSync(1, name + ' ' + about + '\\n');
      if (++calls === ${n}) {
        if (name === 'write' && ${when === 'halfway'}) fs.writeSync(args[0], Buffer.from(args[1]).subarray(0, 100));
        process.kill(process.pid, 'SIGKILL');
      }
      return call.apply(this, args);
    };
    for (const name of ['open', 'write', 'fsync', 'chmod', 'rename', 'mkdir', 'rmdir']) fs[name] = dying(name, fs[name]);
    const handle = await fs.promises.open(process.execPath);
    const { prototype } = handle.constructor;
    await handle.close();
    for (const name of ['sync', 'datasync', 'write']) prototype[name] = dying('handle.' + name, prototype[name]);
    syncBuiltinESMExports();
    const { EmbeddedKms } = await import(${JSON.stringify(module)});
    await new EmbeddedKms({ keystore: ${JSON.stringify(keystore)} }).createKey({ alias: 'alias/b' });
    process.exit(0);`;
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return { status, calls: stdout.toString().trimEnd().split('\n') };
}

describe('a process that dies while it changes the keystore', () => {
  test.each(['before', 'halfway'] as const)(
    'leaves the old one or the new one, whole and private (%s)',
    async (when) => {
      const { kms, keystore } = await newKms();
      const { encrypted } = await kms.encrypt('alias/a', SECRET, CONTEXT);
      const old = readFileSync(keystore);
      const deaths: boolean[] = [];
      for (let n = 1; ; n++) {
        const { status, calls } = changeAndDie(keystore, n, when);
        const isReplaced = !readFileSync(keystore).equals(old);
        if (status === null) deaths.push(isReplaced);
        // Only once it was renamed, of which the test before has the order.
        expect(isReplaced, calls.join('\n')).toBe(calls.slice(0, status === null ? -1 : undefined).some(isRename));
        const folder = dirname(keystore);
        for (const name of readdirSync(folder)) {
          const { mode } = statSync(join(folder, name));
          if (name !== basename(`${keystore}.lock`)) expect([name, mode & 0o077]).toEqual([name, 0]);
        }
        const { plaintext } = await new EmbeddedKms({ keystore }).decrypt(encrypted, CONTEXT);
        expect(plaintext).toEqual(SECRET);
        expect(await new EmbeddedKms({ keystore }).createKey()).toMatchObject({ state: 'Enabled' });
        if (status !== null) {
          expect(status).toBe(0);
          break;
        }
        writeFileSync(keystore, old, { mode: 0o600 });
      }
      // It died before the rename and after it.
      expect(new Set(deaths)).toEqual(new Set([false, true]));
    },
  );

  test('has it on the disk before it has the name, and the name on the disk before it is done', async () => {
    const { keystore } = await newKms();
    const { status, calls } = changeAndDie(keystore, 0);
    expect(status).toBe(0);
    const renamed = calls.findIndex(isRename);
    const [, partial = ''] = (calls[renamed] ?? '').split(' ');
    expect(partial).toMatch(new RegExp(`^${keystore}\\.\\d+$`));
    expect(calls.indexOf(`fsync ${partial}`)).toBeGreaterThan(calls.indexOf(`write ${partial}`));
    expect(calls.indexOf(`fsync ${partial}`)).toBeLessThan(renamed);
    // What was done is in the trail before it is done; the folder comes after the name.
    expect(calls.indexOf('handle.datasync handle')).toBeLessThan(renamed);
    expect(calls.indexOf('handle.sync handle')).toBeGreaterThan(renamed);
  });

  test('a link that somebody puts in its place is neither read nor followed by a change', async () => {
    const { keystore } = await newKms();
    const elsewhere = join(dirname(keystore), 'elsewhere.json');
    copyFileSync(keystore, elsewhere);
    rmSync(keystore);
    symlinkSync(elsewhere, keystore);
    const before = readFileSync(elsewhere);
    const { status } = changeAndDie(keystore, 0);
    expect(status).toBe(1);
    expect(readFileSync(elsewhere)).toEqual(before);
    expect(lstatSync(keystore).isSymbolicLink()).toBe(true);
  });
});

const isRename = (call: string) => call.startsWith('rename ');

describe('under a passphrase', () => {
  // Made once: each key that is derived of a passphrase is meant to take its time.
  const file = passphraseFile(`${PASSPHRASE}\n`);
  const made = newKms({ passphraseFile: file });
  const copied = async () => {
    const keystore = newPath();
    mkdirSync(dirname(keystore), { mode: 0o700 });
    copyFileSync((await made).keystore, keystore);
    return keystore;
  };

  test('nothing of the keystore is in clear, and another process opens it', async () => {
    const { kms, keystore, arn } = await made;
    const { encrypted } = await kms.encrypt('alias/a', SECRET, CONTEXT);
    const text = readFileSync(keystore, 'utf8');
    for (const clear of ['alias/a', 'Enabled', arn.slice(-36)]) expect(text).not.toContain(clear);
    expect(JSON.parse(text).kdf).toMatchObject({ name: 'scrypt', n: 2 ** 17, r: 8, p: 1 });
    const again = new EmbeddedKms({ keystore, passphraseFile: file });
    expect((await again.decrypt(encrypted, CONTEXT)).plaintext).toEqual(SECRET);
    await again.rotateKey(arn);
    expect(JSON.parse(readFileSync(keystore, 'utf8')).kdf).toEqual(JSON.parse(text).kdf);
    expect(await kms.describeKey(arn)).toMatchObject({ version: 2 });
  });

  test('another passphrase, none, or a file that is none is told apart from damage', async () => {
    const keystore = await copied();
    const attempt = (passphrase?: string) => new EmbeddedKms({ keystore, passphraseFile: passphrase }).listKeys();
    await expect(attempt(passphraseFile('another passphrase'))).rejects.toMatchObject(
      refused(/is not the one of this/),
    );
    await expect(attempt()).rejects.toMatchObject(refused(/give --passphrase-file/));
    await expect(attempt(passphraseFile('short'))).rejects.toMatchObject(refused(/12 characters or more/));
    await expect(attempt(passphraseFile('\n'))).rejects.toMatchObject(refused(/12 characters or more/));
    await expect(attempt(join(scratch, 'nowhere'))).rejects.toMatchObject(refused(/passphrase file: there is none/));
    await expect(attempt(passphraseFile(PASSPHRASE, 0o644))).rejects.toMatchObject(refused(/chmod 600/));
    const stored = JSON.parse(readFileSync(keystore, 'utf8'));
    const bytes = Buffer.from(stored.encrypted, 'base64');
    const kms = new EmbeddedKms({ keystore, passphraseFile: file });
    for (const at of [0, 11, 12, bytes.length - 17, bytes.length - 1]) {
      const altered = Buffer.from(bytes);
      altered[at] = (altered[at] ?? 0) ^ 1;
      writeFileSync(keystore, JSON.stringify({ ...stored, encrypted: altered.toString('base64') }));
      await expect(kms.listKeys()).rejects.toMatchObject(refused(/altered or is damaged \(the passphrase is right\)/));
    }
  });

  test('a keystore in clear that was put in its place is refused, with and without making a key', async () => {
    const keystore = await copied();
    const { keystore: swapped } = await newKms();
    copyFileSync(swapped, keystore);
    const kms = new EmbeddedKms({ keystore, passphraseFile: file });
    for (const attempt of [kms.generate('alias/a', 128, {}), kms.createKey()]) {
      await expect(attempt).rejects.toMatchObject(refused(/somebody may have replaced it/));
    }
  });

  test.each([
    ['weaker', { n: 2 }],
    ['endless', { n: 2 ** 30 }],
    ['wider', { r: 1024 }],
  ])('parameters of scrypt that are %s are refused before they are run', async (_, kdf) => {
    const keystore = await copied();
    const stored = JSON.parse(readFileSync(keystore, 'utf8'));
    writeFileSync(keystore, JSON.stringify({ ...stored, kdf: { ...stored.kdf, ...kdf } }));
    const kms = new EmbeddedKms({ keystore, passphraseFile: file });
    await expect(kms.listKeys()).rejects.toMatchObject(refused(/incomplete, damaged/));
  });
});

describe('a ciphertext', () => {
  test('has the layout that docs/kms.md says', async () => {
    const { kms, keystore, arn } = await newKms();
    const bytes = Buffer.from((await kms.encrypt('alias/a', SECRET, { b: '2', a: '1' })).encrypted);
    const [header, tag] = [bytes.subarray(0, 100), bytes.subarray(-16)];
    expect(header.toString('latin1', 0, 4)).toBe('PKM1');
    expect(header.toString('hex', 4, 20)).toBe(arn.slice(-36).replaceAll('-', ''));
    expect(header.readUInt32BE(20)).toBe(1);
    const material = Buffer.from(materialsOf(keystore)[0] ?? '', 'base64');
    const info = 'portcullis embedded kms, ciphertext 1';
    const derived = Buffer.from(hkdfSync('sha256', material, header.subarray(24, 56), info, 64));
    const canonical = Buffer.from('00000002' + '0000000161' + '0000000131' + '0000000162' + '0000000132', 'hex');
    const contextTag = createHmac('sha256', derived.subarray(32)).update(canonical).digest();
    expect(header.subarray(68, 100)).toEqual(contextTag);
    const decipher = createDecipheriv('aes-256-gcm', derived.subarray(0, 32), header.subarray(56, 68));
    decipher.setAAD(header).setAuthTag(tag);
    expect(Buffer.concat([decipher.update(bytes.subarray(100, -16)), decipher.final()])).toEqual(Buffer.from(SECRET));
  });

  test('that says another key or version than its own is refused', async () => {
    const { kms, arn } = await newKms();
    const other = await kms.createKey();
    await kms.rotateKey(arn);
    const mine = Buffer.from((await kms.encrypt(arn, SECRET, CONTEXT)).encrypted);
    const theirs = Buffer.from((await kms.encrypt(other.arn, SECRET, CONTEXT)).encrypted);
    const older = Buffer.from(mine);
    older.writeUInt32BE(1, 20);
    const renamed = Buffer.concat([mine.subarray(0, 4), theirs.subarray(4, 24), mine.subarray(24)]);
    const swapped = Buffer.concat([theirs.subarray(0, 100), mine.subarray(100)]);
    const context = Buffer.concat([mine.subarray(0, 68), theirs.subarray(68, 100), mine.subarray(100)]);
    for (const forged of [older, renamed, swapped, context]) {
      await expect(kms.decrypt(forged, CONTEXT)).rejects.toMatchObject(
        refused(/tampered with/, 'ERR_KMS_INVALID_CIPHERTEXT'),
      );
    }
  });

  test('of a key that is in no keystore, or of AWS KMS, says so', async () => {
    const [{ kms }, { kms: other }] = [await newKms(), await newKms()];
    const { encrypted } = await other.encrypt('alias/a', SECRET, CONTEXT);
    await expect(kms.decrypt(encrypted, CONTEXT)).rejects.toMatchObject(
      refused(/which is not in this keystore/, 'ERR_KMS_ACCESS'),
    );
    const ofAws = Buffer.concat([Buffer.from('AQICAHh', 'base64'), Buffer.alloc(180)]);
    await expect(kms.decrypt(ofAws, CONTEXT)).rejects.toMatchObject(
      refused(/one of AWS KMS needs mastering.kms.provider aws/, 'ERR_KMS_INVALID_CIPHERTEXT'),
    );
  });
});

describe('an encryption context', () => {
  const contexts = fc.dictionary(fc.string({ minLength: 1, maxLength: 4 }), fc.string({ maxLength: 4 }), {
    maxKeys: 4,
  });

  test('has one canonical form, whatever the order, and no other context has it', () => {
    const canonical = (context: EncryptionContext) => Buffer.from(canonicalContext(context)).toString('hex');
    fc.assert(
      fc.property(contexts, contexts, (a, b) => {
        const reversed = Object.fromEntries(Object.entries(a).reverse());
        expect(canonical(reversed)).toBe(canonical(a));
        expect(formatContext(reversed)).toBe(formatContext(a));
        const isSame = formatContext(a) === formatContext(b);
        expect(canonical(a) === canonical(b)).toBe(isSame);
        expect(sameContext(a, b)).toBe(isSame);
      }),
    );
  });

  test('that is wrong is told apart from damage, with the expected and the supplied one', async () => {
    const { kms } = await newKms();
    const { encrypted } = await kms.encrypt('alias/a', SECRET, CONTEXT);
    const supplied = { title: 'tt-000124', service: CONTEXT.service };
    const wrong = await kms.decrypt(encrypted, supplied).catch((error) => error);
    expect(wrong).toMatchObject(refused(/intact, but the encryption context/, 'ERR_KMS_INVALID_CIPHERTEXT'));
    expect(explainContext(wrong, CONTEXT, supplied)).toMatchObject({
      code: 'ERR_KMS_INVALID_CIPHERTEXT',
      message:
        'wrong encryption context: expected {"service":"mediaconvert.amazonaws.com","title":"tt-000123"}, ' +
        'supplied {"service":"mediaconvert.amazonaws.com","title":"tt-000124"}',
    });
    encrypted[60] = (encrypted[60] ?? 0) ^ 1;
    const damaged = await kms.decrypt(encrypted, CONTEXT).catch((error) => error);
    expect(explainContext(damaged, CONTEXT, { ...CONTEXT })).toMatchObject(
      refused(/damaged.*expected and supplied encryption context are the same/, 'ERR_KMS_INVALID_CIPHERTEXT'),
    );
    const other = new KmsError('ERR_KMS_DISABLED', 'disabled');
    expect(explainContext(other, CONTEXT, supplied)).toBe(other);
  });

  test('that is too large is refused', async () => {
    const { kms } = await newKms();
    await expect(kms.generate('alias/a', 128, { a: 'x'.repeat(8192) })).rejects.toMatchObject(
      refused(/too large: 8205 bytes, at most 8192/, 'ERR_KMS_VALIDATION'),
    );
  });
});

describe('the deletion of a key', () => {
  test('takes place after the waiting period, with its aliases, and leaves nothing of it in the file', async () => {
    let now = Date.parse('2026-11-22T12:00:00Z');
    const { kms, keystore, arn } = await newKms({ now: () => now });
    const kept = await kms.createKey();
    const { encrypted } = await kms.encrypt(arn, SECRET, CONTEXT);
    const [material = ''] = materialsOf(keystore);
    expect(await kms.scheduleKeyDeletion('alias/a', 7)).toMatchObject({
      state: 'PendingDeletion',
      deletesAt: now / 1000 + 7 * 86_400,
    });
    now += 7 * DAY - 1000;
    expect(await kms.listKeys()).toHaveLength(2);
    now += 1000;
    expect((await kms.listKeys()).map((key) => key.arn)).toEqual([kept.arn]);
    expect(readFileSync(keystore, 'utf8')).not.toContain(material);
    await expect(kms.decrypt(encrypted, CONTEXT)).rejects.toMatchObject({ code: 'ERR_KMS_ACCESS' });
    await expect(kms.encrypt('alias/a', SECRET, CONTEXT)).rejects.toMatchObject({ code: 'ERR_KMS_NOT_FOUND' });
    await expect(kms.cancelKeyDeletion(arn)).rejects.toMatchObject({ code: 'ERR_KMS_NOT_FOUND' });
    expect(trailOf(keystore).filter(({ operation }) => operation === 'DeleteKey')).toMatchObject([{ keyId: arn }]);
  });

  test('waits 7 to 30 days; what is pending is neither scheduled again, enabled, rotated nor given an alias', async () => {
    const { kms, arn } = await newKms();
    for (const days of [6, 31, 7.5, Number.NaN]) {
      await expect(kms.scheduleKeyDeletion(arn, days)).rejects.toMatchObject({ code: 'ERR_KMS_VALIDATION' });
    }
    await expect(kms.cancelKeyDeletion(arn)).rejects.toMatchObject({ code: 'ERR_KMS_INVALID_STATE' });
    await kms.scheduleKeyDeletion(arn);
    const changes = [
      () => kms.scheduleKeyDeletion(arn, 7),
      () => kms.enableKey(arn),
      () => kms.disableKey(arn),
      () => kms.rotateKey(arn),
      () => kms.createAlias('alias/b', arn),
    ];
    for (const change of changes) await expect(change()).rejects.toMatchObject({ code: 'ERR_KMS_INVALID_STATE' });
  });
});

describe('aliases', () => {
  test('are unique, move when told so, and are removed without the key', async () => {
    const { kms, arn } = await newKms();
    const other = await kms.createKey({ alias: 'alias/b' });
    await expect(kms.createAlias('alias/a', other.arn)).rejects.toMatchObject({ code: 'ERR_KMS_ALREADY_EXISTS' });
    await expect(kms.updateAlias('alias/c', arn)).rejects.toMatchObject({ code: 'ERR_KMS_NOT_FOUND' });
    expect((await kms.updateAlias('alias/a', 'alias/b')).aliases).toEqual(['alias/a', 'alias/b']);
    await kms.deleteAlias('alias/a');
    await expect(kms.deleteAlias('alias/a')).rejects.toMatchObject({ code: 'ERR_KMS_NOT_FOUND' });
    expect((await kms.describeKey(arn)).aliases).toEqual([]);
  });

  test.each(['a', 'alias/', 'alias/aws/s3', 'alias/a b', `alias/${'a'.repeat(251)}`, 'alias/\n'])(
    '%j is none',
    async (alias) => {
      const { kms } = await newKms();
      await expect(kms.createKey({ alias })).rejects.toMatchObject({ code: 'ERR_KMS_VALIDATION' });
      expect(await kms.listKeys()).toHaveLength(1);
    },
  );
});

describe('the audit trail', () => {
  test('says who did what with which key in which context, and how it went, and holds nothing secret', async () => {
    const { kms, keystore, arn } = await newKms();
    const to = { service: 'elastictranscoder.amazonaws.com' };
    const key = await kms.generate('alias/a', 256, CONTEXT);
    await kms.decrypt(key.encrypted, CONTEXT, arn);
    const { encrypted } = await kms.reEncrypt(key.encrypted, CONTEXT, arn, to);
    await kms.decrypt(encrypted, CONTEXT).catch(() => {});
    await kms.encrypt(Buffer.from(SECRET).toString('base64'), SECRET, {}).catch(() => {});
    await kms.disableKey(arn);
    await kms.encrypt('alias/a', SECRET, {}).catch(() => {});
    const trail = trailOf(keystore);
    for (const { at, by } of trail) {
      expect(at).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
      expect(by).toMatchObject({ uid: process.getuid?.(), pid: process.pid });
    }
    expect(trail.map(({ at: _at, by: _by, ...rest }) => rest)).toEqual([
      { operation: 'CreateKey', keyId: arn, alias: 'alias/a', outcome: 'ok' },
      { operation: 'GenerateDataKey', keyId: arn, requested: 'alias/a', context: CONTEXT, outcome: 'ok' },
      { operation: 'Decrypt', keyId: arn, requested: arn, context: CONTEXT, outcome: 'ok' },
      {
        operation: 'ReEncrypt',
        keyId: arn,
        requested: arn,
        sourceKeyId: arn,
        context: to,
        sourceContext: CONTEXT,
        outcome: 'ok',
      },
      { operation: 'Decrypt', keyId: arn, context: CONTEXT, outcome: 'ERR_KMS_INVALID_CIPHERTEXT' },
      // What was given for a key may be a secret.
      { operation: 'Encrypt', keyId: null, context: {}, outcome: 'ERR_KMS_NOT_FOUND' },
      { operation: 'DisableKey', keyId: arn, requested: arn, outcome: 'ok' },
      { operation: 'Encrypt', keyId: arn, requested: 'alias/a', context: {}, outcome: 'ERR_KMS_DISABLED' },
    ]);
    const text = readFileSync(`${keystore}.audit.jsonl`, 'utf8');
    const secrets = [
      ...materialsOf(keystore),
      ...[SECRET, key.plaintext, encrypted].map((b) => Buffer.from(b).toString('base64')),
    ];
    for (const secret of secrets) expect(text).not.toContain(secret);
  });

  test('has a line for a context that is none, too, without that context', async () => {
    const { kms, keystore, arn } = await newKms();
    const { encrypted } = await kms.encrypt(arn, SECRET, CONTEXT);
    const lines = trailOf(keystore).length;
    const large = { a: 'x'.repeat(8192) };
    const uses = [
      () => kms.generate(arn, 256, large),
      () => kms.encrypt(arn, SECRET, { a: 1 } as unknown as EncryptionContext),
      () => kms.decrypt(encrypted, null as unknown as EncryptionContext),
      () => kms.reEncrypt(encrypted, large, arn, CONTEXT),
      () => kms.reEncrypt(encrypted, CONTEXT, arn, { a: '\ud800' }),
    ];
    for (const use of uses) await expect(use()).rejects.toMatchObject({ code: 'ERR_KMS_VALIDATION' });
    const added = trailOf(keystore).slice(lines);
    expect(added.map(({ operation, outcome, context }) => [operation, outcome, context])).toEqual([
      ['GenerateDataKey', 'ERR_KMS_VALIDATION', undefined],
      ['Encrypt', 'ERR_KMS_VALIDATION', undefined],
      ['Decrypt', 'ERR_KMS_VALIDATION', undefined],
      ['ReEncrypt', 'ERR_KMS_VALIDATION', CONTEXT],
      ['ReEncrypt', 'ERR_KMS_VALIDATION', undefined],
    ]);
  });

  test.each([0o666, 0o644, 0o620])('that others may read or change (mode %o) is not written to', async (mode) => {
    const { kms, keystore, arn } = await newKms();
    const trail = `${keystore}.audit.jsonl`;
    const before = readFileSync(trail);
    chmodSync(trail, mode);
    for (const use of [() => kms.encrypt(arn, SECRET, CONTEXT), () => kms.rotateKey(arn)]) {
      await expect(use()).rejects.toMatchObject(refused(/others may read or change it .*chmod 600/));
    }
    expect(readFileSync(trail)).toEqual(before);
    chmodSync(trail, 0o600);
    expect(await kms.describeKey(arn)).toMatchObject({ version: 1 });
  });

  test('that cannot be written stops every use and change of a key', async () => {
    const { kms, keystore, arn } = await newKms();
    const { encrypted } = await kms.encrypt(arn, SECRET, CONTEXT);
    const before = readFileSync(keystore);
    const trail = `${keystore}.audit.jsonl`;
    const breaks = [() => mkdirSync(trail), () => symlinkSync(passphraseFile('a file elsewhere\n'), trail)];
    for (const breakTrail of breaks) {
      rmSync(trail, { recursive: true });
      breakTrail();
      const uses = [
        () => kms.generate(arn, 256, CONTEXT),
        () => kms.encrypt(arn, SECRET, CONTEXT),
        () => kms.decrypt(encrypted, CONTEXT),
        () => kms.reEncrypt(encrypted, CONTEXT, arn, CONTEXT),
        () => kms.disableKey(arn),
        () => kms.rotateKey(arn),
        () => kms.createKey(),
        () => kms.scheduleKeyDeletion(arn),
      ];
      for (const use of uses) await expect(use()).rejects.toMatchObject(refused(/audit trail .* cannot be written/));
      expect(readFileSync(keystore)).toEqual(before);
    }
  });

  test('goes on in a line of its own after one that was cut off', async () => {
    const { kms, keystore, arn } = await newKms();
    writeFileSync(`${keystore}.audit.jsonl`, '{"at":"2026-', { mode: 0o600 });
    await kms.encrypt(arn, SECRET, CONTEXT);
    const [cutOff, line = ''] = readFileSync(`${keystore}.audit.jsonl`, 'utf8').split('\n');
    expect(cutOff).toBe('{"at":"2026-');
    expect(JSON.parse(line)).toMatchObject({ operation: 'Encrypt', outcome: 'ok' });
  });
});
