import { execFile } from 'node:child_process';
import { createHash, type Hash } from 'node:crypto';
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { extendedPcr } from '../measurement/pcr.ts';
import { SecurityModuleError } from './security-module.ts';

/** What an image of the simulated module is. */
export interface ImageParts {
  /** Folder of the enclave agent's bundle. */
  agent: string;
  /** The runner configuration, as it is handed to the agent. */
  configuration: Uint8Array;
  /** Absolute paths of the renderers: programs in ELF. */
  renderers: string[];
}

/**
 * Registers of an image: PCR0 all files of the agent's folder, PCR1 the runner configuration, PCR2 the renderers with
 * the libraries that they are linked with. Of files names, lengths and contents are measured, in the order of names;
 * each register is SHA-384(0⁴⁸ ‖ SHA-384(content)), as of a real image. Rejects with `ERR_MODULE_IMAGE` when something
 * cannot be read or is neither file nor folder.
 */
export async function measureImage(parts: ImageParts): Promise<{ '0': string; '1': string; '2': string }> {
  const agent = (await filesOf(parts.agent)).map((name) => ({ name, path: join(parts.agent, name) }));
  if (agent.length === 0) throw new SecurityModuleError('ERR_MODULE_IMAGE', `there are no files in ${parts.agent}`);
  const programs = new Set<string>();
  for (const renderer of parts.renderers) for (const path of await withLibraries(renderer)) programs.add(path);
  return {
    0: extendedPcr(await digest(agent)),
    1: extendedPcr(createHash('sha384').update(parts.configuration).digest()),
    2: extendedPcr(await digest([...programs].map((path) => ({ name: path, path })))),
  };
}

/**
 * A program and the libraries that the dynamic loader will give it, with the loader itself: absolute paths, as ldd
 * finds them. What a program opens later by itself (plugins, codecs by name) is not among them. Rejects with
 * `ERR_MODULE_IMAGE`.
 */
export async function withLibraries(program: string): Promise<string[]> {
  if (!program.startsWith('/')) throw refused(program, 'it is no absolute path');
  await checkProgram(program);
  // Nothing of our environment may say which libraries: the sandbox starts programs with none.
  const env = { PATH: '/usr/bin:/bin', LC_ALL: 'C' };
  const listed = await promisify(execFile)('ldd', [program], { env }).catch((error) => {
    if (/not a dynamic executable/.test(String(error.stderr))) return { stdout: '' };
    throw refused(program, 'ldd does not say which libraries it needs');
  });
  const libraries = listed.stdout.split('\n').flatMap((line) => {
    const entry = line.trim();
    if (entry === '' || entry === 'statically linked' || entry.startsWith('linux-vdso.so')) return [];
    const [, path] = /^(?:\S+ => )?(\/.+?) \(0x[0-9a-f]+\)$/.exec(entry) ?? [];
    if (path === undefined) throw refused(program, `a library is missing: ${entry}`);
    return [path];
  });
  return [program, ...libraries];
}

/** A script would be measured, and what runs it would not. */
async function checkProgram(path: string): Promise<void> {
  const file = await open(path, 'r').catch((error) => unreadable(path, error));
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0).catch((error) => unreadable(path, error));
    if (bytesRead < 4 || buffer.toString('latin1') !== '\x7fELF') throw refused(path, 'it is no program in ELF');
  } finally {
    await file.close();
  }
}

/**
 * The files below a folder, by their path in it. Links are refused: what they lead to may be another thing tomorrow.
 */
async function filesOf(folder: string, below = ''): Promise<string[]> {
  const entries = await readdir(join(folder, below), { withFileTypes: true }).catch((error) =>
    unreadable(join(folder, below), error),
  );
  const files: string[] = [];
  for (const entry of entries) {
    const name = join(below, entry.name);
    if (entry.isDirectory()) files.push(...(await filesOf(folder, name)));
    else if (entry.isFile()) files.push(name);
    else throw refused(join(folder, name), 'it is neither a file nor a folder');
  }
  return files;
}

/**
 * SHA-384 of files in the order of their names: of each 8 bytes of length of the name, the name, 8 bytes of length,
 * the content.
 */
async function digest(files: { name: string; path: string }[]): Promise<Buffer> {
  const hash = createHash('sha384');
  // One for all: programs and their libraries are some 300 MB.
  const buffer = Buffer.allocUnsafe(1 << 20);
  for (const { name, path } of files.sort((a, b) => Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)))) {
    framed(hash, Buffer.from(name));
    await addFile(hash, path, buffer);
  }
  return hash.digest();
}

function framed(hash: Hash, content: Uint8Array): void {
  hash.update(length(content.length)).update(content);
}

async function addFile(hash: Hash, path: string, buffer: Buffer): Promise<void> {
  const file = await open(path, 'r').catch((error) => unreadable(path, error));
  try {
    const { size } = await file.stat();
    hash.update(length(size));
    let bytes = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) break;
      hash.update(buffer.subarray(0, bytesRead));
      bytes += bytesRead;
    }
    if (bytes !== size) throw refused(path, 'it changed while it was read');
  } catch (error) {
    if (error instanceof SecurityModuleError) throw error;
    unreadable(path, error);
  } finally {
    await file.close();
  }
}

function length(bytes: number): Buffer {
  const field = Buffer.alloc(8);
  field.writeBigUInt64BE(BigInt(bytes));
  return field;
}

function unreadable(path: string, error: unknown): never {
  throw refused(path, `${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`);
}

function refused(path: string, why: string): SecurityModuleError {
  return new SecurityModuleError('ERR_MODULE_IMAGE', `cannot measure ${path}: ${why}`);
}
