import { createCipheriv, randomBytes } from 'node:crypto';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { MasterMode } from '../../../enclave-render/mastering/manifest.ts';
import { MASTER_MODES, MODES } from '../../../enclave-render/mastering/modes.ts';
import { cipherPieces, release } from '../../../enclave-render/mastering/pieces.ts';
import { type Transfer, transfer } from '../../../enclave-render/mastering/pipeline.ts';
import { ciphertextLength } from '../../../enclave-render/mastering/segment-cipher.ts';
import { mastersFolder, sha256 } from '../../harness/masters.ts';
import { LONG } from '../../harness/programs.ts';

const MIB = 1 << 20;
const { file, path } = mastersFolder();

/** Neither the length of a segment nor of a block, and in threads. */
const LENGTH = 6 * MIB + 11;
const plaintext = randomBytes(LENGTH);
/** Enough to be at work when it is interrupted. */
const LONG_BYTES = 32 * MIB;
const source = file(plaintext);
const dataKey = randomBytes(32);

function jobOf(mode: MasterMode, direction: 'encrypt' | 'decrypt', inputBytes: number): Transfer['job'] {
  const iv = Buffer.alloc(mode === 'framed' ? 32 : MODES[mode].ivBytes, 7);
  return { mode, direction, dataKey, iv, inputBytes };
}

/** Runs the pipeline from file to file; without `to` nothing is written. */
async function run(job: Transfer['job'], from: string, to?: string, options: Partial<Transfer> = {}) {
  const input = await open(from);
  const output = to === undefined ? undefined : await open(to, options.present ? 'r+' : 'w+');
  try {
    return await transfer({ job, inputFd: input.fd, outputFd: output?.fd, ...options });
  } finally {
    await input.close();
    await output?.close();
  }
}

const masters = new Map<MasterMode, { master: string; bytes: Buffer }>();
/** The source encrypted, once for all tests. */
async function encrypted(mode: MasterMode): Promise<{ master: string; bytes: Buffer }> {
  const made = masters.get(mode);
  if (made) return made;
  const master = path(`master-${mode}`);
  await run(jobOf(mode, 'encrypt', LENGTH), source, master);
  const result = { master, bytes: readFileSync(master) };
  masters.set(mode, result);
  return result;
}

describe.each(MASTER_MODES)('the pipeline in %s', (mode) => {
  const encryption = jobOf(mode, 'encrypt', LENGTH);

  test('makes the same with digests and without, by one thread or two, and gives it back', async () => {
    const { master, bytes } = await encrypted(mode);
    expect(bytes.length).toBe(ciphertextLength(mode, LENGTH));
    // Modes that take one thread alone have no less.
    const one = MODES[mode].parallel ? [{ threads: 1 }, { digests: false, threads: 1 }] : [];
    const all: Partial<Transfer>[] = [{}, { digests: false }, ...one];
    for (const options of all) {
      const result = await run(encryption, source, path('again'), options);
      expect(readFileSync(path('again')).equals(bytes)).toBe(true);
      const isHashed = options.digests !== false;
      expect(result).toEqual({
        inputSha256: isHashed ? sha256(plaintext) : '',
        outputSha256: isHashed ? sha256(bytes) : '',
        outputBytes: bytes.length,
      });
      const decryption = jobOf(mode, 'decrypt', bytes.length);
      const back = await run(decryption, master, path('back'), options);
      expect(readFileSync(path('back')).equals(plaintext)).toBe(true);
      expect(back.outputSha256).toBe(isHashed ? sha256(plaintext) : '');
      if (isHashed) expect(await run(decryption, master, undefined, options)).toEqual(back);
    }
  });

  test.each([true, false])(
    'has written the beginning, without a gap, when its source ends too early',
    async (digests) => {
      const { bytes } = await encrypted(mode);
      const longer = jobOf(mode, 'encrypt', LENGTH + 3 * MIB);
      const refused = run(longer, source, path('short'), { digests });
      await expect(refused).rejects.toMatchObject({ code: 'ERR_MASTER_SOURCE_CHANGED' });
      const written = readFileSync(path('short'));
      // Six whole segments could be read; of two threads one may have been stopped before it wrote.
      expect(written.length).toBeLessThanOrEqual(6 * MIB + ciphertextLength(mode, 0) + 6 * 16);
      expect(bytes.subarray(0, written.length).equals(written)).toBe(true);
    },
  );

  test('writes nothing any more once it was interrupted', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    // Sparse: only its length matters.
    const long = file(Buffer.alloc(0), 'long');
    truncateSync(long, LONG_BYTES);
    const [input, output] = [await open(long), await open(path('interrupted'), 'w+')];
    const job = jobOf(mode, 'encrypt', LONG_BYTES);
    // Told after a while, and at the end: so it is interrupted on any machine.
    const interrupted = { job, inputFd: input.fd, outputFd: output.fd, signal, onProgress: () => controller.abort() };
    await expect(transfer(interrupted)).rejects.toMatchObject({ name: 'AbortError' });
    await output.truncate(0);
    await setTimeout(50);
    expect((await output.stat()).size).toBe(0);
    await expect(transfer(interrupted)).rejects.toMatchObject({ name: 'AbortError' });
    expect((await output.stat()).size).toBe(0);
    await input.close();
    await output.close();
  });

  test.each([true, false])('reports a disk that is full', async (digests) => {
    await expect(run(encryption, source, '/dev/full', { digests })).rejects.toMatchObject({ code: 'ENOSPC' });
  });
});

describe.each(['ctr', 'cbc'] as const)('the rest of a master in %s', (mode) => {
  const encryption = jobOf(mode, 'encrypt', LENGTH);
  const total = ciphertextLength(mode, LENGTH);

  const lengths = [1, MIB, 3 * MIB + 300_007, total];
  test.each(LONG ? [...lengths, 100, MIB - 1, total - 1] : lengths)('is written after %i bytes', async (present) => {
    const { bytes } = await encrypted(mode);
    // With digests and without, by turns: each mode has both at odd and at even places.
    writeFileSync(path('begun'), bytes.subarray(0, present));
    const digests = (present % 2 === 0) === (mode === 'ctr');
    const { outputBytes } = await run(encryption, source, path('begun'), { present, digests });
    expect(outputBytes).toBe(total);
    expect(readFileSync(path('begun')).equals(bytes)).toBe(true);
  });

  test('is not written when anything before it is of another input', async () => {
    const { bytes } = await encrypted(mode);
    const present = 4 * MIB + 300_007;
    for (const at of LONG ? [0, 2 * MIB, 3 * MIB - 1, present - 1] : [3 * MIB - 1, present - 1]) {
      const begun = Buffer.from(bytes.subarray(0, present));
      begun[at] = (begun[at] ?? 0) ^ 1;
      writeFileSync(path('other'), begun);
      const refused = run(encryption, source, path('other'), { present });
      await expect(refused).rejects.toMatchObject({ code: 'ERR_MASTER_RESUME' });
      expect(readFileSync(path('other')).equals(begun)).toBe(true);
    }
  });

  test('is not written when what was there is gone', async () => {
    const { bytes } = await encrypted(mode);
    writeFileSync(path('gone'), bytes.subarray(0, 3 * MIB));
    const refused = run(encryption, source, path('gone'), { present: 4 * MIB });
    await expect(refused).rejects.toThrow();
    expect(statSync(path('gone')).size).toBe(3 * MIB);
  });
});

test('of a framed master nothing from the first bad segment on is written, whichever thread has it', async () => {
  const { bytes } = await encrypted('framed');
  for (const bad of [0, 1, 2, 5, 6]) {
    const altered = Buffer.from(bytes);
    const at = 76 + bad * (MIB + 16) + 5;
    altered[at] = (altered[at] ?? 0) ^ 1;
    const decryption = jobOf('framed', 'decrypt', altered.length);
    const refused = run(decryption, file(altered, 'altered'), path('released'));
    await expect(refused).rejects.toMatchObject({ code: 'ERR_MASTER_AUTHENTICATION' });
    const released = readFileSync(path('released'));
    expect(released.length).toBeLessThanOrEqual(bad * MIB);
    expect(plaintext.subarray(0, released.length).equals(released)).toBe(true);
  }
});

test('a source that becomes shorter while it is read ends the run', async () => {
  for (const mode of MASTER_MODES) {
    const shrinking = file(plaintext, 'shrinking');
    truncateSync(shrinking, 5 * MIB);
    const refused = run(jobOf(mode, 'encrypt', LENGTH), shrinking, undefined);
    await expect(refused).rejects.toMatchObject({ code: 'ERR_MASTER_SOURCE_CHANGED' });
  }
});

test('memory of pieces is given back at once, and no memory that others have a part in', () => {
  const cipher = createCipheriv('aes-256-ctr', dataKey, Buffer.alloc(16));
  const before = process.memoryUsage().arrayBuffers;
  for (let i = 0; i < 64; i++) {
    const pieces = cipherPieces(cipher, plaintext.subarray(0, MIB));
    release(pieces);
    expect(pieces.map(({ length }) => length)).toEqual(pieces.map(() => 0));
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * MIB);
  const shared = [Buffer.from('header'), Buffer.alloc(0), plaintext.subarray(0, MIB)];
  release(shared);
  expect(shared.map(({ length }) => length)).toEqual([6, 0, MIB]);
});
