import { open, readFile } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { PackagingError } from '../errors.ts';
import type { KeyTable } from '../key-table.ts';
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
  /** Fetches what a manifest refers to: at most `limit` bytes of it. */
  fetch(url: URL, limit: number): Promise<Fetched>;
  /** A URL as findings name it, without the token and the query that may be in it. */
  name(url: URL): string;
}

const TIMEOUT_MS = 15_000;
/**
 * The store of a URL or a file. A URL is followed over http and https only, never to a file; a file to files below the folder
 * that it is in, and below that folder's parent when it is a media playlist that refers there. Rejects with `ERR_PACKAGE_LINT`.
 */
export async function manifestStore(target: string): Promise<ManifestStore> {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(target)) return httpStore(target);
  const file = resolve(target);
  const folder = dirname(file);
  return {
    base: pathToFileURL(file),
    async fetch(url, limit) {
      if (url.protocol !== 'file:') return { bytes: undefined, why: 'it is not beside the file' };
      const path = filePath(url);
      if (path === undefined) return { bytes: undefined, why: 'it is not a path' };
      // What is linted may come from anybody: it shall not have us read what it likes.
      const root = url.pathname.includes('/keys/') ? dirname(folder) : folder;
      if (path !== file && !path.startsWith(join(root, sep)))
        return { bytes: undefined, why: 'it is outside the folder' };
      try {
        return { bytes: await readStart(path, limit), why: '' };
      } catch (error) {
        if (await isInKeyTable(path)) return { bytes: new Uint8Array(16), why: '' };
        return { bytes: undefined, why: (error as NodeJS.ErrnoException).code ?? 'unreadable' };
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

/** At most so many bytes from the start of a file. */
async function readStart(path: string, limit: number): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const length = Math.min(limit, (await file.stat()).size);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Whether a key server would have a key: the table of the title names it, and nobody has it on disk in clear. */
async function isInKeyTable(path: string): Promise<boolean> {
  if (basename(dirname(path)) !== 'keys' || !path.endsWith('.key')) return false;
  try {
    const { keys } = JSON.parse(await readFile(join(dirname(dirname(path)), 'keys.json'), 'utf8')) as KeyTable;
    return keys.some(({ name }) => name === basename(path, '.key'));
  } catch {
    return false;
  }
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
    async fetch(url, limit) {
      if (url.protocol !== 'http:' && url.protocol !== 'https:')
        return { bytes: undefined, why: `not ${url.protocol}` };
      try {
        const response = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(TIMEOUT_MS) });
        if (!response.ok || !response.body) {
          await response.body?.cancel();
          return { bytes: undefined, why: `status ${response.status}` };
        }
        const chunks: Uint8Array[] = [];
        let length = 0;
        for await (const chunk of response.body) {
          chunks.push(chunk);
          length += chunk.length;
          if (length >= limit) break;
        }
        return { bytes: Buffer.concat(chunks).subarray(0, limit), why: '' };
      } catch (error) {
        return {
          bytes: undefined,
          why: (error as Error).name === 'TimeoutError' ? 'no answer in time' : 'no connection',
        };
      }
    },
    name: (url) => `${url.origin}${withoutToken(url.pathname)}`,
  };
}
