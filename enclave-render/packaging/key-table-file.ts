import { randomBytes } from 'node:crypto';
import { link, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { PackagingError } from './errors.ts';
import { type KeyTable, parseKeyTable, type WrappedContentKey } from './key-table.ts';

/**
 * The table of keys in a file; undefined when there is no file. Rejects with `ERR_PACKAGE_KEY_TABLE` when what is there is none, and
 * as `readFile` does when it cannot be read.
 */
export async function readKeyTable(file: string): Promise<KeyTable | undefined> {
  try {
    return parseKeyTable(await readFile(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The keys of a table that is to be replaced. Rejects with `ERR_PACKAGE_EXISTS` when what is there cannot be read as one. */
async function keysToKeep(file: string): Promise<WrappedContentKey[]> {
  try {
    return (await readKeyTable(file))?.keys ?? [];
  } catch {
    throw new PackagingError('ERR_PACKAGE_EXISTS', `${file} is there and is no table of keys: choose another`);
  }
}

/**
 * Puts a table in its place whole or not at all, mode 0600. Keys that a table there holds are kept: segments encrypted with them may
 * be in caches, and the title that they are of stays until the new one is complete. Rejects with `ERR_PACKAGE_EXISTS` when there is
 * one and `force` is not given, with `ERR_PACKAGE_OUTPUT` when it cannot be written.
 */
export async function writeKeyTable(file: string, table: KeyTable, force: boolean): Promise<void> {
  const before = force ? await keysToKeep(file) : [];
  const names = new Set(table.keys.map(({ name }) => name));
  const keys = [...before.filter(({ name }) => !names.has(name)), ...table.keys];
  const partial = `${file}.${randomBytes(4).toString('hex')}.partial`;
  try {
    await writeFile(partial, `${JSON.stringify({ ...table, keys }, null, 2)}\n`, { mode: 0o600, flag: 'wx' });
    // A link is made only where there is nothing.
    await (force ? rename(partial, file) : link(partial, file));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EEXIST') throw new PackagingError('ERR_PACKAGE_OUTPUT', `cannot write ${file}: ${code}`);
    throw new PackagingError(
      'ERR_PACKAGE_EXISTS',
      `${file} is there already, and its keys may be in use: choose another`,
    );
  } finally {
    await rm(partial, { force: true });
  }
}
