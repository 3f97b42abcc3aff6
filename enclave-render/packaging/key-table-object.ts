import { buffer } from 'node:stream/consumers';
import { type ObjectStore, StorageError } from '../storage/object-store.ts';
import { PackagingError } from './errors.ts';
import { type KeyTable, parseKeyTable } from './key-table.ts';

/** Largest table that is read, in bytes: of tens of thousands of keys. */
const MAX_BYTES = 16 << 20;

/**
 * The key table of a packaged title in a bucket, object `<title>/keys.json`; undefined when there is none. Rejects with
 * `ERR_PACKAGE_KEY_TABLE` when what is there is none, and with `StorageError` when it cannot be read.
 */
export async function readKeyTableObject(
  packages: Pick<ObjectStore, 'get'>,
  title: string,
): Promise<KeyTable | undefined> {
  try {
    const { info, body } = await packages.get(`${title}/keys.json`);
    if (info.bytes > MAX_BYTES) {
      body.destroy();
      throw new PackagingError('ERR_PACKAGE_KEY_TABLE', `the key table of ${title} is larger than ${MAX_BYTES} bytes`);
    }
    return parseKeyTable((await buffer(body)).toString());
  } catch (error) {
    if (error instanceof StorageError && error.code === 'ERR_STORAGE_NOT_FOUND') return undefined;
    throw error;
  }
}
