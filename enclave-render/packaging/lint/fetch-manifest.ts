import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { PackagingError } from '../errors.ts';
import { parseKeyTable } from '../key-table.ts';
import { withoutToken } from './without-token.ts';

/** Something that was fetched. `bytes` is undefined when it was not, and `why` says why in a word or two. */
export interface Fetched {
  bytes: Uint8Array | undefined;
  why: string;
}

/** Where a manifest is, and what it refers to: over HTTP, or files of the folder that it is in. */
export interface ManifestStore {
  /** Of the manifest. */
  base: URL;
  /** Fetches the manifest, or what it refers to: at most `limit` bytes of it, until the signal says that it takes too long. */
  fetch(url: URL, limit: number, signal: AbortSignal): Promise<Fetched>;
  /** A URL as findings name it, without the token and the query that may be in it. */
  name(url: URL): string;
}

/**
 * The store of a URL or a file. A URL is followed over http and https only, never to a file and through no redirect; a file to files
 * below the folder that it is in, and to the keys beside that folder when it is a media playlist. Throws `ERR_PACKAGE_LINT`.
 */
export function manifestStore(target: string): ManifestStore {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(target) ? httpStore(target) : fileStore(resolve(target));
}

function fileStore(file: string): ManifestStore {
  const folder = dirname(file);
  const keysOf = keyNames();
  return {
    base: pathToFileURL(file),
    async fetch(url, limit) {
      if (url.protocol !== 'file:') return notFetched('it is not beside the file');
      const path = filePath(url);
      if (path === undefined) return notFetched('it is not a path');
      const root = isKeyPath(path) ? dirname(folder) : folder;
      try {
        // What is linted may come from anybody: neither a path nor a link shall have us read what it likes.
        if (path !== file && !(await isBelow(root, path))) return notFetched('it is outside the folder');
        return { bytes: await readStart(path, limit), why: '' };
      } catch (error) {
        if (isKeyPath(path) && (await keysOf(path)).has(basename(path, '.key'))) {
          return { bytes: new Uint8Array(16), why: '' };
        }
        return notFetched((error as NodeJS.ErrnoException).code ?? 'it is not a file');
      }
    },
    name: (url) => (url.protocol === 'file:' ? relative('', filePath(url) ?? url.pathname) || '.' : url.href),
  };
}

/** The path of a file URL; undefined when its percent-encoding is none. */
function filePath(url: URL): string | undefined {
  try {
    return resolve(decodeURIComponent(url.pathname));
  } catch {
    return undefined;
  }
}

function isKeyPath(path: string): boolean {
  return basename(dirname(path)) === 'keys' && path.endsWith('.key');
}

/** Whether a path leads to somewhere below a folder, by its words and where its links lead. */
async function isBelow(folder: string, path: string): Promise<boolean> {
  const isIn = (root: string, inner: string) => inner.startsWith(join(root, sep));
  return isIn(folder, path) && isIn(await placeOf(folder), await placeOf(path));
}

/** Where links lead; of what is not there, as far as there is anything. */
async function placeOf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    return dirname(path) === path ? path : join(await placeOf(dirname(path)), basename(path));
  }
}

/** At most so many bytes from the start of a file. Rejects for a pipe or a device, which may have no end. */
async function readStart(path: string, limit: number): Promise<Uint8Array> {
  // Else opening a pipe that nobody writes to would wait.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new Error('not a file');
    const length = Math.min(limit, stat.size);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** A table of keys is smaller. */
const KEY_TABLE_BYTES = 16 << 20;

/** The names of keys that a key server would have, of the title that a key is of: nobody has them on disk in clear. */
function keyNames(): (keyPath: string) => Promise<Set<string>> {
  const known = new Map<string, Promise<Set<string>>>();
  const read = async (file: string) => {
    try {
      const { keys } = parseKeyTable(Buffer.from(await readStart(file, KEY_TABLE_BYTES)).toString('utf8'));
      return new Set(keys.map(({ name }) => name));
    } catch {
      return new Set<string>();
    }
  };
  return (keyPath) => {
    const file = join(dirname(dirname(keyPath)), 'keys.json');
    const names = known.get(file) ?? read(file);
    known.set(file, names);
    return names;
  };
}

function httpStore(target: string): ManifestStore {
  let base: URL;
  try {
    base = new URL(target);
  } catch {
    throw new PackagingError('ERR_PACKAGE_LINT', `${withoutToken(target).slice(0, 80)} is not a URL`);
  }
  if (base.protocol !== 'http:' && base.protocol !== 'https:') {
    throw new PackagingError(
      'ERR_PACKAGE_LINT',
      `only http and https are followed: give a path for a file, not ${base.protocol}`,
    );
  }
  return {
    base,
    async fetch(url, limit, signal) {
      if (url.protocol !== 'http:' && url.protocol !== 'https:') return notFetched(`not ${url.protocol}`);
      try {
        const response = await fetch(url, { redirect: 'manual', signal });
        if (response.ok && response.body) return { bytes: await bodyStart(response.body, limit), why: '' };
        await response.body?.cancel();
        const isRedirect = response.status >= 300 && response.status < 400;
        return notFetched(`status ${response.status}${isRedirect ? ', and redirects are not followed' : ''}`);
      } catch {
        return notFetched(signal.aborted ? 'no answer in time' : 'no connection');
      }
    },
    name: (url) => `${url.origin}${withoutToken(url.pathname)}`,
  };
}

/** At most so many bytes of a body, which may have no end. */
async function bodyStart(body: ReadableStream<Uint8Array>, limit: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    length += chunk.length;
    if (length >= limit) break;
  }
  return Buffer.concat(chunks).subarray(0, limit);
}

function notFetched(why: string): Fetched {
  return { bytes: undefined, why };
}
