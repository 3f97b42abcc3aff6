import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import writeFileAtomic from 'write-file-atomic';
import {
  checkStoreLimits,
  checkUpdateLimits,
  type EntryMap,
  type KeyValueStore,
  StoreError,
  type StoreUpdate,
} from './key-value-store.ts';

/** The file format that CloudFront imports into a KeyValueStore: `{"data":[{"key":"…","value":"…"}]}`. */
const StoreFile = v.object({ data: v.array(v.object({ key: v.string(), value: v.string() })) });

/**
 * Reads a store file. Throws `ERR_STORE_FILE` when it cannot be read or is not in CloudFront's import format,
 * `ERR_STORE_LIMIT` when CloudFront would refuse its size.
 */
export async function readStoreFile(path: string): Promise<Map<string, string>> {
  let content: unknown;
  try {
    content = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    const detail = error instanceof SyntaxError ? 'is not JSON' : (error as NodeJS.ErrnoException).code;
    throw new StoreError('ERR_STORE_FILE', `cannot read store file ${path}: ${detail}`);
  }
  const parsed = v.safeParse(StoreFile, content);
  if (!parsed.success) throw new StoreError('ERR_STORE_FILE', `${path} is not {"data":[{"key":"…","value":"…"}]}`);
  const entries = new Map(parsed.output.data.map(({ key, value }) => [key, value]));
  checkStoreLimits(entries);
  return entries;
}

function serialise(entries: EntryMap): string {
  const data = [...entries].map(([key, value]) => ({ key, value }));
  return `${JSON.stringify({ data }, null, 1)}\n`;
}

/** A `KeyValueStore` in one file (mode 0600), replaced atomically; readers in this process see a change at once. */
export class FileKeyValueStore implements KeyValueStore {
  readonly #path: string;
  #entries: Map<string, string>;
  #etag: string;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(path: string, entries: Map<string, string>) {
    this.#path = path;
    this.#entries = entries;
    this.#etag = etagOf(serialise(entries));
  }

  /** Opens the store at `path`; a file that does not exist is an empty store. Throws `ERR_STORE_FILE`. */
  static async open(path: string): Promise<FileKeyValueStore> {
    return new FileKeyValueStore(path, existsSync(path) ? await readStoreFile(path) : new Map());
  }

  /** The value of `key`, as the edge sees it now. */
  get(key: string): string | undefined {
    return this.#entries.get(key);
  }

  async list(): Promise<{ entries: EntryMap; etag: string }> {
    return { entries: new Map(this.#entries), etag: this.#etag };
  }

  async etag(): Promise<string> {
    return this.#etag;
  }

  update(change: StoreUpdate, ifMatch: string): Promise<string> {
    const result = this.#writing.then(() => this.#apply(change, ifMatch));
    this.#writing = result.catch(() => undefined);
    return result;
  }

  async #apply(change: StoreUpdate, ifMatch: string): Promise<string> {
    if (ifMatch !== this.#etag) throw new StoreError('ERR_STORE_ETAG', 'the store was changed by somebody else');
    checkUpdateLimits(change);
    const entries = new Map(this.#entries);
    for (const { key, value } of change.puts) entries.set(key, value);
    for (const key of change.deletes) entries.delete(key);
    checkStoreLimits(entries);
    const text = serialise(entries);
    await writeFileAtomic(this.#path, text, { mode: 0o600 });
    this.#entries = entries;
    this.#etag = etagOf(text);
    return this.#etag;
  }
}

function etagOf(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
