import { readSync, writeSync } from 'node:fs';
import { MasterError } from './master-error.ts';

/** Fills `target` from a file. Throws `ERR_MASTER_SOURCE_CHANGED` when the file ends before. */
export function readFully(fd: number, target: Uint8Array, offset: number): void {
  for (let done = 0; done < target.length; ) {
    const bytes = readSync(fd, target, done, target.length - done, offset + done);
    if (bytes === 0) throw new MasterError('ERR_MASTER_SOURCE_CHANGED', 'the source became shorter while it was read');
    done += bytes;
  }
}

/** What is written to, one segment after the other. */
export interface Sink {
  append(bytes: Uint8Array): void;
  readonly bytes: number;
}

/**
 * Writes to a file. The first `present` bytes are there already, from a run that was interrupted: they are compared instead, and
 * `ERR_MASTER_RESUME` is thrown where they differ, because then this is not the same input.
 */
export function fileSink(fd: number, present: number): Sink {
  let position = 0;
  return {
    get bytes() {
      return position;
    },
    append(bytes) {
      const known = Math.max(0, Math.min(bytes.length, present - position));
      if (known > 0) compare(fd, bytes.subarray(0, known), position);
      for (let done = known; done < bytes.length; ) {
        done += writeSync(fd, bytes, done, bytes.length - done, position + done);
      }
      position += bytes.length;
    },
  };
}

function compare(fd: number, expected: Uint8Array, offset: number): void {
  const found = Buffer.alloc(expected.length);
  readFully(fd, found, offset);
  if (found.equals(expected)) return;
  throw new MasterError(
    'ERR_MASTER_RESUME',
    'what the interrupted run has written is not the beginning of this master: use --force to start anew, with a new key',
  );
}

/** Writes nowhere: to verify. */
export function noSink(): Sink {
  let position = 0;
  return {
    get bytes() {
      return position;
    },
    append(bytes) {
      position += bytes.length;
    },
  };
}
