import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decryptMaster } from '../../../enclave-render/mastering/decrypt.ts';
import { framedHeader, framedKey, HEADER_BYTES, SEGMENT_BYTES } from '../../../enclave-render/mastering/framed.ts';
import { openMaster } from '../../../enclave-render/mastering/open-master.ts';
import { segmentCipher, segmentLayout } from '../../../enclave-render/mastering/segment-cipher.ts';
import { filesOf, mastersFolder, sha256 } from '../../harness/masters.ts';
import { LONG } from '../../harness/programs.ts';
import vectors from './framed-vectors.json' with { type: 'json' };

const { file, encrypt, path, dataKeys } = mastersFolder();
const OWN_KEY = createHash('sha256').update('own key').digest();
const hex = (text: string) => Buffer.from(text, 'hex');

/** Seals with a salt of the vectors; `encryptMaster` takes a random one. */
function seal(dataKey: Buffer, salt: Buffer, plaintext: Buffer): Buffer {
  const job = { mode: 'framed', direction: 'encrypt', dataKey, iv: salt, inputBytes: plaintext.length } as const;
  const [cipher, { count, range }] = [segmentCipher(job), segmentLayout(job)];
  const parts = Array.from({ length: count }, (_, index) => {
    const { offset, length } = range(index);
    return Buffer.concat(cipher.transform(index, plaintext.subarray(offset, offset + length)));
  });
  return Buffer.concat(parts);
}

const open = (master: Buffer, dataKey: Buffer, output: string) =>
  decryptMaster({ source: file(master), output, dataKey, force: true, withoutManifest: { mode: 'framed' } });

describe('the vectors of framed', () => {
  test.each(vectors.good)('$name', async ({ dataKey, salt, plaintext, master }) => {
    expect(seal(hex(dataKey), hex(salt), hex(plaintext)).toString('hex')).toBe(master);
    await open(hex(master), hex(dataKey), path('good'));
    expect(readFileSync(path('good')).toString('hex')).toBe(plaintext);
  });

  test.each(vectors.long)('$name', ({ dataKey, salt, length, masterBytes, masterSha256 }) => {
    const plaintext = Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8)) & 255));
    const master = seal(hex(dataKey), hex(salt), plaintext);
    expect([master.length, sha256(master)]).toEqual([masterBytes, masterSha256]);
  });

  test.each(vectors.bad)('$name: $code', async ({ dataKey, master, code }) => {
    await expect(open(hex(master), hex(dataKey), path('bad'))).rejects.toMatchObject({ code });
    expect(filesOf(path('bad'))).toEqual([]);
  });
});

/** A cipher block and a byte more: all parts that a master of one segment has, in few bits. */
const SMALL = 17;

describe.each(['framed', 'gcm', 'ctr', 'cbc'] as const)('a small master in %s', (mode) => {
  test('is refused with any bit changed and any length cut off, and leaves nothing behind', async () => {
    const { output, bytes } = await encrypt(file(SMALL), mode, { output: path(`small-${mode}`), dataKey: OWN_KEY });
    const manifest = readFileSync(`${output}.manifest.json`);
    const tampered = path(`tampered-${mode}`);
    file(manifest, `tampered-${mode}.manifest.json`);
    const refusals = new Map<string, number>();
    const refuse = async (altered: Buffer) => {
      file(altered, `tampered-${mode}`);
      const target = path(`out-${mode}`);
      const code = await decryptMaster({ source: tampered, output: target, dataKey: OWN_KEY }).then(
        () => 'opened',
        (error) => error.code,
      );
      refusals.set(code, (refusals.get(code) ?? 0) + 1);
      expect(filesOf(target)).toEqual([]);
    };
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const altered = Buffer.from(bytes);
      altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await refuse(altered);
    }
    for (let length = 0; length < bytes.length; length++) await refuse(bytes.subarray(0, length));
    const header = mode === 'framed' ? HEADER_BYTES * 8 : 0;
    expect(Object.fromEntries(refusals)).toEqual({
      ...(header > 0 ? { ERR_MASTER_COMMITMENT: header } : {}),
      ERR_MASTER_AUTHENTICATION: bytes.length * 8 - header,
      ERR_MASTER_MANIFEST_MISMATCH: bytes.length,
    });
  });
});

test('without its manifest, too, a framed or GCM master is refused with any bit changed and any length cut off', async () => {
  const dataKey = OWN_KEY;
  for (const mode of ['framed', 'gcm'] as const) {
    const { bytes, manifest } = await encrypt(file(SMALL), mode, { dataKey });
    const iv = manifest.iv === undefined ? undefined : Buffer.from(manifest.iv, 'base64');
    const opens = (altered: Buffer) =>
      decryptMaster({ source: file(altered, 'cut'), output: path('cut-out'), dataKey, withoutManifest: { mode, iv } });
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const altered = Buffer.from(bytes);
      altered[bit >> 3] = (altered[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      await expect(opens(altered)).rejects.toThrow(/changed/);
    }
    for (let length = 0; length < bytes.length; length++)
      await expect(opens(bytes.subarray(0, length))).rejects.toThrow();
    expect(filesOf(path('cut-out'))).toEqual([]);
  }
});

test('segments of a framed master cannot be moved, repeated, left out or taken from another one', async () => {
  const dataKey = createHash('sha256').update('segments').digest();
  const [a, b] = [
    await encrypt(file(3 * SEGMENT_BYTES), 'framed', { dataKey }),
    await encrypt(file(3 * SEGMENT_BYTES), 'framed', { dataKey }),
  ];
  const parts = ({ bytes }: { bytes: Buffer }) => {
    const stride = SEGMENT_BYTES + 16;
    const segment = (i: number) => bytes.subarray(HEADER_BYTES + i * stride, HEADER_BYTES + (i + 1) * stride);
    return { head: bytes.subarray(0, HEADER_BYTES), s: [segment(0), segment(1), segment(2)] as const };
  };
  const [mine, theirs] = [parts(a), parts(b)];
  const [s0, s1, s2] = mine.s;
  for (const [what, segments] of Object.entries({
    swapped: [s1, s0, s2],
    repeated: [s0, s0, s1, s2],
    'left out': [s0, s2],
    'cut off at the end': [s0, s1],
    appended: [s0, s1, s2, s2],
    'of another master': [s0, theirs.s[1], s2],
    'all of another master': theirs.s,
  })) {
    const opened = open(Buffer.concat([mine.head, ...segments]), dataKey, path('moved'));
    await expect(opened, what).rejects.toMatchObject({ code: 'ERR_MASTER_AUTHENTICATION' });
    expect(filesOf(path('moved'))).toEqual([]);
  }
});

test('keys of a framed master differ by salt and by what they are for', () => {
  const dataKey = Buffer.alloc(32, 1);
  const keys = [Buffer.alloc(32, 2), Buffer.alloc(32, 3)].flatMap((salt) => [
    framedKey(dataKey, salt).toString('hex'),
    framedHeader(dataKey, salt).subarray(44).toString('hex'),
  ]);
  expect(new Set([...keys, dataKey.toString('hex')]).size).toBe(5);
});

test('any range of any master is what the plaintext has there', async () => {
  for (const mode of ['framed', 'gcm', 'ctr', 'cbc'] as const) {
    const size = 3 * SEGMENT_BYTES + 7;
    const { output } = await encrypt(file(size, `plain-${mode}`), mode);
    const plaintext = readFileSync(path(`plain-${mode}`));
    const reader = await openMaster(output, { dataKeys });
    await fc.assert(
      fc.asyncProperty(fc.nat(size + 10), fc.nat(2 * SEGMENT_BYTES), async (offset, length) => {
        const bytes = await reader.read(offset, length);
        expect(plaintext.subarray(offset, offset + length).equals(bytes)).toBe(true);
      }),
      { numRuns: LONG ? 60 : 15 },
    );
    await reader.close();
  }
});
