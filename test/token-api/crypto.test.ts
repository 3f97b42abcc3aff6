import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { LONG } from '../harness/programs.ts';

const numRuns = LONG ? 50_000 : 2000;
const reference = (key: Uint8Array, text: string) => createHmac('sha256', key).update(text).digest('base64url');
const encoded = (key: Uint8Array) => Buffer.from(key).toString('base64url');

describe('the MACs of minting are those of createHmac', () => {
  test('for any key and any text', () => {
    const key = fc.uint8Array({ minLength: 0, maxLength: 130 });
    const text = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme', maxLength: 3000 }));
    fc.assert(
      fc.property(key, fc.array(text, { minLength: 1, maxLength: 4 }), (bytes, texts) => {
        const mac = nodeCrypto.hmac(encoded(bytes));
        // Several texts with one key: nothing of a text may remain for the next.
        for (const one of [...texts, '', texts[0] ?? '']) expect(mac(one)).toBe(reference(bytes, one));
      }),
      { numRuns },
    );
  });

  test.each([0, 1, 63, 64, 65, 1365, 1366, 4096, 4097, 100_000])('for a text of %d characters', (length) => {
    const bytes = Buffer.alloc(32, 7);
    const mac = nodeCrypto.hmac(encoded(bytes));
    for (const text of ['a', '€', '\ud800'].map((character) => character.repeat(length))) {
      expect(mac(text)).toBe(reference(bytes, text));
    }
  });

  test.each([0, 31, 32, 63, 64, 65, 200])('for a key of %d bytes', (length) => {
    const bytes = Buffer.alloc(length, 0xff);
    expect(nodeCrypto.hmac(encoded(bytes))('text')).toBe(reference(bytes, 'text'));
  });

  test('for the first case of RFC 4231', () => {
    const mac = Buffer.from(nodeCrypto.hmac(encoded(Buffer.alloc(20, 0x0b)))('Hi There'), 'base64url').toString('hex');
    expect(mac).toBe('b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7');
  });
});
