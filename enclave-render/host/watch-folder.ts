import { constants, type FSWatcher, watch } from 'node:fs';
import { lstat, mkdir, open, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { IngestError, MOST_MANIFEST_BYTES, type OnJob, wholeManifest } from './ingest.ts';

/** What a watch folder is made of. */
export interface WatchFolderOptions {
  folder: string;
  onJob: OnJob;
  /** Told what could not be taken, and why. */
  report: (line: string) => void;
  /** How often to look without having been told of a change, in milliseconds: network folders tell nobody. */
  scanMilliseconds?: number;
}

export interface WatchFolder {
  /** Resolves when all that was in the folder has been offered. */
  scan(): Promise<void>;
  /** Stops watching, and waits for the job that is being taken. */
  close(): Promise<void>;
}

const JOB = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.jws$/;
const DONE = 'done';
const REFUSED = 'refused';

/**
 * Takes jobs from a folder: `NAME.jws` is a manifest, and is taken when it is whole, so that it may be moved there or written in place.
 * Then it is in `done/`, or in `refused/` with `NAME.jws.reason` beside it; one that cannot be taken just now stays. Links are not
 * followed, and what has another name is left alone. After a crash a job may be offered twice.
 */
export async function watchFolder(options: WatchFolderOptions): Promise<WatchFolder> {
  const { folder, onJob, report, scanMilliseconds = 5000 } = options;
  for (const name of [DONE, REFUSED]) await makeFolder(join(folder, name));
  let isClosed = false;
  let scanning: Promise<void> | undefined;
  let isStale = false;

  async function scanOnce(): Promise<void> {
    for (const name of (await readdir(folder)).filter((name) => JOB.test(name)).sort()) {
      if (isClosed) return;
      await takeFile(folder, name, onJob, report);
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
  timer.unref();
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

/** A folder, and no link to one: whoever may write here could lead what is written there elsewhere. */
async function makeFolder(path: string): Promise<void> {
  await mkdir(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  if ((await lstat(path)).isDirectory()) return;
  throw new IngestError('ERR_INGEST_REFUSED', `${path} is no folder: remove it, and let the watch make its own`);
}

async function takeFile(folder: string, name: string, onJob: OnJob, report: (line: string) => void): Promise<void> {
  const path = join(folder, name);
  try {
    const manifest = await readManifest(path);
    // Still being written; if it is damaged, it stays where its writer sees it.
    if (manifest === undefined) return;
    await onJob({ manifest, name });
    await rename(path, join(folder, DONE, name));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Somebody took it away.
    if (code === 'ENOENT') return;
    // What others say of a failure may be about a job, and is not repeated.
    const why = error instanceof IngestError ? `${code}: ${error.message}` : (code ?? 'ERR_INGEST_UNAVAILABLE');
    report(`${name} was not taken: ${why}`);
    if (!isFinal(error)) return;
    const reason = join(folder, REFUSED, `${name}.reason`);
    // Made anew: a link that somebody has put in its place is not written through.
    await rm(reason, { force: true }).catch(() => undefined);
    await writeFile(reason, `${why}\n`, { flag: 'wx', mode: 0o600 }).catch(() => undefined);
    await rename(path, join(folder, REFUSED, name)).catch(() => undefined);
  }
}

function isFinal(error: unknown): boolean {
  return error instanceof IngestError && error.code !== 'ERR_INGEST_UNAVAILABLE';
}

async function readManifest(path: string): Promise<string | undefined> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ELOOP') throw error;
      throw new IngestError('ERR_INGEST_BODY', 'it is a link: move the file itself here');
    },
  );
  try {
    const found = await file.stat();
    if (!found.isFile()) throw new IngestError('ERR_INGEST_BODY', 'it is no file');
    if (found.size > MOST_MANIFEST_BYTES) {
      throw new IngestError('ERR_INGEST_TOO_LARGE', `a manifest has ${MOST_MANIFEST_BYTES} bytes at most`);
    }
    return wholeManifest(await file.readFile('utf8'));
  } finally {
    await file.close();
  }
}
