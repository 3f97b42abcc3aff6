import { open } from 'node:fs/promises';
import { StorageError } from './object-store.ts';

/** An SSE-C key is one of AES-256 (Amazon S3, "Using server-side encryption with customer-provided keys"). */
export const CUSTOMER_KEY_BYTES = 32;

/**
 * The SSE-C key in a file that its owner alone may read: 32 bytes as they are. A key as text is refused, also when the text has 32
 * characters: it would be taken for a key and be a weak one. Throws `ERR_STORAGE_INVALID`; the message never quotes the file.
 */
export async function readCustomerKey(path: string): Promise<Uint8Array> {
  const refuse = (why: string) => new StorageError('ERR_STORAGE_INVALID', `SSE-C key ${path} ${why}`);
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw refuse(`cannot be read: ${error.code}`);
  });
  try {
    const { mode, size } = await file.stat();
    if (mode & 0o077)
      throw refuse(`can be read by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`);
    const key = Buffer.alloc(CUSTOMER_KEY_BYTES);
    // A pipe has no size; what it holds shows when it is read.
    const { bytesRead } = size <= CUSTOMER_KEY_BYTES ? await file.read(key) : { bytesRead: size };
    if (bytesRead === CUSTOMER_KEY_BYTES && !/^[\w+/=\s-]*$/.test(key.toString('latin1'))) return key;
    key.fill(0);
    const make = `is no key of ${CUSTOMER_KEY_BYTES} bytes: make one with openssl rand -out ${path} ${CUSTOMER_KEY_BYTES}`;
    throw refuse(`${make}; one in base64 is decoded with base64 -d`);
  } finally {
    await file.close();
  }
}
