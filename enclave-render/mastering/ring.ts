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
}

const SLOTS = 4;
/** Counters, 32 bits each: segments written, hashed as input, hashed as output; then for each slot what is in it. */
const [WRITTEN, INPUT_DONE, OUTPUT_DONE, READY, LENGTHS] = [0, 1, 2, 3, 3 + SLOTS];
const COUNTERS = LENGTHS + 2 * SLOTS;
/** Bytes written, a number of 64 bits. */
const POSITION = Math.ceil((4 * COUNTERS) / 8) * 8;
const DATA = Math.ceil((POSITION + 8) / 64) * 64;

/** Memory for a ring. Segments lie in it only for the threads that compute digests. */
export function ringMemory(digests: boolean): SharedArrayBuffer {
  return new SharedArrayBuffer(DATA + (digests ? 2 * SLOTS * SLOT_BYTES : 0));
}

/**
 * What the threads share: whose turn it is to write, and segments in memory, `SLOTS` at a time: segment `i` lies in slot
 * `i mod SLOTS`, as input and as output. Threads wait for each other by counters (`Atomics.wait`), which costs less than messages.
 */
export function ring(shared: SharedArrayBuffer) {
  const counters = new Int32Array(shared, 0, COUNTERS);
  const position = new Float64Array(shared, POSITION, 1);
  const waitFor = (counter: number, value: number) => {
    for (let now = Atomics.load(counters, counter); now < value; now = Atomics.load(counters, counter)) {
      Atomics.wait(counters, counter, now);
    }
  };
  const advance = (counter: number, value: number) => {
    Atomics.store(counters, counter, value);
    Atomics.notify(counters, counter);
  };
  const slot = (index: number, side: 0 | 1, length: number) =>
    new Uint8Array(shared, DATA + (2 * (index % SLOTS) + side) * SLOT_BYTES, length);
  return {
    /** Waits until all segments before this one are written: a file grows from its beginning to its end, never with a gap. */
    waitForTurn: (index: number) => waitFor(WRITTEN, index),
    /** So many more bytes are written: that was segment `index`. */
    endTurn(index: number, bytes: number) {
      position[0] = (position[0] ?? 0) + bytes;
      advance(WRITTEN, index + 1);
    },
    /** Bytes written. Only for who has the turn, or when all is done. */
    position: () => position[0] ?? 0,
    /** Segments written. */
    written: () => Atomics.load(counters, WRITTEN),

    /** Place for a segment's input, once nobody needs what was in the slot before. */
    place(index: number, length: number): Uint8Array {
      waitFor(INPUT_DONE, index - SLOTS + 1);
      waitFor(OUTPUT_DONE, index - SLOTS + 1);
      return slot(index, 0, length);
    },
    /** A segment was read into its place, and this became of it. */
    publish(index: number, inputBytes: number, output: Uint8Array[]) {
      const [at, target] = [index % SLOTS, slot(index, 1, SLOT_BYTES)];
      let bytes = 0;
      for (const piece of output) {
        target.set(piece, bytes);
        bytes += piece.length;
      }
      counters[LENGTHS + 2 * at] = inputBytes;
      counters[LENGTHS + 2 * at + 1] = bytes;
      advance(READY + at, index + 1);
    },
    /** One side of a segment, once it is there. */
    take(side: 'input' | 'output', index: number): Uint8Array {
      const [at, number] = [index % SLOTS, side === 'input' ? (0 as const) : (1 as const)];
      waitFor(READY + at, index + 1);
      return slot(index, number, counters[LENGTHS + 2 * at + number] ?? 0);
    },
    release: (side: 'input' | 'output', index: number) =>
      advance(side === 'input' ? INPUT_DONE : OUTPUT_DONE, index + 1),
  };
}
