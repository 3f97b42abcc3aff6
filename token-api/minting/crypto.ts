import { createHmac, hash, timingSafeEqual } from 'node:crypto';
import type { MintCrypto } from '../../token/index.ts';

/** Block and digest of SHA-256, in bytes. */
const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;
/** Room for the text of nearly every MAC, in bytes; a longer one makes room for itself. */
const USUAL_TEXT_BYTES = 4096;

/** The block that HMAC puts before what it hashes: the key, filled up with zeros, each byte XOR `pad` (RFC 2104 §2). */
function padded(key: Buffer, pad: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  (key.length > BLOCK_BYTES ? hash('sha256', key, 'buffer') : key).copy(block);
  return block.map((byte) => byte ^ pad) as Buffer;
}

/**
 * HMAC-SHA-256 as RFC 2104 §2 writes it, H(K ⊕ opad, H(K ⊕ ipad, text)): two hashes in one call each, and the blocks of
 * the key laid out once. `createHmac` makes a stream for each MAC, which costs more than the hashing; minting is mostly this.
 */
function hmac(key: string): (text: string) => string {
  const bytes = Buffer.from(key, 'base64url');
  const innerBlock = padded(bytes, 0x36);
  const outer = Buffer.concat([padded(bytes, 0x5c)], BLOCK_BYTES + DIGEST_BYTES);
  let inner = Buffer.concat([innerBlock], BLOCK_BYTES + USUAL_TEXT_BYTES);
  return (text) => {
    // A UTF-16 code unit has at most three bytes in UTF-8.
    const most = BLOCK_BYTES + 3 * text.length;
    if (most > inner.length) inner = Buffer.concat([innerBlock], most);
    const end = BLOCK_BYTES + inner.write(text, BLOCK_BYTES);
    outer.write(hash('sha256', inner.subarray(0, end), 'binary'), BLOCK_BYTES, 'binary');
    return hash('sha256', outer, 'base64url');
  };
}

/** `MintCrypto` on node:crypto. */
export const nodeCrypto: MintCrypto = {
  hmac,
  isMac: (key, text, mac) => {
    const expected = Buffer.from(createHmac('sha256', Buffer.from(key, 'base64url')).update(text).digest('base64url'));
    const presented = Buffer.from(mac);
    return expected.length === presented.length && timingSafeEqual(expected, presented);
  },
  decode: (encoded) => {
    const bytes = Buffer.from(encoded, 'base64url');
    return bytes.toString('base64url') === encoded ? bytes.toString() : '';
  },
  encode: (text) => Buffer.from(text).toString('base64url'),
};
