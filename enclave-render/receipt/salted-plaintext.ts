import { createHmac, type Hmac, hkdfSync, timingSafeEqual } from 'node:crypto';

/**
 * What the salted hash of a plaintext is made with: an HMAC-SHA-256 to feed it to, in hexadecimal at the end. Its key
 * is derived from the output's content key (32 bytes) by HKDF-SHA-256 (RFC 5869), `info` `portcullis-render/1 salted
 * plaintext`. Whoever holds the content key can compare another render of the same job with it; to anybody else it says
 * nothing, not even for a plaintext that they can guess.
 */
export function saltedPlaintext(contentKey: Uint8Array): Hmac {
  const key = hkdfSync('sha256', contentKey, new Uint8Array(), 'portcullis-render/1 salted plaintext', 32);
  return createHmac('sha256', Buffer.from(key));
}

/**
 * Whether a plaintext is the one that a salted hash (hexadecimal) was made of: an output that was opened, or an
 * independent render of the same job.
 */
export async function isSaltedPlaintext(
  hmacSha256: string,
  contentKey: Uint8Array,
  plaintext: AsyncIterable<Uint8Array>,
): Promise<boolean> {
  const hmac = saltedPlaintext(contentKey);
  for await (const piece of plaintext) hmac.update(piece);
  const [actual, expected] = [hmac.digest(), Buffer.from(hmacSha256, 'hex')];
  return actual.length === expected.length && timingSafeEqual(actual, expected);
}
