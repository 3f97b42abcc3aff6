import { existsSync } from 'node:fs';
import { link, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { startedAt } from '../enclave-render/process-lock.ts';
import { StackError } from './errors.ts';

/** File in which a running stack says where it is, for the commands that talk to it. */
export const STACK_FILE = 'stack.json';

/** File of the key ring. */
export const KEY_RING_FILE = 'key-ring.json';

/** Files that hold keys or bearer tokens. */
const SECRET_FILES = [KEY_RING_FILE, 'edge-store.json', 'issuer.json', 'tokens.json'];

/** The folder that holds the state of one stack, locked for as long as it runs. */
export interface DataDirectory {
  /** Absolute path of a file in it. */
  path(name: string): string;
  /** Writes a JSON file (mode 0600), replaced atomically. */
  write(name: string, content: unknown): Promise<void>;
  /** Content of a JSON file; undefined when there is none. Throws `ERR_STACK_DATA` when it is damaged. */
  read(name: string): Promise<unknown>;
  /** Unlocks it and, when it was made for this run alone, removes it. */
  close(): Promise<void>;
}

/** Whether the process that a lock file names still runs. */
async function isHeld(lockFile: string): Promise<boolean> {
  const [pid, start] = (await readFile(lockFile, 'utf8').catch(() => '')).trim().split(' ');
  return start !== undefined && startedAt(Number(pid)) === start;
}

/** Takes the lock. It is linked into place complete, so that nobody ever reads half of one. */
async function lock(lockFile: string): Promise<void> {
  const mine = `${lockFile}.${process.pid}`;
  await writeFile(mine, `${process.pid} ${startedAt(process.pid)}\n`, { mode: 0o600 });
  try {
    for (let attempt = 0; ; attempt++) {
      try {
        return await link(mine, lockFile);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      if (attempt > 0 || (await isHeld(lockFile))) {
        const message = `another stack runs on this data (${lockFile}); stop it or use --data DIR`;
        throw new StackError('ERR_STACK_LOCKED', message);
      }
      // Left behind by a process that was killed.
      await rm(lockFile, { force: true });
    }
  } finally {
    await rm(mine, { force: true });
  }
}

async function refuseReadableSecrets(directory: string): Promise<void> {
  for (const name of SECRET_FILES) {
    const path = join(directory, name);
    const mode = existsSync(path) ? (await stat(path)).mode & 0o777 : 0o600;
    if (mode & 0o077) {
      const message = `${path} can be read by others (mode ${mode.toString(8)}); run: chmod 600 ${path}`;
      throw new StackError('ERR_STACK_DATA', message);
    }
  }
}

/** Opens and locks a data directory; a temporary one when `path` is undefined. Throws `ERR_STACK_LOCKED`, `ERR_STACK_DATA`. */
export async function openDataDirectory(path: string | undefined): Promise<DataDirectory> {
  const ephemeral = path === undefined;
  let directory: string;
  try {
    directory = ephemeral ? await mkdtemp(join(tmpdir(), 'portcullis-')) : resolve(path);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await refuseReadableSecrets(directory);
    await lock(join(directory, 'lock'));
  } catch (error) {
    if (error instanceof StackError) throw error;
    throw new StackError(
      'ERR_STACK_DATA',
      `cannot use data directory ${path}: ${(error as NodeJS.ErrnoException).code}`,
    );
  }
  const inDirectory = (name: string) => join(directory, name);
  return {
    path: inDirectory,
    write: (name, content) =>
      writeFileAtomic(inDirectory(name), `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 }),
    async read(name) {
      if (!existsSync(inDirectory(name))) return undefined;
      try {
        return JSON.parse(await readFile(inDirectory(name), 'utf8'));
      } catch (error) {
        const why = error instanceof SyntaxError ? 'it is not JSON' : (error as NodeJS.ErrnoException).code;
        throw new StackError('ERR_STACK_DATA', `cannot read ${inDirectory(name)}: ${why}; repair it or move it away`);
      }
    },
    close: () => rm(ephemeral ? directory : inDirectory('lock'), { recursive: true, force: true }),
  };
}
