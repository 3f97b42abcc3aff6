import { createHmac, timingSafeEqual } from 'node:crypto';
import type { MintCrypto } from '../../token/index.ts';

/** `MintCrypto` on node:crypto. */
export const nodeCrypto: MintCrypto = {
  hmac: (key, text) => createHmac('sha256', Buffer.from(key, 'base64url')).update(text).digest('base64url'),
  equal: (a, b) => {
    const left = Buffer.from(a);
    const right = Buffer.from(b);
    return left.length === right.length && timingSafeEqual(left, right);
  },
  decode: (encoded) => {
    const bytes = Buffer.from(encoded, 'base64url');
    return bytes.toString('base64url') === encoded ? bytes.toString() : '';
  },
  encode: (text) => Buffer.from(text).toString('base64url'),
};
