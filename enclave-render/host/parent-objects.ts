import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, stat } from 'node:fs/promises';
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

/** Stores files below a folder, those again that have changed since `stored` was told of them. */
export async function storeFolder(store: ObjectStore, folder: string, prefix: string, stored: Set<string>) {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const key = prefix + path.slice(folder.length + 1);
    const { size, mtimeNs } = await stat(path, { bigint: true });
    const version = `${key} ${size} ${mtimeNs}`;
    if (stored.has(version)) continue;
    await store.put(key, createReadStream(path), { bytes: Number(size) });
    stored.add(version);
  }
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
