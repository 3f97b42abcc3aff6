import { compactVerify } from 'jose';
import { describe, expect, test } from 'vitest';
import { mint, TOKEN_TYPE, TokenError } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { decide, NOW, TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from '../harness/minting.ts';

const bound = { ...TEST_CLAIMS, bnd: ['ip', 'country', 'user-agent', 'header:x-device', 'query:d'] };

test('jose verifies what we mint', async () => {
  const token = mint(TEST_CLAIMS, TEST_KEY, TEST_VIEWING, nodeCrypto);
  const jws = token.slice(token.indexOf('.') + 1);
  const { payload, protectedHeader } = await compactVerify(jws, Buffer.from(TEST_KEY.sign, 'base64url'));
  expect(JSON.parse(Buffer.from(payload).toString())).toEqual(TEST_CLAIMS);
  expect(protectedHeader).toEqual({ alg: 'HS256', typ: TOKEN_TYPE, kid: 'k1' });
});

test('a token bound to everything is verified', () => {
  expect(decide(`/${mint(bound, TEST_KEY, TEST_VIEWING, nodeCrypto)}/aurora/x`)).toBe('');
});

test('binding values do not stand in the token', () => {
  const token = mint(bound, TEST_KEY, TEST_VIEWING, nodeCrypto);
  const payload = Buffer.from(token.split('.')[2] ?? '', 'base64url').toString();
  expect(payload).not.toContain('203.0.113.7');
  expect(payload).not.toContain('Player/1.0');
});

describe('what the edge would refuse is not minted', () => {
  test.each([
    ['ERR_TOKEN_CLAIMS', { ...TEST_CLAIMS, exp: NOW }],
    ['ERR_TOKEN_CLAIMS', { ...TEST_CLAIMS, exp: NOW + 0.5 }],
    ['ERR_TOKEN_CLAIMS', { ...TEST_CLAIMS, sst: NOW + 1 }],
    ['ERR_TOKEN_CLAIMS', { ...TEST_CLAIMS, paths: [] }],
    ['ERR_TOKEN_CLAIMS', { ...TEST_CLAIMS, sid: 'short' }],
    ['ERR_TOKEN_CLAIMS', { ...TEST_CLAIMS, sid: 'with.a.dot.in.it' }],
    ['ERR_TOKEN_CLAIMS', { ...TEST_CLAIMS, aid: '' }],
    ['ERR_TOKEN_SCOPE', { ...TEST_CLAIMS, paths: ['/a/../b'] }],
    ['ERR_TOKEN_SCOPE', { ...TEST_CLAIMS, paths: ['aurora/'] }],
    ['ERR_TOKEN_TOO_LONG', { ...TEST_CLAIMS, paths: Array.from({ length: 150 }, (_, i) => `/title-${i}/`) }],
    ['ERR_TOKEN_BINDING_UNKNOWN', { ...TEST_CLAIMS, bnd: ['shoe-size'] }],
    ['ERR_TOKEN_BINDING_UNKNOWN', { ...TEST_CLAIMS, bnd: ['constructor'] }],
    ['ERR_TOKEN_BINDING_UNKNOWN', { ...TEST_CLAIMS, bnd: ['ip:4'] }],
    ['ERR_TOKEN_BINDING_UNKNOWN', { ...TEST_CLAIMS, bnd: ['header'] }],
    ['ERR_TOKEN_BINDING_UNKNOWN', { ...TEST_CLAIMS, bnd: ['header:X-Device'] }],
    ['ERR_TOKEN_BINDING_UNKNOWN', { ...TEST_CLAIMS, bnd: ['header:cookie'] }],
    ['ERR_TOKEN_BINDING_MISSING', { ...TEST_CLAIMS, bnd: ['header:x-absent'] }],
  ])('%s', (code, claims) => {
    expect(() => mint(claims, TEST_KEY, TEST_VIEWING, nodeCrypto)).toThrow(expect.objectContaining({ code }));
  });

  test('an error carries no value of the viewer', () => {
    const viewing = { ...TEST_VIEWING, viewer: { ip: 'not-an-address' } };
    const attempt = () => mint({ ...TEST_CLAIMS, bnd: ['ip'] }, TEST_KEY, viewing, nodeCrypto);
    expect(attempt).toThrow(TokenError);
    expect(attempt).not.toThrow(/not-an-address/);
  });
});
