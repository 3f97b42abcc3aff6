import { execFileSync } from 'node:child_process';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { appendFileSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { decryptMaster, verifyMaster } from '../../../enclave-render/mastering/decrypt.ts';
import { encryptMaster } from '../../../enclave-render/mastering/encrypt.ts';
import { checkDataKey, readDataKeyFile } from '../../../enclave-render/mastering/key-files.ts';
import { checkPlaintextLength, MASTER_MODES } from '../../../enclave-render/mastering/modes.ts';
import { ciphertextLength, counterAt, segmentLayout } from '../../../enclave-render/mastering/segment-cipher.ts';
import { filesOf, mastersFolder } from '../../harness/masters.ts';
import { isOnPath, LONG } from '../../harness/programs.ts';

const MIB = 1 << 20;
const { file, encrypt, path, dataKeys } = mastersFolder();

/** Lengths about which something changes: blocks, segments, threads (from 4 MiB). */
const LENGTHS = [0, 1, 15, 16, 17, MIB - 1, MIB, MIB + 1, 3 * MIB + 5, 5 * MIB, ...(LONG ? [6 * MIB + 3] : [])];
const KEY_BYTES = [16, 24, 32];

describe.skipIf(!isOnPath('openssl')).each(['ctr', 'cbc'] as const)('%s beside openssl', (mode) => {
  test.each(KEY_BYTES)('equals openssl enc byte for byte, with a key of %i bytes', async (keyBytes) => {
    // What threads do does not depend on the key: with one of them in the everyday run, with all in the long tests.
    const lengths = LENGTHS.filter((length) => LONG || keyBytes === 32 || length < 2 * MIB);
    for (const length of lengths) {
      const [source, dataKey, iv] = [file(length), randomBytes(keyBytes), randomBytes(16)];
      const { output, bytes } = await encrypt(source, mode, { dataKey, iv });
      const options = ['enc', `-aes-${keyBytes * 8}-${mode}`, '-K', dataKey.toString('hex'), '-iv', iv.toString('hex')];
      execFileSync('openssl', [...options, '-in', source, '-out', path('openssl')]);
      expect(bytes.equals(readFileSync(path('openssl')))).toBe(true);
      // And back, also without a manifest.
      await decryptMaster({
        source: path('openssl'),
        output: path('back'),
        dataKey,
        withoutManifest: { mode, iv, unauthenticated: true },
        force: true,
      });
      expect(readFileSync(path('back')).equals(readFileSync(source))).toBe(true);
      await decryptMaster({ source: output, output: path('back'), dataKeys, force: true });
      expect(readFileSync(path('back')).equals(readFileSync(source))).toBe(true);
    }
  });
});

/**
 * GCM by its specification (NIST SP 800-38D §6.4, §7.1), in big integers, with nothing of OpenSSL but the block cipher: slow, and
 * independent of the implementation that is tested.
 */
function gcmByTheBook(key: Buffer, iv: Buffer, plaintext: Buffer): Buffer {
  const ecb = createCipheriv(`aes-${key.length * 8}-ecb`, key, null).setAutoPadding(false);
  const block = (bytes: Uint8Array) => ecb.update(bytes);
  const number = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).toString('hex') || '0'}`);
  const bytesOf = (value: bigint) => Buffer.from(value.toString(16).padStart(32, '0'), 'hex');
  const multiply = (x: bigint, y: bigint) => {
    let [z, v] = [0n, y];
    for (let i = 127n; i >= 0n; i--) {
      if ((x >> i) & 1n) z ^= v;
      v = v & 1n ? (v >> 1n) ^ (0xe1n << 120n) : v >> 1n;
    }
    return z;
  };
  const h = number(block(Buffer.alloc(16)));
  const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc((16 - (bytes.length % 16)) % 16)]);
  const lengths = (aad: number, bytes: number) => bytesOf((BigInt(aad * 8) << 64n) | BigInt(bytes * 8));
  const ghash = (bytes: Buffer) => {
    let y = 0n;
    for (let at = 0; at < bytes.length; at += 16) y = multiply(y ^ number(bytes.subarray(at, at + 16)), h);
    return y;
  };
  const j0 =
    iv.length === 12
      ? Buffer.concat([iv, Buffer.from([0, 0, 0, 1])])
      : bytesOf(ghash(Buffer.concat([padded(iv), lengths(0, iv.length)])));
  const counter = Buffer.from(j0);
  const ciphertext = Buffer.alloc(plaintext.length);
  for (let at = 0; at < plaintext.length; at += 16) {
    counter.writeUInt32BE((counter.readUInt32BE(12) + 1) % 2 ** 32, 12);
    const keystream = block(counter);
    for (let i = 0; i < 16 && at + i < plaintext.length; i++)
      ciphertext[at + i] = (plaintext[at + i] ?? 0) ^ (keystream[i] ?? 0);
  }
  const s = ghash(Buffer.concat([padded(ciphertext), lengths(0, ciphertext.length)]));
  return Buffer.concat([ciphertext, bytesOf(s ^ number(block(j0)))]);
}

describe('gcm', () => {
  test.each(KEY_BYTES)('is what the specification says, tag at the end, with a key of %i bytes', async (keyBytes) => {
    for (const ivBytes of [12, 16]) {
      for (const length of [0, 1, 16, 1000, LONG ? 20_000 : 5000]) {
        const [source, dataKey, iv] = [file(length), randomBytes(keyBytes), randomBytes(ivBytes)];
        const { bytes } = await encrypt(source, 'gcm', { dataKey, iv });
        expect(bytes.equals(gcmByTheBook(dataKey, iv, readFileSync(source)))).toBe(true);
      }
    }
  });

  test('opens elsewhere also when threads made it', async () => {
    for (const length of LENGTHS) {
      const [source, dataKey, iv] = [file(length), randomBytes(32), randomBytes(12)];
      const { bytes } = await encrypt(source, 'gcm', { dataKey, iv });
      const decipher = createDecipheriv('aes-256-gcm', dataKey, iv).setAuthTag(bytes.subarray(-16));
      const plaintext = Buffer.concat([decipher.update(bytes.subarray(0, -16)), decipher.final()]);
      expect(plaintext.equals(readFileSync(source))).toBe(true);
    }
  });

  test('refuses a plaintext longer than its counter before anything is read', async () => {
    expect(() => checkPlaintextLength('gcm', 2 ** 36 - 32)).not.toThrow();
    const source = file(0);
    truncateSync(source, 2 ** 36 - 31);
    await expect(encrypt(source, 'gcm', { output: path('too-long') })).rejects.toMatchObject({
      code: 'ERR_MASTER_TOO_LONG',
    });
    expect(filesOf(path('too-long'))).toEqual([]);
  });
});

test('a counter goes on beyond 64 bits and begins anew after 128, as that of openssl', () => {
  const iv = Buffer.from('ffffffffffffffffffffffffffffffff', 'hex');
  expect(counterAt(iv, 2).toString('hex')).toBe('00000000000000000000000000000001');
  expect(counterAt(Buffer.from('0000000000000000ffffffffffffffff', 'hex'), 1).toString('hex')).toBe(
    '00000000000000010000000000000000',
  );
});

test.each(MASTER_MODES)('the segments of %s cover a file of any length, without gap and overlap', (mode) => {
  for (const length of LENGTHS) {
    for (const [direction, inputBytes] of [
      ['encrypt', length],
      ['decrypt', ciphertextLength(mode, length)],
    ] as const) {
      const { count, range } = segmentLayout({ mode, direction, inputBytes });
      let end = 0;
      for (let index = 0; index < count; index++) {
        expect(range(index).offset).toBe(end);
        end += range(index).length;
      }
      expect(end).toBe(inputBytes);
    }
  }
});

test.each(MASTER_MODES)('%s gives back files of any length, and what it made is verified', async (mode) => {
  for (const length of LENGTHS) {
    const source = file(length);
    const { output, manifest } = await encrypt(source, mode);
    expect(manifest.ciphertextBytes).toBe(statSync(output).size);
    const verified = await verifyMaster({ source: output, dataKeys });
    expect(verified).toMatchObject({ mode, plaintextBytes: length, authenticated: true });
    await decryptMaster({ source: output, output: path(`plain-${mode}`), dataKeys, force: true });
    expect(readFileSync(path(`plain-${mode}`)).equals(readFileSync(source))).toBe(true);
    expect(statSync(path(`plain-${mode}`)).mode & 0o777).toBe(0o600);
  }
});

describe('bad input has a code of its own, and leaves nothing behind', () => {
  const [key, iv] = [randomBytes(32), randomBytes(16)];
  const source = file(1000);
  const base64 = (bytes: number) => Buffer.from(randomBytes(bytes).toString('base64'));

  test.each([
    ['a CTR IV of 12 bytes', 'ctr', { dataKey: key, iv: iv.subarray(4) }, 'ERR_MASTER_IV_LENGTH'],
    ['a CBC IV of 12 bytes', 'cbc', { dataKey: key, iv: iv.subarray(4) }, 'ERR_MASTER_IV_LENGTH'],
    ['a GCM IV of 8 bytes', 'gcm', { dataKey: key, iv: iv.subarray(8) }, 'ERR_MASTER_IV_LENGTH'],
    ['an IV for framed', 'framed', { dataKey: key, iv }, 'ERR_MASTER_IV_LENGTH'],
    ['an IV without a key', 'ctr', { iv }, 'ERR_MASTER_IV_LENGTH'],
    ['a key of 20 bytes', 'ctr', { dataKey: key.subarray(12) }, 'ERR_MASTER_KEY_LENGTH'],
    ['a key of 16 bytes for framed', 'framed', { dataKey: key.subarray(16) }, 'ERR_MASTER_KEY_LENGTH'],
    ['base64 of 16 bytes', 'ctr', { dataKey: base64(16) }, 'ERR_MASTER_KEY_TEXT'],
    ['base64 of 24 bytes', 'ctr', { dataKey: base64(24) }, 'ERR_MASTER_KEY_TEXT'],
    [
      'hexadecimal of 16 bytes',
      'ctr',
      { dataKey: Buffer.from(randomBytes(16).toString('hex')) },
      'ERR_MASTER_KEY_TEXT',
    ],
    ['nobody who could open it', 'gcm', { kms: undefined }, 'ERR_MASTER_RECIPIENT'],
    ['a mode that cannot go on', 'gcm', { resume: true }, 'ERR_MASTER_RESUME'],
  ] as const)('%s', async (_, mode, options, code) => {
    await expect(encrypt(source, mode, { output: path('bad'), ...options })).rejects.toMatchObject({ code });
    expect(filesOf(path('bad'))).toEqual([]);
  });

  test('a key file that others can read', async () => {
    await expect(readDataKeyFile(file(32))).rejects.toMatchObject({ code: 'ERR_MASTER_KEY_PERMISSIONS' });
    expect(await readDataKeyFile(file(key, 'key', 0o600))).toEqual(key);
    expect(() => checkDataKey(base64(32))).toThrow(expect.objectContaining({ code: 'ERR_MASTER_KEY_TEXT' }));
    expect(() => checkDataKey(randomBytes(33))).toThrow(expect.objectContaining({ code: 'ERR_MASTER_KEY_LENGTH' }));
  });

  test('a source or a folder that is not there, or is none', async () => {
    const wrong = { mode: 'gcm', dataKey: key, now: 0 } as const;
    for (const [from, to] of [
      [path('nothing'), path('bad')],
      [path('.'), path('bad')],
      [source, path('nowhere/bad')],
    ] as const) {
      await expect(encryptMaster({ ...wrong, source: from, output: to })).rejects.toMatchObject({
        code: 'ERR_MASTER_FILE',
      });
    }
    expect(filesOf(path('bad'))).toEqual([]);
  });

  test('an output that is there, a manifest that is, and the source itself', async () => {
    const { output } = await encrypt(source, 'gcm');
    const before = readFileSync(output);
    await expect(encrypt(source, 'gcm', { output })).rejects.toMatchObject({ code: 'ERR_MASTER_EXISTS' });
    expect(readFileSync(output).equals(before)).toBe(true);
    await expect(decryptMaster({ source: output, output: source, dataKeys })).rejects.toMatchObject({
      code: 'ERR_MASTER_EXISTS',
    });
    await expect(encrypt(source, 'gcm', { output: source, force: true })).rejects.toMatchObject({
      code: 'ERR_MASTER_EXISTS',
    });
    writeFileSync(path('lonely.manifest.json'), '{}');
    await expect(encrypt(source, 'gcm', { output: path('lonely') })).rejects.toMatchObject({
      code: 'ERR_MASTER_EXISTS',
    });
    const replaced = await encrypt(source, 'ctr', { output, force: true });
    expect((await verifyMaster({ source: replaced.output, dataKeys })).mode).toBe('ctr');
  });

  test('a CBC file whose length is no multiple of 16, a GCM file shorter than its tag', async () => {
    for (const [mode, bytes] of [
      ['cbc', 1001],
      ['cbc', 0],
      ['gcm', 15],
    ] as const) {
      const withoutManifest = { mode, iv, unauthenticated: true };
      const theirs = { source: file(bytes), output: path('bad'), dataKey: key, withoutManifest };
      await expect(decryptMaster(theirs)).rejects.toMatchObject({ code: 'ERR_MASTER_LENGTH' });
    }
    expect(filesOf(path('bad'))).toEqual([]);
  });

  test('CTR or CBC without a manifest and without saying so', async () => {
    const withoutManifest = { mode: 'ctr', iv } as const;
    const theirs = { source, output: path('bad'), dataKey: key, withoutManifest };
    await expect(decryptMaster(theirs)).rejects.toMatchObject({ code: 'ERR_MASTER_NO_MANIFEST' });
    await expect(decryptMaster({ source, output: path('bad'), dataKeys })).rejects.toMatchObject({
      code: 'ERR_MASTER_NO_MANIFEST',
    });
    expect(filesOf(path('bad'))).toEqual([]);
  });

  test.each(MASTER_MODES)('a source that is changed while %s reads it', async (mode) => {
    const changing = file(6 * MIB);
    const appended = encrypt(changing, mode, { output: path('bad'), onProgress: () => appendFileSync(changing, 'x') });
    await expect(appended).rejects.toMatchObject({ code: 'ERR_MASTER_SOURCE_CHANGED' });
    expect(filesOf(path('bad'))).toEqual([]);
  });

  test('the same key and IV again, for a source that changed', async () => {
    for (const mode of ['gcm', 'ctr', 'cbc'] as const) {
      const pair = { dataKey: key, iv: mode === 'gcm' ? iv.subarray(4) : iv };
      const { output } = await encrypt(file(100), mode, pair);
      await expect(encrypt(file(100), mode, { ...pair, output, force: true })).rejects.toMatchObject({
        code: 'ERR_MASTER_IV_REUSE',
      });
      await encrypt(file(100), mode, { dataKey: key, output, force: true });
    }
  });
});
