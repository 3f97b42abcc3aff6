import { read, readSync, writev, writevSync } from 'node:fs';
import { promisify } from 'node:util';
import { MasterError } from './master-error.ts';

const readLater = promisify(read);
const writeLater = promisify(writev);

/** Fills `target` from a file. Throws `ERR_MASTER_SOURCE_CHANGED` when the file ends before. */
export function readFully(fd: number, target: Uint8Array, offset: number): void {
  for (let done = 0; done < target.length; ) {
    done += checkRead(readSync(fd, target, done, target.length - done, offset + done));
  }
}

/** The same, while other work goes on. */
export async function readFullyLater(fd: number, target: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < target.length; ) {
    done += checkRead((await readLater(fd, target, done, target.length - done, offset + done)).bytesRead);
  }
}

function checkRead(bytes: number): number {
  if (bytes > 0) return bytes;
  throw new MasterError('ERR_MASTER_SOURCE_CHANGED', 'the source became shorter while it was read');
}

/** A file that is written from its beginning to its end. */
export interface Target {
  /** Without one nothing is written: to verify. */
  fd: number | undefined;
  /**
   * Bytes that are there already, from a run that was interrupted: they are compared instead of written, and `ERR_MASTER_RESUME` is
   * thrown where they differ, because then this is not the same input.
   */
  present: number;
}

/** Writes pieces at `position`, or compares them. */
export function writeFully({ fd, present }: Target, pieces: Uint8Array[], position: number): void {
  if (fd === undefined) return;
  for (let rest = unwritten(fd, present, pieces, position); rest.pieces.length > 0; ) {
    rest = after(rest, writevSync(fd, rest.pieces, rest.position));
  }
}

/** The same, while other work goes on. */
export async function writeFullyLater({ fd, present }: Target, pieces: Uint8Array[], position: number): Promise<void> {
  if (fd === undefined) return;
  for (let rest = unwritten(fd, present, pieces, position); rest.pieces.length > 0; ) {
    rest = after(rest, (await writeLater(fd, rest.pieces, rest.position)).bytesWritten);
  }
}

/** Pieces, and where in the file they belong. */
interface Stretch {
  pieces: Uint8Array[];
  position: number;
}

export function totalBytes(pieces: Uint8Array[]): number {
  return pieces.reduce((sum, { length }) => sum + length, 0);
}

/** What is left when so many bytes are done. */
function after({ pieces, position }: Stretch, bytes: number): Stretch {
  let left = bytes;
  const rest = pieces.map((piece) => {
    const done = Math.min(left, piece.length);
    left -= done;
    return piece.subarray(done);
  });
  return { pieces: rest.filter(({ length }) => length > 0), position: position + bytes };
}

/** What is left to write, once what is there was compared. */
function unwritten(fd: number, present: number, pieces: Uint8Array[], position: number): Stretch {
  const known = Math.max(0, Math.min(totalBytes(pieces), present - position));
  if (known > 0) compare(fd, Buffer.concat(pieces, known), position);
  return after({ pieces, position }, known);
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
