import { describe, expect, test } from 'vitest';
import { mint, type VerificationKey } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { decide, NOW, TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from '../harness/minting.ts';

describe('a key that is none verifies nothing', () => {
  test.each([
    { sign: '', bind: TEST_KEY.bind },
    { sign: TEST_KEY.sign.slice(1), bind: TEST_KEY.bind },
    { sign: undefined, bind: undefined },
    {},
    null,
  ])('%j', (key) => {
    const forged = mint(TEST_CLAIMS, { ...TEST_KEY, sign: '' }, TEST_VIEWING, nodeCrypto);
    const options = { key: key as VerificationKey | null };
    expect(decide(`/${forged}/aurora/x`, TEST_VIEWING, options)).toBe('token-key-unknown');
  });
});

test('a binding key that is none meets no binding', () => {
  const bound = { ...TEST_CLAIMS, bnd: ['ip'] };
  for (const bind of ['', undefined as unknown as string]) {
    const key = { ...TEST_KEY, bind };
    const uri = `/${mint(bound, { ...key, bind: '' }, TEST_VIEWING, nodeCrypto)}/aurora/x`;
    expect(decide(uri, TEST_VIEWING, { key })).toBe('token-key-unknown');
  }
});

test('a cut-off that is no number denies', () => {
  const uri = `/${mint(TEST_CLAIMS, TEST_KEY, TEST_VIEWING, nodeCrypto)}/aurora/x`;
  const revocation = { session: false, before: undefined as unknown as number };
  expect(decide(uri, TEST_VIEWING, { revocation })).toBe('session-cutoff');
});

test('leeway tolerates clocks that differ', () => {
  const claims = { ...TEST_CLAIMS, nbf: NOW + 10, exp: NOW + 20 };
  const uri = `/${mint(claims, TEST_KEY, TEST_VIEWING, nodeCrypto)}/aurora/x`;
  const at = (now: number) => decide(uri, TEST_VIEWING, { now, leewaySeconds: 5 });
  expect([at(NOW + 4), at(NOW + 5), at(NOW + 24), at(NOW + 25)]).toEqual([
    'token-not-yet-valid',
    '',
    '',
    'token-expired',
  ]);
});
