import { createCipheriv, createDecipheriv } from 'node:crypto';
import { SEGMENT_BYTES } from './framed.ts';
import type { MasterMode } from './manifest.ts';
import { MasterError } from './master-error.ts';
import type { MasterReader } from './master-reader.ts';
import { cipherName } from './modes.ts';
import { cipherPieces } from './pieces.ts';
import { counterAt } from './segment-cipher.ts';

/** Gives the plaintext of one segment of `SEGMENT_BYTES`; the last one is shorter. */
export type SegmentReader = (index: number) => Promise<Buffer>;

/**
 * Random access to a plaintext of `size` bytes by its segments. `release` is called once, when no read is going on any more; the reads
 * that come after it reject with `ERR_MASTER_FILE`.
 */
export function segmentedReader(size: number, segment: SegmentReader, release: () => Promise<void>): MasterReader {
  // Players and demuxers read on from where they were: the segment of the last call is mostly that of the next.
  let latest: { index: number; plaintext: Buffer } | undefined;
  const read = async (offset: number, length: number) => {
    const end = Math.min(size, offset + length);
    if (!Number.isSafeInteger(offset) || offset < 0 || !(length >= 0)) throw new RangeError('no such range');
    const parts: Buffer[] = [];
    for (let at = offset; at < end; ) {
      const index = Math.floor(at / SEGMENT_BYTES);
      const plaintext = latest?.index === index ? latest.plaintext : await segment(index);
      latest = { index, plaintext };
      const begin = index * SEGMENT_BYTES;
      const part = plaintext.subarray(at - begin, end - begin);
      if (part.length === 0) throw changed();
      parts.push(part);
      at += part.length;
    }
    return Buffer.concat(parts);
  };
  const pending = new Set<Promise<unknown>>();
  let isClosed = false;
  return {
    size,
    async read(offset, length) {
      if (isClosed) throw new MasterError('ERR_MASTER_FILE', 'the master was closed: open it again');
      const reading = read(offset, length);
      pending.add(reading);
      try {
        return await reading;
      } finally {
        pending.delete(reading);
      }
    },
    async close() {
      isClosed = true;
      // A read that is still going on would decrypt with a key of zeroes, or give zeroes.
      await Promise.allSettled(pending);
      latest?.plaintext.fill(0);
      latest = undefined;
      await release();
    },
  };
}

/** What a reader rejects with when the ciphertext is not that of before. */
export function changed(): MasterError {
  return new MasterError(
    'ERR_MASTER_AUTHENTICATION',
    'the master is not what was made, or was changed since it was opened',
  );
}

/**
 * Decrypts `gcm`, `ctr` and `cbc` by position, of a ciphertext of `count` segments without its tag. Nothing is authenticated here:
 * `ciphertext` has to give bytes that were.
 */
export function decryptingSegments(
  mode: Exclude<MasterMode, 'framed'>,
  dataKey: Uint8Array,
  iv: Uint8Array,
  count: number,
  ciphertext: SegmentReader,
): SegmentReader {
  if (mode === 'cbc') return chainedSegments(dataKey, iv, count, ciphertext);
  const first = mode === 'gcm' ? gcmCounter(dataKey, iv) : Buffer.from(iv);
  return async (index) => counterDecrypt(mode, dataKey, first, (index * SEGMENT_BYTES) / 16, await ciphertext(index));
}

/** CBC needs the block before: its IV. Only the last segment is padded. */
function chainedSegments(
  dataKey: Uint8Array,
  iv: Uint8Array,
  count: number,
  ciphertext: (index: number) => Promise<Buffer>,
): SegmentReader {
  const name = cipherName('cbc', dataKey.length * 8);
  return async (index) => {
    const previous = index === 0 ? iv : (await ciphertext(index - 1)).subarray(-16);
    const decipher = createDecipheriv(name, dataKey, previous).setAutoPadding(index === count - 1);
    return Buffer.concat([decipher.update(await ciphertext(index)), decipher.final()]);
  };
}

/**
 * The counter block that GCM encrypts the first block of plaintext with, for an IV of any length (NIST SP 800-38D §7.1): what it makes of
 * zeroes is that block encrypted.
 */
export function gcmCounter(dataKey: Uint8Array, iv: Uint8Array): Buffer {
  const bits = dataKey.length * 8;
  const keystream = createCipheriv(cipherName('gcm', bits) as 'aes-256-gcm', dataKey, iv).update(Buffer.alloc(16));
  return createDecipheriv(`aes-${bits}-ecb`, dataKey, null).setAutoPadding(false).update(keystream);
}

/** CTR from a block on. GCM counts in the low 32 bits alone, so that its counter may begin anew within a segment. */
function counterDecrypt(mode: 'gcm' | 'ctr', dataKey: Uint8Array, first: Buffer, block: number, input: Buffer): Buffer {
  const name = cipherName('ctr', dataKey.length * 8);
  if (mode === 'ctr') {
    return Buffer.concat(cipherPieces(createDecipheriv(name, dataKey, counterAt(first, block)), input));
  }
  const pieces: Buffer[] = [];
  for (let at = 0; at < input.length; ) {
    const low = (first.readUInt32BE(12) + block + at / 16) % 2 ** 32;
    const counter = Buffer.from(first);
    counter.writeUInt32BE(low, 12);
    const bytes = Math.min(input.length - at, (2 ** 32 - low) * 16);
    pieces.push(...cipherPieces(createDecipheriv(name, dataKey, counter), input.subarray(at, at + bytes)));
    at += bytes;
  }
  return Buffer.concat(pieces);
}
