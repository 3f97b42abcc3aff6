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

const nowhere = new MessageChannel().port1;
nowhere.close();

/**
 * Gives back the memory of pieces that nobody needs any more, now and not at the next collection of garbage: so a thread takes less
 * of it, and what comes next is made where the processor's cache still is. They are empty then: a port that is closed takes what is
 * transferred, and drops it (HTML, "message port post message steps").
 */
export function release(pieces: Buffer[]): void {
  // Short ones may lie in memory that Node shares among many.
  const own = pieces.filter(({ length, buffer }) => length === buffer.byteLength && length > Buffer.poolSize);
  nowhere.postMessage(
    undefined,
    own.map(({ buffer }) => buffer as ArrayBuffer),
  );
}

/**
 * Has glibc keep what is released for the next piece. Otherwise it gives it back to the system, which clears and maps it anew each
 * time. It keeps twice the longest mapped block that was ever freed, up to 64 MiB (mallopt(3), "dynamic mmap threshold"), so one is
 * freed here, of which no page was touched. With another C library nothing changes.
 */
export function keepReleased(): void {
  release([Buffer.allocUnsafeSlow(24 << 20)]);
}
