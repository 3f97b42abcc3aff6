import type { Cipher, Decipher } from 'node:crypto';

/**
 * `update` of Node allocates its answer. Pieces of this length come from the heap of the C library and stay in the processor's
 * cache; those of a megabyte are mapped and unmapped each time, which costs more than the encryption.
 */
const PIECE_BYTES = 64 * 1024;

/** Runs `input` through a cipher into `output`; returns how many bytes came out. */
export function cipherInto(cipher: Cipher | Decipher, input: Uint8Array, output: Uint8Array): number {
  let position = 0;
  for (let at = 0; at < input.length; at += PIECE_BYTES) {
    const piece = cipher.update(input.subarray(at, at + PIECE_BYTES));
    output.set(piece, position);
    position += piece.length;
  }
  return position;
}
