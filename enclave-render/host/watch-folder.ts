import { type FSWatcher, watch } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isWholeJob, JOB_SUFFIX, MOST_JOB_BYTES, readJobFile } from './ingest.ts';

/** What a watch folder is made of. */
export interface WatchFolderOptions {
  folder: string;
  /** Takes the file of this name out of the folder. One that rejects is called again later. */
  take: (name: string) => Promise<unknown>;
  /** Told what could not be taken just now, and why. */
  report: (line: string) => void;
  /** Milliseconds since the epoch, of the clock that files have their times from. */
  now: () => number;
  /** How often to look without having been told of a change, in milliseconds: network folders tell nobody. */
  scanMilliseconds?: number;
}

export interface WatchFolder {
  /** Resolves when all that was in the folder has been looked at. */
  scan(): Promise<void>;
  /** Stops watching, and waits for what is being taken. */
  close(): Promise<void>;
}

const JOB = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** How long a file that is no job may have been left alone before it is taken to be whole, in milliseconds. */
const SETTLED = 60_000;

/**
 * Takes job files from a folder: `NAME.job.json`, when it is whole, so that it may be moved there or written in place. One that is no
 * JSON is taken, and will be refused, when nobody has written to it for a minute. What has another name is left alone.
 */
export async function watchFolder(options: WatchFolderOptions): Promise<WatchFolder> {
  const { folder, take, report, now, scanMilliseconds = 5000 } = options;
  let isClosed = false;
  let scanning: Promise<void> | undefined;
  let isStale = false;

  async function scanOnce(): Promise<void> {
    for (const name of (await readdir(folder)).filter(isJobName).sort()) {
      if (isClosed) return;
      try {
        if (await isWhole(join(folder, name), now())) await take(name);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code !== 'ENOENT') report(`${name} was not taken, and will be tried again: ${code ?? 'ERR_INTERNAL'}`);
      }
    }
  }
  async function scanAll(): Promise<void> {
    do {
      isStale = false;
      await scanOnce().catch((error: NodeJS.ErrnoException) => report(`${folder} cannot be read: ${error.code}`));
    } while (isStale && !isClosed);
  }
  function scan(): Promise<void> {
    // What changed while it was looked at is looked at again.
    isStale = true;
    scanning ??= scanAll().finally(() => {
      scanning = undefined;
    });
    return scanning;
  }

  const timer = setInterval(() => void scan(), scanMilliseconds);
  const watcher = watchChanges(folder, () => void scan(), report);
  await scan();
  return {
    scan,
    async close() {
      isClosed = true;
      clearInterval(timer);
      watcher?.close();
      await scanning;
    },
  };
}

function isJobName(name: string): boolean {
  return name.endsWith(JOB_SUFFIX) && JOB.test(name);
}

async function isWhole(path: string, now: number): Promise<boolean> {
  const found = await lstat(path);
  if (!found.isFile() || found.size > MOST_JOB_BYTES || now - found.mtimeMs > SETTLED) return true;
  return isWholeJob(await readJobFile(path));
}

/** Undefined where the system cannot watch: then there is the timer. */
function watchChanges(folder: string, onChange: () => void, report: (line: string) => void): FSWatcher | undefined {
  const unwatched = (error: NodeJS.ErrnoException) => report(`${folder} is looked at from time to time: ${error.code}`);
  try {
    return watch(folder, onChange).on('error', unwatched);
  } catch (error) {
    unwatched(error as NodeJS.ErrnoException);
    return undefined;
  }
}
