import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import { isSaltedPlaintext, saltedPlaintext } from '../../../enclave-render/receipt/salted-plaintext.ts';

const key = Buffer.alloc(32, 7);
const hmac = (secret: Uint8Array, content: Uint8Array | string) =>
  createHmac('sha256', secret).update(content).digest();

async function* pieces(...texts: string[]) {
  for (const text of texts) yield Buffer.from(text);
}

test('the salted hash is an HMAC under a key of HKDF (RFC 5869 §2.2, §2.3), written out', () => {
  const pseudorandom = hmac(Buffer.alloc(32), key);
  const derived = hmac(pseudorandom, Buffer.from('portcullis-render/1 salted plaintext\x01'));
  expect(saltedPlaintext(key).update('frames').digest('hex')).toBe(hmac(derived, 'frames').toString('hex'));
});

test('another render compares equal only if it is the same, under the same content key', async () => {
  const salted = saltedPlaintext(key).update('frames').digest('hex');
  expect(await isSaltedPlaintext(salted, key, pieces('fra', '', 'mes'))).toBe(true);
  expect(await isSaltedPlaintext(salted, key, pieces('frames '))).toBe(false);
  expect(await isSaltedPlaintext(salted, Buffer.alloc(32, 8), pieces('frames'))).toBe(false);
  for (const other of ['', 'x', salted.slice(2)])
    expect(await isSaltedPlaintext(other, key, pieces('frames'))).toBe(false);
});
