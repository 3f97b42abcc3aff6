import { spawnSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { utimes } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { decryptMaster, verifyMaster } from '../../../enclave-render/mastering/decrypt.ts';
import type { MasterManifest } from '../../../enclave-render/mastering/manifest.ts';
import { rewrapMaster } from '../../../enclave-render/mastering/rewrap.ts';
import { parseManifest } from '../../../enclave-render/mastering/signed-manifest.ts';
import { packagePath } from '../../../local/package-root.ts';
import { CONTEXT, filesOf, mastersFolder } from '../../harness/masters.ts';
import { LONG } from '../../harness/programs.ts';

const MIB = 1 << 20;
const { file, encrypt, path, dataKeys, kms, folder } = mastersFolder();
const manifestOf = (output: string) => `${output}.manifest.json`;
const rewrite = (output: string, change: (manifest: MasterManifest) => void) => {
  const manifest = JSON.parse(readFileSync(manifestOf(output), 'utf8'));
  change(manifest);
  writeFileSync(manifestOf(output), JSON.stringify(manifest));
};
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'opened',
    (error) => error.code,
  );

test('docs/mastering.md explains every code', () => {
  const source = readFileSync(packagePath('enclave-render', 'mastering', 'master-error.ts'), 'utf8');
  const codes = [...source.matchAll(/\| '(ERR_\w+)'/g)].map(([, code]) => code);
  const text = readFileSync(packagePath('docs', 'mastering.md'), 'utf8');
  expect(codes.length).toBeGreaterThan(15);
  expect(codes.filter((code) => !text.includes(`| \`${code}\` |`))).toEqual([]);
});

describe('the manifest', () => {
  test('says all that is needed but the key, and no name', async () => {
    const source = file(1000, 'secret-title.mov');
    const { manifest, output } = await encrypt(source, 'ctr');
    expect(manifest).toMatchObject({ format: 'portcullis-master/1', mode: 'ctr', keyBits: 256, plaintextBytes: 1000 });
    expect(manifest.recipients).toMatchObject([{ type: 'kms', context: CONTEXT }]);
    expect(readFileSync(manifestOf(output), 'utf8')).not.toContain('secret-title');
    expect(parseManifest(readFileSync(manifestOf(output), 'utf8'))).toEqual(manifest);
  });

  test.each(['gcm', 'ctr', 'cbc', 'framed'] as const)('of %s cannot be changed in any signed field', async (mode) => {
    const { output, manifest } = await encrypt(file(100), mode);
    const other = await encrypt(file(100), mode);
    const changes: [string, (manifest: MasterManifest) => void][] = [
      ['keyBits', (m) => Object.assign(m, { keyBits: 128 })],
      ['mode', (m) => Object.assign(m, { mode: mode === 'ctr' ? 'cbc' : 'ctr' })],
      ['createdAt', (m) => Object.assign(m, { createdAt: m.createdAt + 1 })],
      ['plaintextBytes', (m) => Object.assign(m, { plaintextBytes: 99 })],
      ['plaintextSha256', (m) => Object.assign(m, { plaintextSha256: other.manifest.plaintextSha256 })],
      ['ciphertextSha256', (m) => Object.assign(m, { ciphertextSha256: other.manifest.ciphertextSha256 })],
      ['signatures', (m) => Object.assign(m, { signatures: other.manifest.signatures })],
      ['no signatures', (m) => Object.assign(m, { signatures: [] })],
      ['recipients', (m) => Object.assign(m, { recipients: other.manifest.recipients })],
    ];
    if (manifest.iv) changes.push(['iv', (m) => Object.assign(m, { iv: other.manifest.iv })]);
    if (manifest.mac) changes.push(['mac', (m) => Object.assign(m, { mac: other.manifest.mac })]);
    const before = readFileSync(manifestOf(output));
    for (const [what, change] of changes) {
      rewrite(output, change);
      const code = await codeOf(verifyMaster({ source: output, dataKeys }));
      expect(['ERR_MASTER_SIGNATURE', 'ERR_MASTER_MANIFEST', 'ERR_MASTER_KEY_LENGTH'], `${what}: ${code}`).toContain(
        code,
      );
      writeFileSync(manifestOf(output), before);
    }
    // All of another manifest: the key of one cannot open the other.
    writeFileSync(manifestOf(output), readFileSync(manifestOf(other.output)));
    const code = mode === 'framed' ? 'ERR_MASTER_COMMITMENT' : 'ERR_MASTER_AUTHENTICATION';
    expect(await codeOf(verifyMaster({ source: output, dataKeys }))).toBe(code);
  });

  test.each([
    ['no JSON', '{'],
    ['no object', '[]'],
    ['an unknown field', (m: object) => ({ ...m, title: 'Aurora' })],
    ['a missing field', ({ mode: _mode, ...m }: MasterManifest) => m],
    ['a negative size', (m: object) => ({ ...m, plaintextBytes: -1 })],
    ['no base64', (m: object) => ({ ...m, iv: 'a b' })],
    ['an IV of another length', (m: object) => ({ ...m, iv: randomBytes(8).toString('base64') })],
    ['a MAC where there is none', (m: object) => ({ ...m, mac: 'AAAA' })],
    ['another format', (m: object) => ({ ...m, format: 'portcullis-master/2' })],
  ])('is read strictly: %s', async (_, change) => {
    const { manifest } = await encrypt(file(10), 'gcm');
    const json =
      typeof change === 'string' ? change : JSON.stringify((change as (m: MasterManifest) => object)(manifest));
    expect(() => parseManifest(json)).toThrow(expect.objectContaining({ code: 'ERR_MASTER_MANIFEST' }));
  });

  test('of a file of another length does not belong to it', async () => {
    const { output } = await encrypt(file(100), 'framed');
    appendFileSync(output, 'x');
    expect(await codeOf(verifyMaster({ source: output, dataKeys }))).toBe('ERR_MASTER_MANIFEST_MISMATCH');
  });

  test('is signed with Ed25519 when a key is given, and held to the one that is asked for', async () => {
    const [studio, stranger] = [generateKeyPairSync('ed25519'), generateKeyPairSync('ed25519')];
    const { output } = await encrypt(file(100), 'framed', { signKey: studio.privateKey });
    const verify = (verifyKey = studio.publicKey) => codeOf(verifyMaster({ source: output, dataKeys, verifyKey }));
    expect(await verify()).toBe('opened');
    expect(await verify(stranger.publicKey)).toBe('ERR_MASTER_SIGNATURE');
    rewrite(output, ({ signatures }) => signatures.pop());
    expect(await verify()).toBe('ERR_MASTER_SIGNATURE');
    expect(await codeOf(verifyMaster({ source: output, dataKeys }))).toBe('opened');
  });
});

describe('recipients', () => {
  const pairs = {
    'P-256': generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    X25519: generateKeyPairSync('x25519'),
    RSA: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  };

  test.each(Object.entries(pairs))(
    'the owner of a %s key opens a master that KMS knows nothing of',
    async (_, pair) => {
      const { output } = await encrypt(file(1000), 'framed', { kms: undefined, publicKeys: [pair.publicKey] });
      expect(await codeOf(verifyMaster({ source: output, privateKey: pair.privateKey }))).toBe('opened');
      const stranger = generateKeyPairSync('x25519').privateKey;
      expect(await codeOf(verifyMaster({ source: output, privateKey: stranger }))).toBe('ERR_MASTER_RECIPIENT');
      expect(await codeOf(verifyMaster({ source: output, dataKeys }))).toBe('ERR_MASTER_RECIPIENT');
    },
  );

  test('several open the same master; keys that are too weak or for signing are refused', async () => {
    const publicKeys = [pairs.RSA.publicKey, pairs.X25519.publicKey];
    const { output, manifest } = await encrypt(file(1000), 'gcm', { publicKeys });
    expect(manifest.recipients.map(({ type }) => type)).toEqual(['kms', 'public-key', 'public-key']);
    for (const key of [{ dataKeys }, { privateKey: pairs.RSA.privateKey }, { privateKey: pairs.X25519.privateKey }]) {
      expect(await codeOf(verifyMaster({ source: output, ...key }))).toBe('opened');
    }
    for (const weak of [generateKeyPairSync('rsa', { modulusLength: 1024 }), generateKeyPairSync('ed25519')]) {
      const refused = encrypt(file(10), 'gcm', { publicKeys: [weak.publicKey], output: path('weak') });
      expect(await codeOf(refused)).toBe('ERR_MASTER_RECIPIENT');
      expect(filesOf(path('weak'))).toEqual([]);
    }
  });

  test('a key put in the place of the real one opens nothing', async () => {
    const mine = pairs.X25519;
    const { output } = await encrypt(file(100), 'framed', { publicKeys: [mine.publicKey] });
    const forged = await encrypt(file(100), 'framed', { publicKeys: [mine.publicKey] });
    rewrite(output, (manifest) => {
      manifest.recipients = forged.manifest.recipients;
    });
    expect(await codeOf(verifyMaster({ source: output, privateKey: mine.privateKey }))).toBe('ERR_MASTER_SIGNATURE');
  });

  test('the key of another master, put into the manifest, is not wrapped for anybody', async () => {
    const mine = pairs.X25519;
    const partner = { ...kms, context: { service: 'partner' } };
    const { output, manifest } = await encrypt(file(100), 'gcm', { publicKeys: [mine.publicKey] });
    const other = await encrypt(file(100), 'gcm', { publicKeys: [mine.publicKey] });
    const [ours, theirs] = [manifest.recipients, other.manifest.recipients];
    for (const recipients of [theirs, [...theirs.slice(0, 1), ...ours]]) {
      rewrite(output, (m) => Object.assign(m, { recipients }));
      const before = readFileSync(manifestOf(output));
      for (const change of [{ kms: partner }, { add: [pairs.RSA.publicKey] }]) {
        const open = { dataKeys };
        expect(await codeOf(rewrapMaster({ master: output, ...change, open }))).toBe('ERR_MASTER_SIGNATURE');
      }
      expect(readFileSync(manifestOf(output))).toEqual(before);
    }
    // A recipient who is real opens it: then that key is wrapped, not the one that was put in.
    await rewrapMaster({ master: output, kms: partner, open: { privateKey: mine.privateKey } });
    expect(await codeOf(verifyMaster({ source: output, dataKeys }))).toBe('opened');
  });

  test('a wrong context of KMS is a refusal of KMS', async () => {
    const { output } = await encrypt(file(100), 'gcm');
    rewrite(output, ({ recipients: [first] }) => {
      if (first?.type === 'kms') first.context = { service: 'elastictranscoder.amazonaws.com' };
    });
    await expect(verifyMaster({ source: output, dataKeys })).rejects.toMatchObject({
      code: 'ERR_KMS_INVALID_CIPHERTEXT',
      message: expect.stringContaining('{"service":"elastictranscoder.amazonaws.com"}'),
    });
  });

  test('a context of the caller is the one to decrypt in, and is told beside that of the manifest', async () => {
    const { output } = await encrypt(file(100), 'gcm');
    expect(await codeOf(verifyMaster({ source: output, dataKeys, context: CONTEXT }))).toBe('opened');
    await expect(verifyMaster({ source: output, dataKeys, context: { service: 'x' } })).rejects.toMatchObject({
      code: 'ERR_KMS_INVALID_CIPHERTEXT',
      message: `wrong encryption context: expected ${JSON.stringify(CONTEXT)}, supplied {"service":"x"}`,
    });
  });

  test.each(['gcm', 'framed'] as const)('of %s are not changed by rewrap beside another file', async (mode) => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519');
    const signed = { signKey: privateKey, publicKeys: [pairs.X25519.publicKey] };
    const { output } = await encrypt(file(1000), mode, signed);
    const others = {
      longer: await encrypt(file(2000), mode, signed),
      same: await encrypt(file(1000), mode, signed),
      unsigned: await encrypt(file(1000), mode, { publicKeys: [pairs.X25519.publicKey] }),
    };
    const whole = readFileSync(manifestOf(output));
    const archive = { dataKeys, keyId: kms.keyId, context: { service: 'archive' } };
    const remove = [others.same.manifest.recipients[1]?.keyId ?? ''];
    const expectations = [
      [others.longer.output, { kms: archive }, 'ERR_MASTER_MANIFEST_MISMATCH'],
      [others.longer.output, { remove }, 'ERR_MASTER_MANIFEST_MISMATCH'],
      [others.unsigned.output, { kms: archive, verifyKey: publicKey }, 'ERR_MASTER_SIGNATURE'],
      [others.unsigned.output, { remove, verifyKey: publicKey }, 'ERR_MASTER_SIGNATURE'],
      // Of the other modes nothing but the master itself would tell.
      [others.same.output, { kms: archive }, mode === 'framed' ? 'ERR_MASTER_COMMITMENT' : 'opened'],
    ] as const;
    for (const [other, change, code] of expectations) {
      const exchanged = readFileSync(manifestOf(other));
      writeFileSync(manifestOf(output), exchanged);
      expect(
        await codeOf(
          rewrapMaster({ master: output, ...change, remove: [...('remove' in change ? change.remove : [])] }),
        ),
      ).toBe(code);
      if (code !== 'opened') expect(readFileSync(manifestOf(output))).toEqual(exchanged);
    }
    writeFileSync(manifestOf(output), whole);
    await rewrapMaster({ master: output, kms: archive, verifyKey: publicKey });
    expect(await codeOf(verifyMaster({ source: output, dataKeys, verifyKey: publicKey }))).toBe('opened');
  });

  test('are changed by rewrap, which leaves the master as it is', async () => {
    const { privateKey, publicKey } = pairs['P-256'];
    const { output, bytes } = await encrypt(file(1000), 'gcm');
    const archive = (await dataKeys.createKey({ alias: 'alias/archive' })).arn;
    const toArchive = { dataKeys, keyId: 'alias/archive', context: { service: 'portcullis' } };
    await rewrapMaster({ master: output, kms: toArchive });
    const moved = await rewrapMaster({ master: output, add: [publicKey], open: { dataKeys } });
    expect(moved.recipients).toMatchObject([
      { type: 'kms', keyId: archive, context: { service: 'portcullis' } },
      { type: 'public-key' },
    ]);
    expect(await codeOf(verifyMaster({ source: output, dataKeys }))).toBe('opened');
    expect(await codeOf(verifyMaster({ source: output, privateKey }))).toBe('opened');
    await rewrapMaster({ master: output, remove: [archive] });
    expect(await codeOf(verifyMaster({ source: output, dataKeys }))).toBe('ERR_MASTER_RECIPIENT');
    const last = moved.recipients[1]?.keyId ?? '';
    expect(await codeOf(rewrapMaster({ master: output, remove: [last] }))).toBe('ERR_MASTER_RECIPIENT');
    expect(await codeOf(rewrapMaster({ master: output, remove: ['nobody'] }))).toBe('ERR_MASTER_RECIPIENT');
    await rewrapMaster({ master: output, kms, open: { privateKey } });
    expect(await codeOf(verifyMaster({ source: output, dataKeys }))).toBe('opened');
    expect(readFileSync(output).equals(bytes)).toBe(true);
    expect(filesOf(output)).toEqual([basename(output), basename(manifestOf(output))]);
  });
});

describe.each(['ctr', 'cbc'] as const)('an interrupted run in %s', (mode) => {
  /** Interrupts a run at its first progress; its threads have written some of the output by then. */
  const interrupt = async (source: string, output: string, options = {}) => {
    const controller = new AbortController();
    const run = encrypt(source, mode, {
      ...options,
      output,
      onProgress: () => controller.abort(),
      signal: controller.signal,
    });
    return codeOf(run);
  };
  const leave = async (name: string, options = {}) => {
    const [source, output] = [file(12 * MIB), path(`${name}-${mode}`)];
    const code = await interrupt(source, output, options);
    expect(code).toBe('ERR_MASTER_INTERRUPTED');
    return { source, output };
  };

  test('goes on where it was, and nothing shows that it was interrupted', async () => {
    const { source, output } = await leave('resumed');
    truncateSync(`${output}.partial`, Math.min(statSync(`${output}.partial`).size, 2 * MIB + 5));
    expect(filesOf(output)).toEqual([`${basename(output)}.partial`, `${basename(output)}.partial.json`]);
    expect(await codeOf(encrypt(source, mode, { output }))).toBe('ERR_MASTER_UNFINISHED');
    await encrypt(source, mode, { output, resume: true });
    expect(await codeOf(verifyMaster({ source: output, dataKeys }))).toBe('opened');
    expect(filesOf(output)).toEqual([basename(output), basename(manifestOf(output))]);
  });

  test('does not go on with a changed source, another IV or a state that was changed', async () => {
    const { source, output } = await leave('changed');
    const again = (options = {}) => codeOf(encrypt(source, mode, { output, resume: true, ...options }));
    const state = readFileSync(`${output}.partial.json`, 'utf8');
    const other = mode === 'ctr' ? 'cbc' : 'ctr';
    expect(await codeOf(encrypt(source, other, { output, resume: true }))).toBe('ERR_MASTER_RESUME');
    for (const change of [
      (s: { iv: string }) => Object.assign(s, { iv: randomBytes(16).toString('base64') }),
      (s: { source: { bytes: number } }) => Object.assign(s.source, { changedNs: '1' }),
      (s: object) => Object.assign(s, { key: 'value' }),
    ]) {
      const changed = JSON.parse(state);
      change(changed);
      writeFileSync(`${output}.partial.json`, JSON.stringify(changed));
      expect(await again()).toBe('ERR_MASTER_RESUME');
    }
    writeFileSync(`${output}.partial.json`, state);
    const dataKey = randomBytes(32);
    expect(await again({ dataKey, kms: undefined })).toBe('ERR_MASTER_RESUME');
    appendFileSync(source, 'x');
    expect(await again()).toBe('ERR_MASTER_RESUME');
  });

  test('does not go on with a source of the same length and time but other content', async () => {
    const { source, output } = await leave('forged');
    const { atime, mtime, size } = statSync(source);
    const content = readFileSync(source);
    content[0] = (content[0] ?? 0) ^ 1;
    writeFileSync(source, content);
    await utimes(source, atime, mtime);
    const state = JSON.parse(readFileSync(`${output}.partial.json`, 'utf8'));
    expect(state.source.bytes).toBe(size);
    expect(await codeOf(encrypt(source, mode, { output, resume: true }))).toBe('ERR_MASTER_RESUME');
  });

  test('does not go on for other recipients, and does with the same', async () => {
    const [owner, partner] = [generateKeyPairSync('x25519'), generateKeyPairSync('x25519')];
    const { source, output } = await leave('recipients', { publicKeys: [owner.publicKey] });
    await dataKeys.createKey({ alias: `alias/other-${mode}` });
    const again = (options: object) => codeOf(encrypt(source, mode, { output, resume: true, ...options }));
    for (const options of [
      {},
      { publicKeys: [partner.publicKey] },
      { publicKeys: [owner.publicKey, partner.publicKey] },
      { publicKeys: [owner.publicKey], kms: { ...kms, keyId: `alias/other-${mode}` } },
      { publicKeys: [owner.publicKey], kms: { ...kms, context: { service: 'portcullis' } } },
      { publicKeys: [owner.publicKey], kms: undefined },
      { publicKeys: [owner.publicKey], dataKey: randomBytes(32) },
    ]) {
      expect(await again(options)).toBe('ERR_MASTER_RESUME');
    }
    await encrypt(source, mode, { output, resume: true, publicKeys: [owner.publicKey] });
    expect(await codeOf(verifyMaster({ source: output, privateKey: owner.privateKey }))).toBe('opened');
    expect(await codeOf(verifyMaster({ source: output, dataKeys }))).toBe('opened');
  });

  test('for public keys alone leaves nothing, because nothing here could go on with it', async () => {
    const [source, output] = [file(12 * MIB), path(`public-${mode}`)];
    const publicKeys = [generateKeyPairSync('x25519').publicKey];
    expect(await interrupt(source, output, { kms: undefined, publicKeys })).toBe('ERR_MASTER_INTERRUPTED');
    expect(filesOf(output)).toEqual([]);
  });

  test('has left no key, and its key and IV are not used for anything else', async () => {
    const dataKey = randomBytes(32);
    const pair = { dataKey, iv: randomBytes(16), kms: undefined };
    const { output } = await leave('secret', pair);
    const state = readFileSync(`${output}.partial.json`, 'latin1');
    for (const encoding of ['hex', 'base64', 'base64url', 'latin1'] as const) {
      expect(state.includes(dataKey.toString(encoding))).toBe(false);
    }
    expect(statSync(`${output}.partial.json`).mode & 0o777).toBe(0o600);
    expect(await codeOf(encrypt(file(100), mode, { ...pair, output, force: true }))).toBe('ERR_MASTER_IV_REUSE');
  });
});

/**
 * Encrypts in a process of its own, which kills itself before its n-th change of the file system; n = 0: never. Exit code of the
 * process; null when it was killed.
 */
function encryptAndDie(request: object, n: number): number | null {
  const module = packagePath('dist', 'lib', 'enclave-render', 'mastering', 'encrypt.js');
  const script = `
    import fs from 'node:fs';
    import { syncBuiltinESMExports } from 'node:module';
    let calls = 0;
    const dying = (call) => function (...args) {
      if (++calls === ${n}) process.kill(process.pid, 'SIGKILL');
      return call.apply(this, args);
    };
    for (const name of ['open', 'rename', 'rm']) fs.promises[name] = dying(fs.promises[name]);
    const handle = await fs.promises.open(process.execPath);
    const { prototype } = handle.constructor;
    await handle.close();
    for (const name of ['sync', 'writeFile', 'close']) prototype[name] = dying(prototype[name]);
    calls = 0;
    syncBuiltinESMExports();
    const { encryptMaster } = await import(${JSON.stringify(module)});
    const request = ${JSON.stringify(request)};
    await encryptMaster({ ...request, dataKey: Buffer.from(request.dataKey, 'hex') });
    process.exit(0);`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', script], { stdio: 'ignore' }).status;
}

test.each(['gcm', 'ctr'] as const)(
  'a run in %s that dies at any moment leaves no master without its manifest',
  async (mode) => {
    const dataKey = randomBytes(32);
    const output = path(`dying-${mode}`);
    const [first, second] = [file(1000), file(2000)];
    const begin = { output, mode, dataKey: dataKey.toString('hex'), now: 1 };
    const opened = async () => (await verifyMaster({ source: output, dataKey })).plaintextBytes;
    let died = 0;
    // At every call in the long tests.
    for (let n = 1; n < 100; n += LONG ? 1 : 3) {
      for (const name of filesOf(output)) rmSync(join(folder, name));
      // Once into nothing, once over a master that is there.
      for (const [source, force] of [
        [first, false],
        [second, true],
      ] as const) {
        const status = encryptAndDie({ ...begin, source, force }, n);
        if (status !== null) expect(status).toBe(0);
        else died++;
        if (existsSync(output)) expect([1000, 2000]).toContain(await opened());
        else {
          // Between the partial and its state nothing was encrypted yet, so that there is nothing to go on with.
          const resume = mode === 'ctr' && existsSync(`${output}.partial.json`);
          const again = { ...begin, source, dataKey, kms: undefined, resume, force: !resume };
          expect(existsSync(`${output}.partial`) || status === null).toBe(true);
          await encrypt(source, mode, again);
          expect(await opened()).toBe(statSync(source).size);
        }
        if (status === 0 && force) {
          expect(filesOf(output)).toEqual([basename(output), basename(manifestOf(output))]);
          expect(died).toBeGreaterThan(LONG ? 10 : 3);
          return;
        }
      }
    }
    throw new Error('it never came to its end');
  },
);

test.each(['gcm', 'ctr'] as const)('a source and its manifest are never lost to an output of %s', async (mode) => {
  const { output: master } = await encrypt(file(1000), mode);
  for (const output of [master, manifestOf(master)]) {
    expect(await codeOf(decryptMaster({ source: master, output, force: true, dataKeys }))).toBe('ERR_MASTER_EXISTS');
  }
  expect(await codeOf(verifyMaster({ source: master, dataKeys }))).toBe('opened');
  const beside = ['.manifest.json', '.partial', '.partial.json', '.manifest.json.partial'];
  for (const ending of beside) {
    const source = file(1000, `kept-${mode}${ending}`);
    const content = readFileSync(source);
    const output = source.slice(0, -ending.length);
    expect(await codeOf(encrypt(source, mode, { output, force: true }))).toBe('ERR_MASTER_EXISTS');
    expect(readFileSync(source)).toEqual(content);
    expect(filesOf(output)).toEqual([basename(source)]);
    rmSync(source);
  }
});

test('an output that is a folder is refused before the work', async () => {
  const { output: master } = await encrypt(file(1000), 'gcm');
  const inUse = path('in-use');
  mkdirSync(inUse);
  mkdirSync(manifestOf(path('beside')));
  mkdirSync(path('begun.partial'));
  let isWorking = false;
  const onProgress = () => {
    isWorking = true;
  };
  const hooks = { force: true, onProgress };
  for (const output of [inUse, path('beside'), path('begun')]) {
    expect(await codeOf(encrypt(master, 'gcm', { output, ...hooks }))).toBe('ERR_MASTER_FILE');
  }
  expect(await codeOf(decryptMaster({ source: master, output: inUse, dataKeys, ...hooks }))).toBe('ERR_MASTER_FILE');
  expect(isWorking).toBe(false);
  expect(filesOf(inUse)).toEqual([basename(inUse)]);
});

test('no file of a run holds the plaintext or the key', async () => {
  const [source, dataKey] = [file(6 * MIB), randomBytes(32)];
  const [plaintext, before] = [readFileSync(source), new Set(readdirSync(folder))];
  for (const mode of ['gcm', 'ctr', 'cbc', 'framed'] as const) {
    const controller = new AbortController();
    const options = { dataKey, signal: controller.signal, onProgress: () => controller.abort() };
    await encrypt(source, mode, options).catch(() => undefined);
    await encrypt(source, mode, { dataKey });
  }
  const written = readdirSync(folder).filter((name) => !before.has(name));
  expect(written.length).toBeGreaterThan(8);
  for (const name of written) {
    const content = readFileSync(path(name));
    for (let at = 0; at < plaintext.length; at += MIB)
      expect(content.includes(plaintext.subarray(at, at + 32))).toBe(false);
    for (const encoding of ['hex', 'base64', 'latin1'] as const) {
      expect(content.includes(Buffer.from(dataKey.toString(encoding), encoding === 'latin1' ? 'latin1' : 'utf8'))).toBe(
        false,
      );
    }
  }
});
