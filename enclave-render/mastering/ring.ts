import type { CipherJob } from './segment-cipher.ts';
import { SLOT_BYTES } from './segment-cipher.ts';

/** What a thread of the pipeline is told. A number is a cipher thread. */
export interface ThreadData {
  role: number | 'input' | 'output';
  job: CipherJob;
  shared: SharedArrayBuffer;
  /** How many cipher threads there are. */
  ciphers: number;
  inputFd: number;
  outputFd: number | undefined;
  /** Bytes of the output that are there already. */
  present: number;
  digests: boolean;
}

export interface ThreadResult {
  failure?: { code?: string | undefined; message: string };
  sha256?: string;
  bytes?: number;
}

const SLOTS = 4;
/** Counters, 32 bits each: segments done by each cipher thread, hashed as input, written as output. */
const [INPUT_DONE, OUTPUT_DONE, LENGTHS] = [2, 3, 4];
const CONTROL_BYTES = 4 * (LENGTHS + 2 * SLOTS);
const DATA = Math.ceil(CONTROL_BYTES / 64) * 64;

export const RING_BYTES = DATA + 2 * SLOTS * SLOT_BYTES;

/**
 * Segments in memory that the threads share, `SLOTS` at a time: segment `i` lies in slot `i mod SLOTS`, as input and as output.
 * Threads wait for each other by counters (`Atomics.wait`), which costs less than messages.
 */
export function ring(shared: SharedArrayBuffer, ciphers: number, digests: boolean) {
  const control = new Int32Array(shared, 0, LENGTHS + 2 * SLOTS);
  const waitFor = (counter: number, value: number) => {
    for (let now = Atomics.load(control, counter); now < value; now = Atomics.load(control, counter)) {
      Atomics.wait(control, counter, now);
    }
  };
  const advance = (counter: number, value: number) => {
    Atomics.store(control, counter, value);
    Atomics.notify(control, counter);
  };
  const slot = (index: number, side: 0 | 1, length: number) =>
    new Uint8Array(shared, DATA + (2 * (index % SLOTS) + side) * SLOT_BYTES, length);
  return {
    /** The first `length` bytes of a segment's input. */
    input: (index: number, length: number) => slot(index, 0, length),
    /** All of the place for a segment's output. */
    output: (index: number) => slot(index, 1, SLOT_BYTES),
    /** Waits until nobody needs what was in the slot before. */
    waitUntilFree(index: number) {
      if (digests) waitFor(INPUT_DONE, index - SLOTS + 1);
      waitFor(OUTPUT_DONE, index - SLOTS + 1);
    },
    /** A cipher thread is done with a segment. */
    publish(thread: number, index: number, inputBytes: number, outputBytes: number) {
      const at = LENGTHS + 2 * (index % SLOTS);
      Atomics.store(control, at, inputBytes);
      Atomics.store(control, at + 1, outputBytes);
      advance(thread, Math.floor(index / ciphers) + 1);
    },
    /** Waits until a segment is encrypted or decrypted; its lengths. */
    waitUntilReady(index: number) {
      waitFor(index % ciphers, Math.floor(index / ciphers) + 1);
      const at = LENGTHS + 2 * (index % SLOTS);
      return { inputBytes: Atomics.load(control, at), outputBytes: Atomics.load(control, at + 1) };
    },
    release(side: 'input' | 'output', index: number) {
      advance(side === 'input' ? INPUT_DONE : OUTPUT_DONE, index + 1);
    },
    /** How many segments have been written. */
    written: () => Atomics.load(control, OUTPUT_DONE),
  };
}
