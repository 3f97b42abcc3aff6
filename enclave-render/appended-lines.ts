import { constants } from 'node:fs';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { syncFolder } from './durable-folder.ts';
import { takeLock } from './process-lock.ts';

/** About twenty seconds. */
const LOCK_TRIES = 100;

/** A file of lines, while nobody else appends to it. */
export interface AppendedLines {
  /** All lines that are whole. */
  readonly lines: readonly string[];
  /** Appends a line; it is on the disk when this resolves. What a crash left of an unfinished line goes first. */
  append(line: string): Promise<void>;
}

/**
 * Runs `use` with the lines of the file at `path` (mode 0600, made with its folder when it is not there), locked by
 * `<path>.lock` against other processes. A file that is a link, or that others may read or change, is refused. Throws
 * what `refused` makes of the reason.
 */
export async function withAppendedLines<Result>(
  path: string,
  refused: (why: string) => Error,
  use: (file: AppendedLines) => Promise<Result>,
): Promise<Result> {
  const place = resolve(path);
  const failed = (error: NodeJS.ErrnoException) =>
    refused(error.code === 'ELOOP' ? 'it is a symbolic link: name the file itself' : `${error.code}`);
  await mkdir(dirname(place), { recursive: true, mode: 0o700 }).catch((error) => {
    throw failed(error);
  });
  const release = await takeLock(`${place}.lock`, LOCK_TRIES).catch((error) => {
    throw failed(error);
  });
  if (!release) throw refused(`another process is using it (${path}.lock)`);
  let file: FileHandle | undefined;
  try {
    const { O_RDWR, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
    file = await open(place, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600).catch((error) => {
      throw failed(error);
    });
    const status = await file.stat();
    if (!status.isFile()) throw refused('it is no regular file');
    if (status.mode & 0o077) {
      const mode = (status.mode & 0o777).toString(8);
      throw refused(`others may read or change it (mode ${mode}): see whether somebody did, then chmod 600 ${path}`);
    }
    const handle = file;
    const bytes = await handle.readFile();
    const lines = bytes.toString('utf8').split('\n').slice(0, -1);
    let end = bytes.lastIndexOf('\n') + 1;
    return await use({
      lines,
      async append(line) {
        try {
          await handle.truncate(end);
          const appended = Buffer.from(`${line}\n`);
          const { bytesWritten } = await handle.write(appended);
          if (bytesWritten < appended.length) throw refused('the disk is full');
          await handle.sync();
          // The name of a new file is on the disk when its folder is.
          if (end === 0) await syncFolder(dirname(place));
          end += appended.length;
          lines.push(line);
        } catch (error) {
          const { code } = error as NodeJS.ErrnoException;
          throw code?.startsWith('ERR_') ? error : refused(`it cannot be written: ${code}`);
        }
      },
    });
  } finally {
    await file?.close();
    await release();
  }
}
