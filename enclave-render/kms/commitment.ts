import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';

/**
 * A commitment to a data key, 32 bytes in hexadecimal: tells nobody the key, and two keys with one commitment cannot be found. What
 * KMS encrypts for an enclave is encrypted to a public key, which the parent of the enclave can do as well: an enclave uses no key
 * but the one that its owner is committed to. HMAC-SHA-256 under a key derived for nothing else (RFC 5869).
 */
export function commitment(dataKey: Uint8Array): string {
  const key = Buffer.from(hkdfSync('sha256', dataKey, new Uint8Array(), 'portcullis data key, commitment 1', 32));
  return createHmac('sha256', key).update('commitment').digest('hex');
}

/** Whether this is the key that was committed to; takes as long either way. */
export function isCommitted(dataKey: Uint8Array, expected: string): boolean {
  const [found, wanted] = [commitment(dataKey), expected].map((hex) => Buffer.from(hex, 'hex'));
  return (
    found !== undefined && wanted !== undefined && found.length === wanted.length && timingSafeEqual(found, wanted)
  );
}
