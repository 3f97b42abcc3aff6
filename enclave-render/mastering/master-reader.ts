/**
 * Plaintext of a master, read piece by piece without a copy of it on disk: what packaging and ffmpeg are fed from. Every byte that
 * comes out of it has been authenticated, by the tag, the MAC or the frame, before.
 */
export interface MasterReader {
  /** Length of the plaintext in bytes. */
  readonly size: number;
  /** The bytes from `offset` on, `length` of them, fewer at the end. Rejects with `MasterError`. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Waits for the reads that are going on. */
  close(): Promise<void>;
}
