import { createHmac } from 'node:crypto';
import workerJwt from '@tsndr/cloudflare-worker-jwt';
import { createSigner, createVerifier } from 'fast-jwt';
import { type JWTPayload, jwtVerify, SignJWT } from 'jose';
import jsonwebtoken from 'jsonwebtoken';
import { describe, expect, test } from 'vitest';
import {
  describeEngines,
  HEADER,
  mintToken,
  outcomes,
  PATH,
  tokenUri,
  VARIANTS,
  viewerRequest,
} from '../harness/edge.ts';
import { NOW, TEST_CLAIMS, TEST_KEY } from '../harness/minting.ts';

const SIGNING_KEY = Buffer.from(TEST_KEY.sign, 'base64url');
const { typ, kid } = HEADER;

/** How each library is asked for a token as docs/token.md describes it. */
const LIBRARIES: Record<string, (claims: JWTPayload) => string | Promise<string>> = {
  jsonwebtoken: (claims) => jsonwebtoken.sign(claims, SIGNING_KEY, { header: { alg: 'HS256', typ, kid } }),
  'jsonwebtoken, key id as an option': (claims) =>
    jsonwebtoken.sign(claims, SIGNING_KEY, { algorithm: 'HS256', keyid: kid, header: { typ, alg: 'HS256' } }),
  'fast-jwt': (claims) =>
    createSigner({ key: SIGNING_KEY, algorithm: 'HS256', kid, header: { alg: 'HS256', typ } })(claims),
  '@tsndr/cloudflare-worker-jwt': (claims) =>
    workerJwt.sign(
      claims,
      { kty: 'oct', k: TEST_KEY.sign, alg: 'HS256', kid },
      { algorithm: 'HS256', header: { typ, kid } },
    ),
  ...Object.fromEntries(
    [
      { kid, typ, alg: 'HS256' },
      { kid, alg: 'HS256', typ },
      { typ, alg: 'HS256', kid },
      { typ, kid, alg: 'HS256' },
      { alg: 'HS256', kid, typ },
    ].map((header) => [
      `jose, ${Object.keys(header).join(' ')}`,
      (claims: JWTPayload) => new SignJWT(claims).setProtectedHeader(header).sign(SIGNING_KEY),
    ]),
  ),
};

const bindings = ['ip', 'country', 'header:x-device'];
const bindingLines = `sid=${TEST_CLAIMS.sid}\nip=203.0.113.7\ncountry=DE\nheader:x-device=tv-7\n`;
const bmac = createHmac('sha256', Buffer.from(TEST_KEY.bind, 'base64url')).update(bindingLines).digest('base64url');

/** Claims sets that docs/token.md allows. */
const CLAIMS: Record<string, JWTPayload> = {
  'required claims': { ...TEST_CLAIMS },
  'in another order': Object.fromEntries(Object.entries(TEST_CLAIMS).reverse()),
  'optional claims': { ...TEST_CLAIMS, nbf: NOW, sub: 'viewer-7', cty: ['AT', 'DE'] },
  'claims of others': {
    ...TEST_CLAIMS,
    iss: 'https://cms.example',
    aud: ['a', 'b'],
    jti: 'x',
    nested: { deep: [null] },
  },
  'not only ASCII': { ...TEST_CLAIMS, aid: 'Bäume im März 🌲', sub: 'зритель "7"\\' },
  bindings: { ...TEST_CLAIMS, bnd: bindings, bmac },
};

describeEngines('tokens of other JWT libraries', (engine) => {
  describe.each(VARIANTS)('%s', (variant) => {
    test.each(Object.keys(LIBRARIES))('%s', async (library) => {
      const sign = LIBRARIES[library] as (claims: JWTPayload) => string | Promise<string>;
      const tokens = await Promise.all(Object.values(CLAIMS).map((claims) => sign({ ...claims })));
      const events = tokens.map((token) => viewerRequest(tokenUri(token)));
      expect(zip(Object.keys(CLAIMS), await outcomes(engine, events, { variant }))).toEqual(
        Object.keys(CLAIMS).map((name) => [name, `allowed ${PATH}`]),
      );
      // What each library calls a JWT of its own kind is none of ours: what was accepted was accepted for its header.
      const untyped = await new SignJWT({ ...TEST_CLAIMS })
        .setProtectedHeader({ alg: 'HS256', typ: 'JWT', kid })
        .sign(SIGNING_KEY);
      expect(await outcomes(engine, [viewerRequest(tokenUri(untyped))], { variant })).toEqual([
        'denied token-malformed',
      ]);
    });
  });
});

function zip<Left, Right>(left: Left[], right: Right[]): [Left, Right | undefined][] {
  return left.map((item, i) => [item, right[i]]);
}

describe('tokens that we mint, in other JWT libraries', () => {
  const claims = { ...TEST_CLAIMS, sub: 'зритель', nbf: NOW, bnd: ['ip', 'user-agent'] };
  const token = mintToken(claims).slice(TEST_CLAIMS.sid.length + 1);

  test('jose', async () => {
    const { payload, protectedHeader } = await jwtVerify(token, SIGNING_KEY, {
      algorithms: ['HS256'],
      typ,
      currentDate: new Date(NOW * 1000),
      requiredClaims: Object.keys(claims),
    });
    expect(payload).toMatchObject(claims);
    expect(protectedHeader).toEqual(HEADER);
  });

  test('jsonwebtoken', () => {
    const options = { algorithms: ['HS256' as const], clockTimestamp: NOW, complete: true as const };
    expect(jsonwebtoken.verify(token, SIGNING_KEY, options)).toMatchObject({ header: HEADER, payload: claims });
  });

  test('fast-jwt', () => {
    const verify = createVerifier({
      key: SIGNING_KEY,
      algorithms: ['HS256'],
      checkTyp: typ,
      clockTimestamp: NOW * 1000,
      complete: true,
    });
    expect(verify(token)).toMatchObject({ header: HEADER, payload: claims });
  });

  test('@tsndr/cloudflare-worker-jwt, which knows no other clock than the machine', async () => {
    const now = Math.floor(Date.now() / 1000);
    const current = mintToken({ ...TEST_CLAIMS, iat: now, sst: now, exp: now + 3600 });
    const key = { kty: 'oct', k: TEST_KEY.sign, alg: 'HS256', kid };
    const data = await workerJwt.verify(current.slice(TEST_CLAIMS.sid.length + 1), key, {
      algorithm: 'HS256',
      throwError: true,
    });
    expect(data).toMatchObject({ header: HEADER, payload: { sid: TEST_CLAIMS.sid } });
  });
});
