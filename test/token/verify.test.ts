import { describe, expect, test } from 'vitest';
import { mint, parse, type VerificationKey, verify } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { NOW, TEST_CLAIMS, TEST_KEY, TEST_VIEWER } from '../harness/minting.ts';

const context = { crypto: nodeCrypto, now: NOW, maxLifetimeSeconds: 3600, leewaySeconds: 0 };
const notRevoked = { session: false, before: 0 };

describe('a key that is none verifies nothing', () => {
  test.each([
    { sign: '', bind: TEST_KEY.bind },
    { sign: TEST_KEY.sign.slice(1), bind: TEST_KEY.bind },
    { sign: TEST_KEY.sign, bind: '' },
    { sign: undefined, bind: undefined },
    {},
    null,
  ])('%j', (key) => {
    const forged = mint(TEST_CLAIMS, { ...TEST_KEY, sign: '' }, TEST_VIEWER, nodeCrypto);
    const parsed = parse(`/${forged}/aurora/x`, nodeCrypto);
    const { reason } = verify(parsed, key as VerificationKey | null, notRevoked, TEST_VIEWER, context);
    expect(reason).toBe('token-key-unknown');
  });
});

test('a cut-off that is no number denies', () => {
  const parsed = parse(`/${mint(TEST_CLAIMS, TEST_KEY, TEST_VIEWER, nodeCrypto)}/aurora/x`, nodeCrypto);
  const revocation = { session: false, before: undefined as unknown as number };
  expect(verify(parsed, TEST_KEY, revocation, TEST_VIEWER, context).reason).toBe('session-cutoff');
});

test('leeway tolerates clocks that differ', () => {
  const claims = { ...TEST_CLAIMS, nbf: NOW + 10, exp: NOW + 20 };
  const parsed = parse(`/${mint(claims, TEST_KEY, TEST_VIEWER, nodeCrypto)}/aurora/x`, nodeCrypto);
  const at = (now: number) =>
    verify(parsed, TEST_KEY, notRevoked, TEST_VIEWER, { ...context, now, leewaySeconds: 5 }).reason;
  expect([at(NOW + 4), at(NOW + 5), at(NOW + 24), at(NOW + 25)]).toEqual([
    'token-not-yet-valid',
    '',
    '',
    'token-expired',
  ]);
});
