import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileError, MasterError } from './master-error.ts';
import { manifestPath } from './signed-manifest.ts';

/** Where an output is written until it is whole. */
export function partialPath(output: string): string {
  return `${output}.partial`;
}

/** Where the state of a run stands, for another one to go on with. */
export function statePath(output: string): string {
  return `${partialPath(output)}.json`;
}

/** A file that comes to be all at once, or not. Mode 0600. */
export interface AtomicOutput {
  handle: FileHandle;
  /**
   * Gives the file its name, after that of what has to stand beside it: whoever finds the output finds that too. A crash in between
   * leaves `<output>.partial`, which says so.
   */
  commit(beside?: { path: string; content: string }): Promise<void>;
  /** Removes what was begun. */
  discard(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Begins an output. Throws `ERR_MASTER_EXISTS` when there is one and `force` was not given, `ERR_MASTER_UNFINISHED` when there is
 * one that was begun, `ERR_MASTER_FILE`. `resume` goes on with what was begun. No file that is written or removed may be the source or
 * its manifest: `ERR_MASTER_EXISTS`.
 */
export async function beginOutput(
  output: string,
  { force = false, resume = false, source, beside }: BeginOptions,
): Promise<AtomicOutput> {
  const partial = partialPath(output);
  const results = [output, ...(beside ? [beside] : [])];
  await refuseSame([source, manifestPath(source)], [...results, ...results.map(partialPath), statePath(output)]);
  await refuseOther(results);
  const existing = await firstOf(results);
  if (existing && !force) {
    throw new MasterError('ERR_MASTER_EXISTS', `${existing} is there already: choose another name, or use --force`);
  }
  try {
    if (force && !resume) await rm(partial, { force: true });
    const handle = await open(partial, resume ? 'r+' : 'wx+', 0o600);
    const { ino } = await handle.stat();
    /** Not when another run with `force` has taken the name. */
    const isOurs = async () => (await stat(partial).catch(() => undefined))?.ino === ino;
    return {
      handle,
      async commit(besides) {
        await handle.sync();
        if (!(await isOurs())) throw unfinished(partial);
        if (besides) await writeDurably(partialPath(besides.path), besides.content);
        // What is replaced goes first: a new manifest never stands beside an old master.
        if (force) await rm(output, { force: true });
        if (besides) {
          await rename(partialPath(besides.path), besides.path);
          await syncFolder(output);
        }
        await rename(partial, output);
        await syncFolder(output);
      },
      async discard() {
        if (await isOurs()) await rm(partial, { force: true });
        await handle.close();
        if (beside) await rm(partialPath(beside), { force: true });
      },
      close: () => handle.close(),
    };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') throw unfinished(partial);
    throw fileError(partial, error);
  }
}

export interface BeginOptions {
  force?: boolean | undefined;
  resume?: boolean | undefined;
  source: string;
  /** Path of what stands beside the output. */
  beside?: string;
}

function unfinished(partial: string): MasterError {
  return new MasterError(
    'ERR_MASTER_UNFINISHED',
    `${partial} is there: another run is writing it, or was interrupted. Then --resume goes on (ctr, cbc), --force starts anew`,
  );
}

async function firstOf(paths: string[]): Promise<string | undefined> {
  for (const path of paths) if (await stat(path).catch(() => undefined)) return path;
  return undefined;
}

async function refuseSame(kept: string[], written: string[]): Promise<void> {
  const identity = async (path: string) => {
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    return found && `${found.dev}:${found.ino}`;
  };
  for (const path of written) {
    const found = await identity(path);
    for (const original of kept) {
      if (found === undefined || found !== (await identity(original))) continue;
      const what = original === kept[0] ? 'the source itself' : 'the manifest of the source';
      throw new MasterError('ERR_MASTER_EXISTS', `${path} is ${what}, and would be lost: choose another name`);
    }
  }
}

/** A folder cannot be replaced by a file; that would show only when all the work is done. */
async function refuseOther(paths: string[]): Promise<void> {
  for (const path of paths) {
    const found = await stat(path).catch(() => undefined);
    if (!found || found.isFile()) continue;
    throw new MasterError('ERR_MASTER_FILE', `${path} is there and no regular file: choose another name`);
  }
}

/** Replaces a small file atomically, mode 0600. */
export async function replaceFile(path: string, content: string): Promise<void> {
  try {
    await writeDurably(partialPath(path), content);
    await rename(partialPath(path), path);
    await syncFolder(path);
  } catch (error) {
    await rm(partialPath(path), { force: true });
    throw fileError(path, error);
  }
}

/** Writes a small file and waits until it is on the disk. */
async function writeDurably(path: string, content: string): Promise<void> {
  await rm(path, { force: true });
  await using file = await open(path, 'wx', 0o600);
  await file.writeFile(content);
  await file.sync();
}

/** Names are on the disk when their folder is. */
async function syncFolder(path: string): Promise<void> {
  await using folder = await open(dirname(path), 'r');
  await folder.sync();
}
