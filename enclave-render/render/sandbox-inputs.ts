import { constants, fchmod, fstat, read } from 'node:fs';
import { type FileHandle, readdir, readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { MasterReader } from '../mastering/master-reader.ts';
import { RenderError } from './render-manifest.ts';
import type { SandboxInput } from './sandbox.ts';

/** Of what an earlier task left, its id stands before the path. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]*(?:\/[A-Za-z0-9][A-Za-z0-9._-]*){0,6}$/;
const NAME_LENGTH = 600;
/** What fits into the arguments of bubblewrap, which takes 9,000. */
const MOST_INPUTS = 2048;

const statDescriptor = promisify(fstat);
const changeMode = promisify(fchmod);
const readDescriptor = promisify(read);

/**
 * Checks inputs and takes from their files what permission there is to write: a renderer runs as the same user, and opens the
 * descriptor anew through `/proc/self/fd`, where the mode of the file decides. Throws `ERR_RENDER_SANDBOX`.
 */
export async function readOnlyInputs(inputs: readonly SandboxInput[]): Promise<void> {
  if (inputs.length > MOST_INPUTS) throw refused(`${inputs.length} inputs: a task takes ${MOST_INPUTS}, split it`);
  const names = new Set<string>();
  for (const { name, fd } of inputs) {
    if (!NAME.test(name) || name.length > NAME_LENGTH) throw refused(`an input is called ${JSON.stringify(name)}`);
    if (names.has(name)) throw refused(`two inputs are called ${name}`);
    names.add(name);
    const { flags } = await descriptor(fd);
    if ((flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0) throw refused(`input ${name} is open for writing`);
    const found = await statDescriptor(fd);
    if (!found.isFile()) throw refused(`input ${name} is no regular file`);
    if ((found.mode & 0o222) === 0) continue;
    await changeMode(fd, found.mode & 0o555).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EROFS') return;
      throw refused(`input ${name} is a file of somebody else, whom a renderer could write to`);
    });
  }
}

/** Where inputs begin, and the list of descriptors for `spawn`: those before, the inputs, and nothing that this process inherited. */
export async function withInputs<T>(
  before: readonly T[],
  inputs: readonly SandboxInput[],
  nothing: FileHandle,
): Promise<(T | number | 'ignore')[]> {
  const stdio: (T | number | 'ignore')[] = [...before, ...inputs.map(({ fd }) => fd)];
  for (const leaked of await inheritable()) {
    if (leaked < stdio.length) continue;
    while (stdio.length < leaked) stdio.push('ignore');
    stdio.push(nothing.fd);
  }
  return stdio;
}

/** Descriptors that a program started by this one would have: Node opens none such, but may itself have been given some. */
async function inheritable(): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc/self/fd')) {
    const { flags } = await descriptor(Number(name)).catch(() => ({ flags: O_CLOEXEC }));
    if ((flags & O_CLOEXEC) === 0) found.push(Number(name));
  }
  return found.sort((a, b) => a - b);
}

/** <asm-generic/fcntl.h>; Node has no name for it. */
const O_CLOEXEC = 0o2000000;

/** Reads of an open descriptor, which its owner closes; at the end there is less than was asked for. */
export async function inputReader(fd: number): Promise<MasterReader> {
  const { size } = await statDescriptor(fd);
  return {
    size,
    read: async (offset, length) => {
      const piece = Buffer.alloc(Math.max(0, Math.min(length, size - offset)));
      const { bytesRead } = await readDescriptor(fd, piece, 0, piece.length, offset);
      return piece.subarray(0, bytesRead);
    },
    close: async () => undefined,
  };
}

/** Flags of an open descriptor, proc_pid_fdinfo(5). */
async function descriptor(fd: number): Promise<{ flags: number }> {
  const text = await readFile(`/proc/self/fdinfo/${fd}`, 'utf8').catch(() => {
    throw refused(`descriptor ${fd} is not open`);
  });
  const [, flags] = /^flags:\s*([0-7]+)$/m.exec(text) ?? [];
  if (flags === undefined) throw refused(`descriptor ${fd} has no flags`);
  return { flags: Number.parseInt(flags, 8) };
}

function refused(why: string): RenderError {
  return new RenderError('ERR_RENDER_SANDBOX', why);
}
