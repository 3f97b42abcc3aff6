import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, link, lstat, mkdir, open, readdir, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { countedSource } from './counted-source.ts';
import { checkKey, checkRange, type ObjectInfo, type ObjectStore, StorageError } from './object-store.ts';
import { translatedBody } from './translated-body.ts';

/** Folder within the store in which objects are until they are whole. No key lies in it. */
const PARTIAL = '.portcullis-partial';
/** A symbolic link is not followed, and a pipe not waited for. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * A folder as an object store: an object is a file, its key the path below the folder. An object is there whole or not at all, also
 * after a loss of power. Keys cannot lead out of the folder, by no link either; somebody who may change the folder itself while we
 * read from it is not kept out. A folder encrypts nothing, so that every encryption is refused; it keeps no content type.
 */
export function fileObjectStore(folder: string): ObjectStore {
  const path = (key: string) => join(resolve(folder), key);

  return {
    async put(key, source, options = {}) {
      const partial = join(resolve(folder), PARTIAL, randomUUID());
      const counted = countedSource(source, options);
      const hash = createHash('sha256');
      try {
        checkFileKey(key);
        refuseEncryption(options.encryption);
        if ((await foldersOf(folder, key)) === 'object') throw folderAndObject(key);
        if (options.ifAbsent && (await isThere(path(key)))) throw exists(key);
        await mkdir(dirname(partial), { recursive: true, mode: 0o700 });
        const handle = await open(partial, 'wx', 0o600);
        try {
          for await (const chunk of counted.body as AsyncIterable<Uint8Array>) {
            hash.update(chunk);
            await handle.writeFile(chunk);
          }
          await handle.sync();
        } finally {
          await handle.close();
        }
        options.signal?.throwIfAborted();
        await moveIntoPlace(folder, partial, key, options.ifAbsent === true);
      } catch (error) {
        throw counted.failure() ?? asStorageError(error, key);
      } finally {
        source.destroy();
        await rm(partial, { force: true });
      }
      return { ...infoOf(key, await lstat(path(key), { bigint: true })), sha256: hash.digest('base64') };
    },

    async get(key, { range } = {}) {
      if (range) checkRange(range);
      const handle = await openObject(folder, key);
      const info = infoOf(key, await handle.stat({ bigint: true }));
      const [first, last] = range ?? [0, info.bytes - 1];
      if (range && first >= info.bytes) {
        await handle.close();
        const message = `object ${key} has ${info.bytes} bytes: there is none at ${first}`;
        throw new StorageError('ERR_STORAGE_INVALID', message);
      }
      const end = Math.min(last, info.bytes - 1);
      // A stream cannot be told to read nothing; an empty object has nothing to read anyway.
      const body = handle.createReadStream(end < first ? {} : { start: first, end });
      return { info, body: translatedBody(body, (error) => asStorageError(error, key)) };
    },

    async head(key) {
      const handle = await openObject(folder, key);
      try {
        return infoOf(key, await handle.stat({ bigint: true }));
      } finally {
        await handle.close();
      }
    },

    list: (prefix) => walk(resolve(folder), '', prefix),

    async delete(key) {
      try {
        checkFileKey(key);
        await foldersOf(folder, key);
        await unlink(path(key));
        // A folder is nothing of its own: without objects it would only keep its name from being a key.
        for (let at = dirname(key); at !== '.'; at = dirname(at)) await rmdir(path(at));
      } catch (error) {
        // No such object, or others in the folder.
        if (['ENOENT', 'ENOTDIR', 'EISDIR', 'ENOTEMPTY', 'EEXIST'].includes(codeOf(error))) return;
        throw asStorageError(error, key);
      }
    },
  };
}

function checkFileKey(key: string): void {
  checkKey(key);
  if (key.split('/')[0] === PARTIAL) {
    throw new StorageError(
      'ERR_STORAGE_INVALID',
      `object key ${key}: ${PARTIAL} is kept for objects that are not whole`,
    );
  }
}

function refuseEncryption(encryption: { type: string } | undefined): void {
  if (!encryption) return;
  const way = 'leave the encryption out and store an encrypted master, or store it in S3';
  throw new StorageError('ERR_STORAGE_INVALID', `a folder cannot encrypt, so ${encryption.type} is refused: ${way}`);
}

/** Whether a folder of a key is an object. Refuses one that is a link, which may lead anywhere. */
async function foldersOf(folder: string, key: string): Promise<'folders' | 'object'> {
  const segments = key.split('/').slice(0, -1);
  for (let depth = 1; depth <= segments.length; depth++) {
    const at = segments.slice(0, depth).join('/');
    const found = await lstat(join(resolve(folder), at)).catch((error) => {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (!found) break;
    if (found.isSymbolicLink()) throw leadsOut(at);
    if (!found.isDirectory()) return 'object';
  }
  return 'folders';
}

async function openObject(folder: string, key: string): Promise<FileHandle> {
  let handle: FileHandle | undefined;
  try {
    checkFileKey(key);
    if ((await foldersOf(folder, key)) === 'object') throw notFound(key);
    handle = await open(join(resolve(folder), key), READ);
    if ((await handle.stat()).isFile()) return handle;
    throw new StorageError('ERR_STORAGE_NOT_FOUND', `there is no object ${key}: there is something else`);
  } catch (error) {
    await handle?.close();
    throw asStorageError(error, key);
  }
}

/** Gives a whole file its key, and waits until that is on the disk. */
async function moveIntoPlace(folder: string, partial: string, key: string, ifAbsent: boolean): Promise<void> {
  const root = resolve(folder);
  const target = join(root, key);
  for (let attempt = 1; ; attempt++) {
    try {
      await mkdir(dirname(target), { recursive: true });
      // A link is made only where nothing is; a rename replaces.
      if (ifAbsent) await link(partial, target);
      else await rename(partial, target);
      break;
    } catch (error) {
      if (ifAbsent && codeOf(error) === 'EEXIST' && !(await isFolder(target))) throw exists(key);
      // Somebody deleted the last object of the folder in between, and the folder with it.
      if (codeOf(error) !== 'ENOENT' || attempt === 5) throw error;
    }
  }
  for (const at of foldersUpTo(root, target)) {
    const directory = await open(at, constants.O_RDONLY);
    await directory.sync().finally(() => directory.close());
  }
}

/** The folders of a path below `root`, from the innermost to `root` itself, which may be `/`; both absolute. */
export function foldersUpTo(root: string, path: string): string[] {
  const folder = dirname(path);
  return folder === root || folder === path ? [folder] : [folder, ...foldersUpTo(root, folder)];
}

/** Objects below a folder, in the order of their keys: a folder sorts with its `/`, as its objects do. */
async function* walk(root: string, folder: string, prefix: string): AsyncIterable<ObjectInfo> {
  const entries = await readdir(join(root, folder), { withFileTypes: true }).catch((error) => {
    if (codeOf(error) === 'ENOENT') return [];
    throw asStorageError(error, prefix);
  });
  const names = entries
    .filter((entry) => (entry.isFile() || entry.isDirectory()) && !(folder === '' && entry.name === PARTIAL))
    .map((entry) => Buffer.from(`${folder}${entry.name}${entry.isDirectory() ? '/' : ''}`))
    .sort(Buffer.compare);
  for (const name of names.map(String)) {
    if (name.endsWith('/')) {
      if (name.startsWith(prefix) || prefix.startsWith(name)) yield* walk(root, name, prefix);
    } else if (name.startsWith(prefix)) {
      const found = await lstat(join(root, name), { bigint: true }).catch(() => undefined);
      if (found?.isFile()) yield infoOf(name, found);
    }
  }
}

function infoOf(key: string, { size, ino, mtimeNs }: { size: bigint; ino: bigint; mtimeNs: bigint }): ObjectInfo {
  return { key, bytes: Number(size), etag: `"${[ino, size, mtimeNs].map((part) => part.toString(16)).join('-')}"` };
}

const codeOf = (error: unknown): string => String((error as NodeJS.ErrnoException).code);
const isThere = (path: string) =>
  lstat(path).then(
    (found) => !found.isDirectory(),
    () => false,
  );
const isFolder = (path: string) =>
  lstat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
const notFound = (key: string) => new StorageError('ERR_STORAGE_NOT_FOUND', `there is no object ${key}`);
const exists = (key: string) => new StorageError('ERR_STORAGE_EXISTS', `there is an object ${key} already`);
const leadsOut = (key: string) =>
  new StorageError('ERR_STORAGE_INVALID', `${key} is a symbolic link, which may lead out of the folder: remove it`);
const folderAndObject = (key: string) =>
  new StorageError(
    'ERR_STORAGE_INVALID',
    `${key}: in a folder, no object can have others below it; choose another key`,
  );

/** What the file system refuses, by its code; what is no error of the file system is thrown as it is. */
const FILE_SYSTEM: Record<string, (key: string, code: string) => StorageError> = {
  ENOENT: notFound,
  ELOOP: leadsOut,
  ENOTDIR: (key) => folderAndObject(key),
  EISDIR: (key) => folderAndObject(key),
  EEXIST: (key) => folderAndObject(key),
  ENOTEMPTY: (key) => folderAndObject(key),
  ENAMETOOLONG: (key) =>
    new StorageError(
      'ERR_STORAGE_INVALID',
      `object key ${key} is too long for a folder: a segment has 255 bytes at most`,
    ),
  EACCES: denied,
  EPERM: denied,
  EROFS: denied,
  ...Object.fromEntries(
    ['ENOSPC', 'EDQUOT', 'EIO', 'EMFILE', 'ENFILE', 'EXDEV', 'EFBIG', 'ETIMEDOUT', 'ESTALE'].map((name) => [
      name,
      failed,
    ]),
  ),
};

function denied(key: string, code: string): StorageError {
  return new StorageError(
    'ERR_STORAGE_ACCESS',
    `object ${key} may not be stored or read (${code}): check the permissions`,
  );
}

function failed(key: string, code: string): StorageError {
  return new StorageError(
    'ERR_STORAGE_UNAVAILABLE',
    `object ${key}: the file system failed (${code}): check its space and state`,
  );
}

function asStorageError(error: unknown, key: string): unknown {
  return FILE_SYSTEM[codeOf(error)]?.(key, codeOf(error)) ?? error;
}
