import type { Cipher, Decipher } from 'node:crypto';

/**
 * `update` of Node allocates its answer. Pieces of this length stay in the processor's cache between the cipher and the system
 * call that writes them.
 */
const PIECE_BYTES = 256 * 1024;

/** Runs `input` through a cipher; what came out, in order. Nothing is copied: the pieces go to the file as they are. */
export function cipherPieces(cipher: Cipher | Decipher, input: Uint8Array): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < input.length; at += PIECE_BYTES) {
    pieces.push(cipher.update(input.subarray(at, at + PIECE_BYTES)));
  }
  return pieces;
}

/**
 * Has glibc keep for the next piece what was freed of the one before. Otherwise it gives freed memory back to the system, which
 * clears and maps it anew each time: a quarter of the time of a large file. glibc keeps twice the longest mapped block that was ever
 * freed, up to 64 MiB (mallopt(3), "dynamic mmap threshold"), so one is freed here: Node copies a text into a block of three times its
 * length. With another C library nothing changes.
 */
export function keepFreedMemory(): void {
  Buffer.alloc(1).fill('0'.repeat(8 << 20));
}
