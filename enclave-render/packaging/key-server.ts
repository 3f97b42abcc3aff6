import { type Context, Hono } from 'hono';
import { type DataKeys, KmsError } from '../kms/data-keys.ts';
import { StorageError } from '../storage/object-store.ts';
import { unwrapContentKey } from './content-keys.ts';
import { PackagingError } from './errors.ts';
import type { KeyTable } from './key-table.ts';
import { UnwrappedKeys } from './unwrapped-keys.ts';

/** What a key server is made of. */
export interface KeyServerOptions {
  /**
   * The key table of a title, undefined when there is none. A title is the path of its folder without slashes at its ends; each
   * name in it begins with a letter, a digit or `_`.
   */
  readKeyTable: (title: string) => Promise<KeyTable | undefined>;
  dataKeys: Pick<DataKeys, 'decrypt'>;
  /** Told why a key could not be served, once for all who waited for it. */
  report: (line: string) => void;
}

/** `/<title>/keys/<name>.key`, as playlists name it, without escapes. */
const KEY_PATH = /^\/(\w[\w.-]*(?:\/\w[\w.-]*)*)\/keys\/([\w-]{1,128})\.key$/;
const RETRY_AFTER_SECONDS = 2;
/** What does not pass by itself: the table or its ciphertext is not what packaging wrote. */
const DAMAGED = new Set([
  'ERR_KMS_INVALID_CIPHERTEXT',
  'ERR_KMS_INCORRECT_KEY',
  'ERR_KMS_VALIDATION',
  'ERR_PACKAGE_KEY_TABLE',
]);

/**
 * Serves content keys: `GET /<title>/keys/<name>.key` is the 16 bytes of the key, which KMS decrypts when the first viewer asks.
 * Whoever asks is taken to be allowed to: it belongs behind the edge, which validates the token of the path, and nowhere else.
 * Answers 404 for what is no key, 503 with `Retry-After` as long as KMS or the table cannot be had, 500 when either is damaged.
 * Nothing may be stored, whatever the answer (RFC 9111 §5.2.2.5); an edge holds keys for a minute by its own minimum.
 */
export function createKeyServer({ readKeyTable, dataKeys, report }: KeyServerOptions): Hono {
  const keys = new UnwrappedKeys();

  async function unwrap(title: string, name: string): Promise<Uint8Array | undefined> {
    try {
      const entry = (await readKeyTable(title))?.keys.find((key) => key.name === name);
      return entry && (await unwrapContentKey(dataKeys, entry));
    } catch (error) {
      report(`key ${name} of ${title} cannot be served: ${codeOf(error)}: ${(error as Error).message}`);
      throw error;
    }
  }

  const app = new Hono();
  app.use(async (c, next) => {
    await next();
    c.header('cache-control', 'no-store');
    c.header('x-content-type-options', 'nosniff');
  });
  app.get('*', async (c) => {
    const [, title, name] = KEY_PATH.exec(new URL(c.req.url).pathname) ?? [];
    if (title === undefined || name === undefined) return refuse(c, 404, 'ERR_KEY_NOT_FOUND');
    try {
      const key = await keys.get(`${title}/${name}`, () => unwrap(title, name));
      if (!key) return refuse(c, 404, 'ERR_KEY_NOT_FOUND');
      return c.body(key, 200, { 'content-type': 'application/octet-stream', 'content-length': `${key.length}` });
    } catch (error) {
      if (DAMAGED.has(codeOf(error))) return refuse(c, 500, 'ERR_KEY_DAMAGED');
      c.header('retry-after', `${RETRY_AFTER_SECONDS}`);
      return refuse(c, 503, 'ERR_KEY_UNAVAILABLE');
    }
  });
  app.all('*', (c) => {
    c.header('allow', 'GET, HEAD');
    return refuse(c, 405, 'ERR_KEY_METHOD');
  });
  return app;
}

/** Titles of the problem details (RFC 9457). */
const TITLES = {
  404: 'Not Found',
  405: 'Method Not Allowed',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
} as const;

function refuse(c: Context, status: keyof typeof TITLES, code: string): Response {
  const body = { type: 'about:blank', title: TITLES[status], status, code };
  return c.json(body, status, { 'content-type': 'application/problem+json' });
}

function codeOf(error: unknown): string {
  const isKnown = error instanceof KmsError || error instanceof PackagingError || error instanceof StorageError;
  return isKnown ? error.code : 'ERR_INTERNAL';
}
