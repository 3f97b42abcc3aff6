import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';
import { deriveKey } from './key-schedule.ts';
import { MasterError } from './master-error.ts';
import { cipherPieces } from './pieces.ts';

/**
 * The archive format `framed`, docs/mastering.md: a header, then segments of AES-256-GCM after the STREAM construction (Hoang,
 * Reyhanitabar, Rogaway, Vizár 2015), each with its number and whether it is the last in the nonce.
 *
 *     0   8  magic, "PCFRAMED"
 *     8   4  length of a segment's plaintext, 1048576, big-endian
 *    12  32  salt, random
 *    44  32  HMAC-SHA-256 over bytes 0 to 43 under the header key: authenticates the header and commits to the data key
 *    76      segments: ciphertext as long as the plaintext, 16 bytes of tag
 */
export const SEGMENT_BYTES = 1 << 20;
export const TAG_BYTES = 16;
export const HEADER_BYTES = 76;
export const SALT_BYTES = 32;

const MAGIC = Buffer.from('PCFRAMED', 'ascii');
const CIPHER = 'aes-256-gcm';

/** The header of a master under this data key. `salt`: 32 random bytes. */
export function framedHeader(dataKey: Uint8Array, salt: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(SEGMENT_BYTES);
  const head = Buffer.concat([MAGIC, length, salt]);
  return Buffer.concat([head, commitment(dataKey, head)]);
}

function commitment(dataKey: Uint8Array, head: Uint8Array): Buffer {
  return createHmac('sha256', deriveKey(dataKey, 'framed header', head.subarray(12)))
    .update(head)
    .digest();
}

/** Checks a header and gives its key. Throws `ERR_MASTER_COMMITMENT`: changed, or of another data key. */
export function openFramedHeader(dataKey: Uint8Array, header: Uint8Array): FramedKey {
  const head = header.subarray(0, HEADER_BYTES - 32);
  const isOurs =
    header.length === HEADER_BYTES &&
    timingSafeEqual(header.subarray(HEADER_BYTES - 32), commitment(dataKey, head)) &&
    MAGIC.equals(head.subarray(0, 8)) &&
    Buffer.from(head).readUInt32BE(8) === SEGMENT_BYTES;
  if (isOurs) return framedKey(dataKey, head.subarray(12));
  throw new MasterError(
    'ERR_MASTER_COMMITMENT',
    'the header was changed, or this is the key of another master: nothing was decrypted',
  );
}

/** The key of the segments of one master: of one data key and one salt. */
export type FramedKey = Buffer;

export function framedKey(dataKey: Uint8Array, salt: Uint8Array): FramedKey {
  return deriveKey(dataKey, 'framed segments', salt);
}

/** Number of the segment in 11 bytes, big-endian, then 1 for the last segment and 0 for the others. */
function nonce(index: number, isLast: boolean): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUIntBE(index, 5, 6);
  bytes[11] = isLast ? 1 : 0;
  return bytes;
}

/** Encrypts segment `index`: its ciphertext in pieces, then its tag. */
export function sealSegment(key: FramedKey, index: number, isLast: boolean, plaintext: Uint8Array): Buffer[] {
  const cipher = createCipheriv(CIPHER, key, nonce(index, isLast));
  const pieces = cipherPieces(cipher, plaintext);
  cipher.final();
  return [...pieces, cipher.getAuthTag()];
}

/** Decrypts segment `index`: its plaintext in pieces. Throws `ERR_MASTER_AUTHENTICATION`, and then gives none of it. */
export function openSegment(key: FramedKey, index: number, isLast: boolean, sealed: Uint8Array): Buffer[] {
  const bytes = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv(CIPHER, key, nonce(index, isLast), { authTagLength: TAG_BYTES });
  decipher.setAuthTag(Buffer.from(sealed.subarray(bytes)));
  const pieces = cipherPieces(decipher, sealed.subarray(0, bytes));
  try {
    decipher.final();
  } catch {
    for (const piece of pieces) piece.fill(0);
    throw new MasterError(
      'ERR_MASTER_AUTHENTICATION',
      `segment ${index} was changed, moved or cut off: the master is not what was made`,
    );
  }
  return pieces;
}
