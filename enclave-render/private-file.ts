import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';

/**
 * What a file holds that only its owner may read, and that is ours; undefined when there is none. A symbolic link, a pipe, a file of
 * somebody else and one that others may read are refused: what is checked is the file that is then read. Throws what `refused` makes
 * of the reason; it never quotes the file.
 */
export async function readPrivateBytes(path: string, refused: (why: string) => Error): Promise<Buffer | undefined> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw refused(code === 'ELOOP' ? 'it is a symbolic link: name the file itself' : `${code}`);
  }
  try {
    const status = await file.stat();
    if (!status.isFile()) throw refused('it is no regular file');
    if (status.uid !== process.geteuid?.()) throw refused('it belongs to another user: run this as its owner');
    if (status.mode & 0o077) {
      throw refused(`it can be read by others (mode ${(status.mode & 0o777).toString(8)}): chmod 600 ${path}`);
    }
    return await file.readFile().catch((error: NodeJS.ErrnoException) => {
      throw refused(`${error.code}`);
    });
  } finally {
    await file.close();
  }
}
