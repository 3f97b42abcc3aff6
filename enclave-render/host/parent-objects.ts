import { createWriteStream } from 'node:fs';
import { mkdir, open, readdir, rename, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { type ObjectStore, StorageError } from '../storage/object-store.ts';

/** A path below a job's prefix that may become one of this disk: as the messages of an enclave have it. */
const PLAIN = /^[A-Za-z0-9][A-Za-z0-9._-]*(?:\/[A-Za-z0-9][A-Za-z0-9._-]*){0,6}$/;

/** Reads an object into a file, which has its name only when it is whole. */
export async function fetchObject(store: ObjectStore, key: string, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const { body } = await store.get(key);
  await pipeline(body, createWriteStream(`${path}.partial`, { mode: 0o600 }));
  await rename(`${path}.partial`, path);
}

/** Reads all objects below `prefix` into files below `folder`; one whose name leads elsewhere is passed over. */
export async function fetchFolder(store: ObjectStore, prefix: string, folder: string): Promise<void> {
  for await (const { key } of store.list(prefix)) {
    const name = key.slice(prefix.length);
    if (PLAIN.test(name)) await fetchObject(store, key, join(folder, name));
  }
}

/** A file to be stored, as it was when it was listed. */
export interface ListedFile {
  path: string;
  key: string;
  /** Key, length and time of its content. */
  version: string;
}

/** The files below a folder, to be stored below `prefix`. */
export async function listFolder(folder: string, prefix: string): Promise<ListedFile[]> {
  const files: ListedFile[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const key = prefix + path.slice(folder.length + 1);
    files.push({ path, key, version: versionOf(key, await stat(path, { bigint: true })) });
  }
  return files;
}

/** Stores files whose version is not in `stored` yet, and tells it; one that has changed since it was listed is left for another time. */
export async function storeFiles(store: ObjectStore, files: readonly ListedFile[], stored: Set<string>): Promise<void> {
  for (const { path, key, version } of files) {
    if (stored.has(version)) continue;
    await using file = await open(path);
    const found = await file.stat({ bigint: true });
    if (versionOf(key, found) !== version) continue;
    await store.put(key, file.createReadStream({ autoClose: false }), { bytes: Number(found.size) });
    stored.add(version);
  }
}

function versionOf(key: string, { size, mtimeNs }: { size: bigint; mtimeNs: bigint }): string {
  return `${key} ${size} ${mtimeNs}`;
}

/** The text of an object of `mostBytes` at most, undefined when it is longer or not there. */
export async function readObject(store: ObjectStore, key: string, mostBytes: number): Promise<string | undefined> {
  const opened = await store.get(key).catch((error) => {
    if (error instanceof StorageError && error.code === 'ERR_STORAGE_NOT_FOUND') return undefined;
    throw error;
  });
  if (opened === undefined) return undefined;
  if (opened.info.bytes <= mostBytes) return text(opened.body);
  opened.body.destroy();
  return undefined;
}
