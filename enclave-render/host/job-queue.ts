import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { lstat, mkdir, open, readdir, realpath, rename, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { lock } from 'proper-lockfile';
import { syncFolder } from '../durable-folder.ts';
import { IngestError, type IngestedJob, jobId } from './ingest.ts';

/** Where a job is: taken and not over, or how it has ended. */
const PLACES = ['taken', 'done', 'failed'] as const;
const JOB = 'job.json';

/** A job that was taken and is not over. */
export interface QueuedJob {
  id: string;
  /** Its own, `taken/<id>`. */
  folder: string;
  /** Its file there. */
  file: string;
}

/** Jobs in a folder, each in a folder of its own: `taken/<id>`, and when it is over `done/<id>` or `failed/<id>`. */
export interface JobQueue {
  /** The folder, by its real path. */
  readonly folder: string;
  /** Aborted when another process took the folder over. */
  readonly lost: AbortSignal;
  /** Takes the file of this name out of the folder, under a new id. Undefined when it is gone. */
  take(name: string): Promise<string | undefined>;
  /** Keeps a job, on the disk when this resolves. False when there is or was one of this id. */
  keep(job: IngestedJob): Promise<boolean>;
  /** The job that was taken first; waits for one until the signal is aborted. */
  next(signal: AbortSignal): Promise<QueuedJob | undefined>;
  /** Puts a job away with how it ended (`outcome.json`). Resolves with its folder. */
  finish(job: QueuedJob, ending: 'done' | 'failed', outcome: object): Promise<string>;
  close(): Promise<void>;
}

/**
 * Opens the jobs of a folder, for one process at a time. What it says is taken stays taken, also after a loss of power: a job is moved by
 * renaming, and is in one place at any moment. Rejects with `ERR_INGEST_FOLDER`.
 */
export async function openJobQueue(given: string): Promise<JobQueue> {
  const folder = await realpath(given).catch((error: NodeJS.ErrnoException) => {
    throw new IngestError('ERR_INGEST_FOLDER', `cannot watch ${given}: ${error.code}`);
  });
  await requireOwn(folder);
  for (const place of PLACES) await makeFolder(join(folder, place));
  const lost = new AbortController();
  const release = await lock(join(folder, 'taken'), {
    realpath: false,
    onCompromised: () => lost.abort(),
  }).catch(() => {
    const wait = 'end it; the lock of one that was killed holds for ten seconds';
    throw new IngestError('ERR_INGEST_FOLDER', `another process watches ${folder}: ${wait}`);
  });
  let wake = (): void => undefined;
  const placeOf = (place: (typeof PLACES)[number], id: string) => join(folder, place, id);
  const added = async (id: string) => {
    await syncFolder(placeOf('taken', id));
    await syncFolder(join(folder, 'taken'));
    wake();
  };

  return {
    folder,
    lost: lost.signal,
    async take(name) {
      const id = jobId(name, randomBytes(8).toString('hex'));
      const own = placeOf('taken', id);
      await mkdir(own, { mode: 0o700 });
      try {
        await rename(join(folder, name), join(own, JOB));
      } catch (error) {
        await rmdir(own);
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw error;
      }
      await syncFolder(folder);
      await added(id);
      return id;
    },
    async keep({ id, text }) {
      // One that is taken without its file was not kept; of one that is over the file may have been moved out.
      const isOver = existsSync(placeOf('done', id)) || existsSync(placeOf('failed', id));
      if (isOver || existsSync(join(placeOf('taken', id), JOB))) return false;
      const own = placeOf('taken', id);
      await mkdir(own, { recursive: true, mode: 0o700 });
      await writeWhole(own, JOB, text);
      await added(id);
      return true;
    },
    async next(signal) {
      while (!signal.aborted) {
        const woken = new Promise<void>((resolve) => {
          wake = resolve;
          signal.addEventListener('abort', () => resolve(), { once: true });
        });
        const job = await firstOf(join(folder, 'taken'));
        if (job) return job;
        await woken;
      }
      return undefined;
    },
    async finish(job, ending, outcome) {
      await writeWhole(job.folder, 'outcome.json', `${JSON.stringify(outcome, null, 2)}\n`);
      const place = placeOf(ending, job.id);
      await rename(job.folder, place);
      await syncFolder(join(folder, ending));
      await syncFolder(join(folder, 'taken'));
      return place;
    },
    close: async () => {
      if (!lost.signal.aborted) await release();
    },
  };
}

/** A file that is there whole or not at all. */
async function writeWhole(folder: string, name: string, text: string): Promise<void> {
  const partial = join(folder, `${name}.partial`);
  const file = await open(partial, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(partial, join(folder, name));
}

/** The job that came first. A folder without its file is of one that was not taken. */
async function firstOf(taken: string): Promise<QueuedJob | undefined> {
  let first: { id: string; at: number } | undefined;
  for (const id of (await readdir(taken)).sort()) {
    // Of a file that was moved, the time that it was.
    const found = await lstat(join(taken, id, JOB)).catch(() => undefined);
    if (found && (!first || found.ctimeMs < first.at)) first = { id, at: found.ctimeMs };
  }
  return first && { id: first.id, folder: join(taken, first.id), file: join(taken, first.id, JOB) };
}

/** Refuses a folder in which somebody else may replace what is there: jobs, and what says how they ended. */
async function requireOwn(folder: string): Promise<void> {
  const { uid, mode } = await lstat(folder);
  if (process.getuid !== undefined && uid !== process.getuid()) {
    const how = 'run the watch as that user, or watch a folder of its own';
    throw new IngestError(
      'ERR_INGEST_FOLDER',
      `${folder} belongs to another user, who could replace jobs in it: ${how}`,
    );
  }
  // With the sticky bit they may put files there, and rename or remove none but their own (unlink(2), EPERM).
  if ((mode & 0o022) !== 0 && (mode & 0o1000) === 0) {
    const how = `chmod +t ${folder} if they put jobs there, else chmod go-w ${folder}`;
    throw new IngestError('ERR_INGEST_FOLDER', `others may replace what is in ${folder}: ${how}`);
  }
}

/** A folder, and no link to one: whoever may write here could lead what is written there elsewhere. */
async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
    if ((await lstat(path)).isDirectory()) return await requireOwn(path);
  } catch (error) {
    if (error instanceof IngestError) throw error;
    throw new IngestError('ERR_INGEST_FOLDER', `cannot make ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
  throw new IngestError('ERR_INGEST_FOLDER', `${path} is no folder: remove it, and let the watch make its own`);
}
