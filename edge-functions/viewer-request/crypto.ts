import crypto from 'crypto';
import type { TokenCrypto } from '../../token/crypto.ts';

/** The 32-bit words of a text of 43 ASCII characters; copied, because a view needs an aligned buffer of its own. */
function words(text: string): Uint32Array {
  return new Uint32Array(new Uint8Array(Buffer.from(text + ' ')).buffer);
}

/** `TokenCrypto` on what the CloudFront runtime has: no timingSafeEqual, and base64url decoding that does not complain. */
export const edgeCrypto: TokenCrypto = {
  hmac: function (key, text) {
    return crypto.createHmac('sha256', Buffer.from(key, 'base64url')).update(text).digest('base64url');
  },
  equal: function (a, b) {
    // Compared are MACs of 43 characters: any other length is a difference, and no secret. Not more than a length may
    // be looked at before the loop, which sees every word.
    if (b.length !== 43 || Buffer.byteLength(b) !== 43) return false;
    const left = words(a);
    const right = words(b);
    let difference = 0;
    for (let i = 0; i < 11; i++) difference |= (left[i] as number) ^ (right[i] as number);
    return difference === 0;
  },
  decode: function (encoded) {
    const bytes = Buffer.from(encoded, 'base64url');
    return bytes.toString('base64url') === encoded ? bytes.toString() : '';
  },
};
