import { createHmac, timingSafeEqual } from 'node:crypto';
import type { MintCrypto } from '../../token/index.ts';

function hmac(key: string, text: string): string {
  return createHmac('sha256', Buffer.from(key, 'base64url')).update(text).digest('base64url');
}

/** `MintCrypto` on node:crypto. */
export const nodeCrypto: MintCrypto = {
  hmac,
  isMac: (key, text, mac) => {
    const expected = Buffer.from(hmac(key, text));
    const presented = Buffer.from(mac);
    return expected.length === presented.length && timingSafeEqual(expected, presented);
  },
  decode: (encoded) => {
    const bytes = Buffer.from(encoded, 'base64url');
    return bytes.toString('base64url') === encoded ? bytes.toString() : '';
  },
  encode: (text) => Buffer.from(text).toString('base64url'),
};
