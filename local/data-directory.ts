import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, open, readFile, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { StackError } from './errors.ts';

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

/**
 * When a process was started, in clock ticks since boot (proc(5), field 22 of stat); undefined when it does not run.
 * Tells the owner of a lock from a later process that happens to have its id.
 */
function startedAt(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined;
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return 'running';
  }
}

/** Whether the process that a lock file names still runs; an unreadable lock belongs to nobody. */
async function isHeld(lockFile: string): Promise<boolean> {
  const [pid, start] = (await readFile(lockFile, 'utf8').catch(() => '')).trim().split(' ');
  return start !== undefined && startedAt(Number(pid)) === start;
}

async function lock(lockFile: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      const file = await open(lockFile, 'wx', 0o600);
      await file.writeFile(`${process.pid} ${startedAt(process.pid)}\n`);
      await file.close();
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      if (attempt > 0 || (await isHeld(lockFile))) {
        throw new StackError(
          'ERR_STACK_LOCKED',
          `another stack runs on this data (${lockFile}); stop it or use --data DIR`,
        );
      }
      // Left behind by a process that was killed.
      await rm(lockFile, { force: true });
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
    if (!ephemeral && !existsSync(join(directory, 'key-ring.json'))) await chmod(directory, 0o700);
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
    async write(name, content) {
      const partial = inDirectory(`${name}.partial`);
      const file = await open(partial, 'w', 0o600);
      await file.writeFile(`${JSON.stringify(content, null, 2)}\n`);
      await file.sync();
      await file.close();
      await rename(partial, inDirectory(name));
    },
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
