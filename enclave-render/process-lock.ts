import { randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { mkdir, readdir, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const LONGEST_WAIT_MS = 200;

/** Gives a lock back. */
export type Release = () => Promise<void>;

/**
 * Takes the lock at `path`: a folder with one file in it, whose name is that of the process that holds it (`processName`). One of a
 * process that was killed is taken over at once, that of a process that runs never, however long it was held up. Resolves with
 * undefined when another holds it still after so many `tries`, at most 200 ms apart. Rejects with the error of the file system.
 */
export async function takeLock(path: string, tries = 1): Promise<Release | undefined> {
  const own = processName();
  const prepared = `${path}.${own}`;
  await mkdir(prepared, { mode: 0o700 });
  try {
    await writeFile(join(prepared, own), '', { mode: 0o600 });
    for (let attempt = 1; ; attempt++) {
      if ((await rename(prepared, path).then(() => true, isTaken)) || (await takeOver(path, own))) {
        return () => release(path, own);
      }
      if (attempt >= tries) return undefined;
      await sleep(Math.min(20 * attempt, LONGEST_WAIT_MS));
    }
  } finally {
    await rm(prepared, { recursive: true, force: true });
  }
}

/** A folder replaces one that is empty or not there, and no other. */
function isTaken(error: NodeJS.ErrnoException): false {
  if (error.code === 'ENOTEMPTY' || error.code === 'EEXIST') return false;
  throw error;
}

/** Of several who find the same dead holder, one renames its file: for the others it is no longer there. */
async function takeOver(path: string, own: string): Promise<boolean> {
  const [holder, ...others] = await readdir(path).catch((): string[] => []);
  if (holder === undefined || others.length > 0 || isRunning(holder)) return false;
  return rename(join(path, holder), join(path, own)).then(
    () => true,
    () => false,
  );
}

async function release(path: string, own: string): Promise<void> {
  await rm(join(path, own), { force: true });
  // Another may have taken it meanwhile: then it is not empty.
  await rmdir(path).catch(() => undefined);
}

const NAME = /^([0-9a-f]+|none)\.(\d+|none)\.(\d+)\.(\d+|running)\.[0-9a-f]{12}$/;

/** A name for this process that no other ever has: boot, PID namespace, process id, when it started, and a random number. */
export function processName(): string {
  const { boot, namespace } = surroundings();
  return [boot, namespace, process.pid, startedAt(process.pid), randomBytes(6).toString('hex')].join('.');
}

/** Whether the process that has a name of `processName` still runs. What is no such name, or of another container, is taken to. */
export function isRunning(name: string): boolean {
  const [, boot, namespace, pid, started] = NAME.exec(name) ?? [];
  if (boot === undefined) return true;
  const here = surroundings();
  if (boot !== here.boot) return false;
  return namespace !== here.namespace || startedAt(Number(pid)) === started;
}

/** Numbers of processes mean something within one boot and one PID namespace; where there is no /proc, everywhere. */
function surroundings(): { boot: string; namespace: string } {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').replace(/[^0-9a-f]/g, '');
    return { boot, namespace: readlinkSync('/proc/self/ns/pid').replace(/\D/g, '') };
  } catch {
    return { boot: 'none', namespace: 'none' };
  }
}

/**
 * When a process was started, in clock ticks since boot (proc(5), field 22 of stat); undefined when it does not run. Tells the holder of
 * a lock from a later process that happens to have its id.
 */
export function startedAt(pid: number): string | undefined {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return undefined;
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie has ended; only its parent has not looked yet.
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return 'running';
  }
}
