import { randomFillSync } from 'node:crypto';

const BASE62 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
/** The largest multiple of 62 in a byte: the bytes from there on are left out, or the first characters would come more often. */
const UNBIASED = 248;
/** Random bytes fetched at once: a call to the CSPRNG costs more than the bytes. */
const POOL_BYTES = 1024;

/** Makes session ids of so many letters and digits (base62), each random (CSPRNG); every source has random bytes of its own. */
export function sessionIds(): (length: number) => string {
  const pool = new Uint8Array(POOL_BYTES);
  let used = POOL_BYTES;
  return (length) => {
    let id = '';
    while (id.length < length) {
      if (used === POOL_BYTES) {
        randomFillSync(pool);
        used = 0;
      }
      const byte = pool[used++] as number;
      if (byte < UNBIASED) id += BASE62[byte % BASE62.length];
    }
    return id;
  };
}
