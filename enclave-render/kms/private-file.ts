import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { KmsError } from './data-keys.ts';

/**
 * The text in a file that only its owner may read, and that is ours; undefined when there is none. A symbolic link, a pipe, a file
 * of somebody else and one that others may read are refused: what is checked is the file that is then read. Throws
 * `ERR_KMS_KEYSTORE`.
 */
export async function readPrivateFile(path: string): Promise<string | undefined> {
  let file: Awaited<ReturnType<typeof open>>;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    throw refused(path, code === 'ELOOP' ? 'it is a symbolic link: name the file itself' : `${code}`);
  }
  try {
    const status = await file.stat();
    if (!status.isFile()) throw refused(path, 'it is no regular file');
    if (status.uid !== process.geteuid?.()) throw refused(path, 'it belongs to another user: run this as its owner');
    if (status.mode & 0o077) {
      throw refused(path, `it can be read by others (mode ${(status.mode & 0o777).toString(8)}): chmod 600 ${path}`);
    }
    return await file.readFile('utf8');
  } catch (error) {
    if (error instanceof KmsError) throw error;
    throw refused(path, `${(error as NodeJS.ErrnoException).code}`);
  } finally {
    await file.close();
  }
}

function refused(path: string, why: string): KmsError {
  return new KmsError('ERR_KMS_KEYSTORE', `cannot use ${path}: ${why}`);
}
