import { readPrivateBytes } from '../private-file.ts';
import { StorageError } from './object-store.ts';

/** An SSE-C key is one of AES-256 (Amazon S3, "Using server-side encryption with customer-provided keys"). */
export const CUSTOMER_KEY_BYTES = 32;

/**
 * The SSE-C key in a file of ours that nobody else may read: 32 bytes as they are. A key as text is refused, also when the text has 32
 * characters: it would be taken for a key and be a weak one. Throws `ERR_STORAGE_INVALID`; the message never quotes the file.
 */
export async function readCustomerKey(path: string): Promise<Uint8Array> {
  const refused = (why: string) => new StorageError('ERR_STORAGE_INVALID', `cannot use SSE-C key ${path}: ${why}`);
  const key = await readPrivateBytes(path, refused);
  if (!key) throw refused('there is no such file');
  if (key.byteLength === CUSTOMER_KEY_BYTES && !/^[\w+/=\s-]*$/.test(key.toString('latin1'))) return key;
  key.fill(0);
  const make = `it is no key of ${CUSTOMER_KEY_BYTES} bytes: make one with openssl rand -out ${path} ${CUSTOMER_KEY_BYTES}`;
  throw refused(`${make}; one in base64 is decoded with base64 -d`);
}
