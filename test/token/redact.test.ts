import { expect, test } from 'vitest';
import { mint, redact } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from '../harness/minting.ts';

const token = mint(TEST_CLAIMS, TEST_KEY, TEST_VIEWING, nodeCrypto);
const signature = token.slice(token.lastIndexOf('.') + 1);

test('the signature becomes -, everything else stays', () => {
  expect(redact(`/${token}/aurora/master.m3u8`)).toBe(`/${token.replace(signature, '-')}/aurora/master.m3u8`);
});

test.each([
  ['without session prefix', token.slice(token.indexOf('.') + 1)],
  ['in a query', `a=b&t=${token}&c`],
  ['in a referer', `https://page.example/?from=https://edge.example/${token}/x`],
  ['with escaped dots', token.replaceAll('.', '%2e')],
  ['with escaped dots, upper case', token.replaceAll('.', '%2E')],
  ['with a fifth part', `${token}.x`],
  ['with an escaped first letter', token.replace('ey', '%65y').replace('ey', '%65y')],
  ['in an escaped URL', `u=http%3A%2F%2Fedge.example%2F${token}%2Faurora%2Fmaster.m3u8`],
  ['in a doubly escaped URL', `u=http%253A%252F%252Fedge.example%252F${token}%252Faurora%252Fmaster.m3u8`],
  ['whose header begins with white space', token.replace(/\.ey/, '.ewo')],
  ['alone', token],
  ['with a double dot', token.replaceAll('.', '..')],
])('a token %s is not readable', (_, text) => {
  expect(redact(text)).not.toContain(signature);
  expect(redact(text)).not.toContain(signature.slice(0, 20));
});

test.each(['/aurora/360p/segment-001.m4s', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)'])(
  '%s stays as it is',
  (text) => {
    expect(redact(text)).toBe(text);
  },
);
