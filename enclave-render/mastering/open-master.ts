import { createCipheriv, createDecipheriv, createHash, timingSafeEqual } from 'node:crypto';
import { framedKey, HEADER_BYTES, openSegment, SEGMENT_BYTES, TAG_BYTES } from './framed.ts';
import type { MasterMode } from './manifest.ts';
import { fileError, MasterError } from './master-error.ts';
import type { MasterReader } from './master-reader.ts';
import { cipherName, MODES } from './modes.ts';
import { type Opened, type OpenRequest, openKey } from './opened.ts';
import { cipherInto } from './pieces.ts';
import { counterAt, segmentLayout } from './segment-cipher.ts';
import { ciphertextMac } from './signed-manifest.ts';
import { openSource, type SourceFile } from './source-file.ts';

/** Gives the plaintext of one segment, authenticated. */
type SegmentReader = (index: number) => Promise<Buffer>;

/**
 * Opens a master for random access. `framed` proves its end now and each segment as it is read. Of the other modes all is read and
 * authenticated now; what is read later is held to the SHA-256 of its segment from that pass, 32 bytes a mebibyte, so that a file
 * that is changed after it was opened gives no byte. Rejects with `MasterError` or `KmsError`.
 */
export async function openMaster(path: string, request: Omit<OpenRequest, 'withoutManifest'>): Promise<MasterReader> {
  const source = await openSource(path);
  let opened: Opened | undefined;
  try {
    opened = await openKey(path, source, request);
    const size = opened.manifest?.plaintextBytes ?? 0;
    const segment = opened.job.mode === 'framed' ? await framedReader(source, opened) : await rawReader(source, opened);
    return reader(source, size, segment, opened.job.dataKey);
  } catch (error) {
    opened?.job.dataKey.fill(0);
    await source.handle.close();
    throw fileError(path, error);
  }
}

function reader(source: SourceFile, size: number, segment: SegmentReader, dataKey: Uint8Array): MasterReader {
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
      dataKey.fill(0);
      await source.handle.close();
    },
  };
}

function changed(): MasterError {
  return new MasterError(
    'ERR_MASTER_AUTHENTICATION',
    'the master is not what was made, or was changed since it was opened',
  );
}

async function readRange({ handle }: SourceFile, offset: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, length - done, offset + done);
    if (bytesRead === 0) throw changed();
    done += bytesRead;
  }
  return bytes;
}

async function framedReader(source: SourceFile, { job }: Opened): Promise<SegmentReader> {
  const key = framedKey(job.dataKey, job.iv);
  const layout = segmentLayout(job);
  const read: SegmentReader = async (index) => {
    const { offset, length } = layout.range(index);
    const bytes = await readRange(source, offset, length);
    const sealed = index === 0 ? bytes.subarray(HEADER_BYTES) : bytes;
    const plaintext = Buffer.alloc(sealed.length - TAG_BYTES);
    openSegment(key, index, index === layout.count - 1, sealed, plaintext);
    return plaintext;
  };
  // Only the last segment shows that nothing was cut off.
  await read(layout.count - 1);
  return read;
}

/** `gcm`, `ctr` and `cbc`: one pass over all of it, then by position. */
async function rawReader(source: SourceFile, { job, manifest }: Opened): Promise<SegmentReader> {
  const { mode, dataKey, iv, inputBytes } = job;
  const { tagBytes } = MODES[mode];
  const end = inputBytes - tagBytes;
  const count = Math.ceil(inputBytes / SEGMENT_BYTES);
  const digests = Buffer.alloc(32 * count);
  const whole = createHash('sha256');
  const length = (index: number) => Math.min(SEGMENT_BYTES, inputBytes - index * SEGMENT_BYTES);
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest();
  for (let index = 0; index < count; index++) {
    const bytes = await readRange(source, index * SEGMENT_BYTES, length(index));
    whole.update(bytes);
    digest(bytes).copy(digests, 32 * index);
  }
  // The manifest is signed under the data key: a ciphertext with its digest is what was made. So the tag of GCM is implied.
  const sha256 = whole.digest('hex');
  const isMac = manifest?.mac === undefined || manifest.mac === ciphertextMac(dataKey, iv, sha256);
  if (!isMac || sha256 !== manifest?.ciphertextSha256) throw changed();
  await source.checkUnchanged();

  const ciphertext = async (index: number) => {
    const bytes = await readRange(source, index * SEGMENT_BYTES, length(index));
    if (!timingSafeEqual(digest(bytes), digests.subarray(32 * index, 32 * index + 32))) throw changed();
    return bytes.subarray(0, Math.max(0, end - index * SEGMENT_BYTES));
  };
  if (mode === 'cbc') return chainedReader(dataKey, iv, count, ciphertext);
  const first = mode === 'gcm' ? gcmCounter(dataKey, iv) : Buffer.from(iv);
  return async (index) => counterDecrypt(mode, dataKey, first, (index * SEGMENT_BYTES) / 16, await ciphertext(index));
}

/** CBC needs the block before: its IV. Only the last segment is padded. */
function chainedReader(
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
function counterDecrypt(mode: MasterMode, dataKey: Uint8Array, first: Buffer, block: number, input: Buffer): Buffer {
  const name = cipherName('ctr', dataKey.length * 8);
  const output = Buffer.alloc(input.length);
  if (mode === 'ctr') {
    cipherInto(createDecipheriv(name, dataKey, counterAt(first, block)), input, output);
    return output;
  }
  for (let at = 0; at < input.length; ) {
    const low = (first.readUInt32BE(12) + block + at / 16) % 2 ** 32;
    const counter = Buffer.from(first);
    counter.writeUInt32BE(low, 12);
    const bytes = Math.min(input.length - at, (2 ** 32 - low) * 16);
    cipherInto(createDecipheriv(name, dataKey, counter), input.subarray(at, at + bytes), output.subarray(at));
    at += bytes;
  }
  return output;
}
