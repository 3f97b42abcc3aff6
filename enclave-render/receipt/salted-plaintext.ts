import { createHmac, type Hmac, hkdfSync } from 'node:crypto';

/**
 * What the salted hash of a plaintext is made with: an HMAC-SHA-256 to feed it to, in hexadecimal at the end. Its key is derived from
 * the output's content key (32 bytes) by HKDF-SHA-256 (RFC 5869), `info` `portcullis-render/1 salted plaintext`. Whoever holds the
 * content key can compare another render of the same job with it; to anybody else it says nothing, not even for a plaintext that
 * they can guess.
 */
export function saltedPlaintext(contentKey: Uint8Array): Hmac {
  const key = hkdfSync('sha256', contentKey, new Uint8Array(), 'portcullis-render/1 salted plaintext', 32);
  return createHmac('sha256', Buffer.from(key));
}
