import { createCipheriv, createDecipheriv, type DecipherGCM } from 'node:crypto';
import {
  type FramedKey,
  framedHeader,
  framedKey,
  HEADER_BYTES,
  openFramedHeader,
  openSegment,
  SEGMENT_BYTES,
  sealSegment,
  TAG_BYTES,
} from './framed.ts';
import type { MasterMode } from './manifest.ts';
import { MasterError } from './master-error.ts';
import { cipherName, MODES } from './modes.ts';
import { cipherPieces } from './pieces.ts';

/** What is done to a file, as plain data: it goes to threads. */
export interface CipherJob {
  mode: MasterMode;
  direction: 'encrypt' | 'decrypt';
  dataKey: Uint8Array;
  /** Of `gcm`, `ctr` and `cbc`; the salt of `framed` when encrypting; else empty. */
  iv: Uint8Array;
  /** Length of the file that is read, in bytes. */
  inputBytes: number;
}

/** No segment is longer than this, encrypted or not. */
export const SLOT_BYTES = SEGMENT_BYTES + 128;

/** Where segment `index` of a file lies that is read, by offset and length in bytes; the last holds what remains. */
export interface SegmentLayout {
  count: number;
  range(index: number): { offset: number; length: number };
}

/**
 * Cuts a file into segments that hold a mebibyte of plaintext each. The header of `framed` belongs to the first, the tag of `gcm` to
 * the last. Throws `ERR_MASTER_LENGTH` when no ciphertext of the mode is that long.
 */
export function segmentLayout({ mode, direction, inputBytes }: Omit<CipherJob, 'dataKey' | 'iv'>): SegmentLayout {
  const encrypted = direction === 'decrypt';
  if (encrypted) checkCiphertextLength(mode, inputBytes);
  const header = encrypted && mode === 'framed' ? HEADER_BYTES : 0;
  const stride = SEGMENT_BYTES + (encrypted && mode === 'framed' ? TAG_BYTES : 0);
  const trailer = encrypted && mode === 'gcm' ? TAG_BYTES : 0;
  const count = Math.max(1, Math.ceil((inputBytes - header - trailer) / stride));
  const begin = (index: number) => (index === 0 ? 0 : header + index * stride);
  return {
    count,
    range: (index) => ({
      offset: begin(index),
      length: (index === count - 1 ? inputBytes : begin(index + 1)) - begin(index),
    }),
  };
}

/** How long the ciphertext of a plaintext is, in bytes. */
export function ciphertextLength(mode: MasterMode, plaintextBytes: number): number {
  const { tagBytes, padded } = MODES[mode];
  if (mode === 'framed') {
    return HEADER_BYTES + plaintextBytes + TAG_BYTES * Math.max(1, Math.ceil(plaintextBytes / SEGMENT_BYTES));
  }
  return padded ? plaintextBytes + 16 - (plaintextBytes % 16) : plaintextBytes + tagBytes;
}

function checkCiphertextLength(mode: MasterMode, bytes: number): void {
  const refuse = (why: string) => {
    throw new MasterError('ERR_MASTER_LENGTH', `${bytes} bytes are no master of mode ${mode}: ${why}`);
  };
  if (MODES[mode].padded && (bytes === 0 || bytes % 16 !== 0)) refuse('its length is a multiple of 16');
  if (mode === 'gcm' && bytes < TAG_BYTES) refuse('the tag alone has 16');
  if (mode === 'framed') {
    const last = (bytes - HEADER_BYTES) % (SEGMENT_BYTES + TAG_BYTES);
    const segments = Math.ceil((bytes - HEADER_BYTES) / (SEGMENT_BYTES + TAG_BYTES));
    if (bytes < HEADER_BYTES + TAG_BYTES) refuse('header and one tag have 92');
    // Only a master of nothing has a segment of nothing.
    if (segments > 1 && last > 0 && last <= TAG_BYTES) refuse('it ends within a tag');
  }
}

/**
 * Encrypts or decrypts segments of a file. `transform` gives what becomes of a segment, in pieces; it throws
 * `ERR_MASTER_AUTHENTICATION`. Modes that are not parallel want the segments in order, from the first.
 */
export interface SegmentCipher {
  transform(index: number, input: Uint8Array): Buffer[];
}

export function segmentCipher(job: CipherJob): SegmentCipher {
  const last = segmentLayout(job).count - 1;
  if (job.mode === 'framed') return job.direction === 'encrypt' ? framedSealer(job, last) : framedOpener(job, last);
  if (job.mode === 'ctr') return counterCipher(job);
  return job.direction === 'encrypt' ? chainedCipher(job, last) : chainedDecipher(job, last);
}

function counterCipher({ mode, dataKey, iv }: CipherJob): SegmentCipher {
  const name = cipherName(mode, dataKey.length * 8);
  return {
    transform: (index, input) =>
      cipherPieces(createCipheriv(name, dataKey, counterAt(iv, (index * SEGMENT_BYTES) / 16)), input),
  };
}

/** The counter block so many blocks on: 128 bits, big-endian, as OpenSSL counts. */
export function counterAt(iv: Uint8Array, blocks: number): Buffer {
  const counter = BigInt(`0x${Buffer.from(iv).toString('hex')}`) + BigInt(blocks);
  return Buffer.from(BigInt.asUintN(128, counter).toString(16).padStart(32, '0'), 'hex');
}

function chainedCipher({ mode, dataKey, iv }: CipherJob, last: number): SegmentCipher {
  const cipher = createCipheriv(cipherName(mode, dataKey.length * 8) as 'aes-256-gcm', dataKey, iv);
  return {
    transform(index, input) {
      const pieces = cipherPieces(cipher, input);
      if (index < last) return pieces;
      pieces.push(cipher.final());
      if (mode === 'gcm') pieces.push(cipher.getAuthTag());
      return pieces;
    },
  };
}

function chainedDecipher({ mode, dataKey, iv }: CipherJob, last: number): SegmentCipher {
  const { tagBytes } = MODES[mode];
  const options = tagBytes > 0 ? { authTagLength: tagBytes } : undefined;
  const decipher = createDecipheriv(cipherName(mode, dataKey.length * 8) as 'aes-256-gcm', dataKey, iv, options);
  return {
    transform(index, input) {
      if (index < last) return cipherPieces(decipher, input);
      const end = input.length - tagBytes;
      if (tagBytes > 0) (decipher as DecipherGCM).setAuthTag(Buffer.from(input.subarray(end)));
      const pieces = cipherPieces(decipher, input.subarray(0, end));
      try {
        return [...pieces, decipher.final()];
      } catch {
        // Of `cbc` this is the padding: no more is said about it than about a MAC, so that nobody can ask what it was.
        throw new MasterError(
          'ERR_MASTER_AUTHENTICATION',
          'the master was changed, or this is the key or initialization vector of another one',
        );
      }
    },
  };
}

function framedSealer({ dataKey, iv: salt }: CipherJob, last: number): SegmentCipher {
  const key = framedKey(dataKey, salt);
  const header = framedHeader(dataKey, salt);
  return {
    transform(index, input) {
      const sealed = sealSegment(key, index, index === last, input);
      return index === 0 ? [header, ...sealed] : sealed;
    },
  };
}

/** `iv` is the header's salt when the first segment goes to another thread; the header itself is checked with that segment. */
function framedOpener({ dataKey, iv }: CipherJob, last: number): SegmentCipher {
  let key: FramedKey | undefined = iv.length > 0 ? framedKey(dataKey, iv) : undefined;
  return {
    transform(index, input) {
      if (index === 0) key = openFramedHeader(dataKey, input.subarray(0, HEADER_BYTES));
      const sealed = index === 0 ? input.subarray(HEADER_BYTES) : input;
      if (!key) throw new MasterError('ERR_MASTER_COMMITMENT', 'the header of the master has to be read first');
      return openSegment(key, index, index === last, sealed);
    },
  };
}
