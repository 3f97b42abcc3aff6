import { compactVerify, type JWTPayload, jwtVerify } from 'jose';
import { expect, test } from 'vitest';
import { describeEngines, HEADER, mintToken, outcomes, signRaw, tokenUri, viewerRequest } from '../harness/edge.ts';
import { expectNothingWrong } from '../harness/engine-differences.ts';
import { NOW, TEST_CLAIMS, TEST_KEY } from '../harness/minting.ts';

const SIGNING_KEY = Buffer.from(TEST_KEY.sign, 'base64url');
const REQUIRED = Object.keys(TEST_CLAIMS);

/** What both must accept. */
const GENUINE = ['header as minted', 'header another order', 'claims {"exp":1760000001}', 'claims {"nbf":1760000000}'];

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const genuine = mintToken().slice(TEST_CLAIMS.sid.length + 1);
const [header = '', payload = '', signature = ''] = genuine.split('.');
const base64url = (text: string) => Buffer.from(text).toString('base64url');

/** Headers over the claims, correctly signed. */
const HEADERS: Record<string, unknown> = {
  'as minted': HEADER,
  'another order': { kid: HEADER.kid, typ: HEADER.typ, alg: HEADER.alg },
  'no alg': { typ: HEADER.typ, kid: HEADER.kid },
  'no typ': { alg: HEADER.alg, kid: HEADER.kid },
  'no kid': { alg: HEADER.alg, typ: HEADER.typ },
  ...Object.fromEntries(
    [
      'none',
      'None',
      'NONE',
      '',
      'hs256',
      'HS384',
      'HS512',
      'RS256',
      'ES256',
      'EdDSA',
      'A128KW',
      'dir',
      ' HS256',
      null,
      256,
      ['HS256'],
    ].map((alg) => [`alg ${JSON.stringify(alg)}`, { ...HEADER, alg }]),
  ),
  ...Object.fromEntries(
    [
      'JWT',
      'jwt',
      '',
      'portcullis',
      'portcullis+jwtx',
      'at+jwt',
      null,
      1,
      ['portcullis+jwt'],
      'application/portcullis+jwt',
      'PORTCULLIS+JWT',
    ].map((typ) => [`typ ${JSON.stringify(typ)}`, { ...HEADER, typ }]),
  ),
  ...Object.fromEntries(
    [
      { crit: ['exp'] },
      { crit: ['b64'] },
      { crit: ['b64'], b64: false },
      { crit: ['b64'], b64: true },
      { b64: false },
      { crit: [] },
      { crit: {} },
      { crit: 'exp' },
      { crit: null },
      { crit: ['alg'] },
      { crit: ['unknown'], unknown: 1 },
      { zip: 'DEF' },
      { cty: 'JWT' },
      { jku: 'https://attacker.example/keys' },
      { jwk: { kty: 'oct', k: TEST_KEY.bind } },
      { x5u: 'https://attacker.example/chain' },
      { x5c: ['AAAA'] },
    ].map((more) => [`with ${JSON.stringify(more)}`, { ...HEADER, ...more }]),
  ),
  'an array': [HEADER],
  'a text': 'HS256',
  null: null,
};

/** Changes of the claims, correctly signed; undefined removes one. */
const CLAIMS: Record<string, unknown>[] = [
  ...REQUIRED.map((name) => ({ [name]: undefined })),
  ...['exp', 'nbf', 'iat'].flatMap((name) =>
    [null, '', String(NOW), 'x', true, [], [NOW], {}, -1, 0, NOW - 1, NOW, NOW + 1, NOW + 0.5, 1e308].map((value) => ({
      [name]: value,
    })),
  ),
  { exp: NOW + 86_400, nbf: NOW },
  ...[NOW - 1, NOW, NOW + 1].map((exp) => ({ iat: NOW - 60, sst: NOW - 60, exp })),
];

/** Tokens by what was done to the genuine one. */
function variants(): Map<string, string> {
  const tokens = new Map<string, string>();
  for (const [name, header] of Object.entries(HEADERS)) {
    tokens.set(`header ${name}`, signRaw(JSON.stringify(header), JSON.stringify(TEST_CLAIMS)));
    tokens.set(`header ${name}, not signed`, `${base64url(JSON.stringify(header))}.${payload}.`);
    tokens.set(`header ${name}, old signature`, `${base64url(JSON.stringify(header))}.${payload}.${signature}`);
  }
  for (const change of CLAIMS) {
    const json = JSON.stringify({ ...TEST_CLAIMS, ...change });
    const name = `claims ${JSON.stringify(change, (_, value) => (value === undefined ? 'removed' : value))}`;
    tokens.set(name, signRaw(JSON.stringify(HEADER), json));
    tokens.set(`${name}, old signature`, `${header}.${base64url(json)}.${signature}`);
  }
  for (const [name, json] of Object.entries({
    null: 'null',
    array: '[]',
    text: '"x"',
    number: '1',
    empty: '',
    cut: '{"sid":',
  })) {
    tokens.set(`claims ${name}`, signRaw(JSON.stringify(HEADER), json));
  }
  const keys = {
    'the binding key': TEST_KEY.bind,
    'an empty key': '',
    'the text of the key': base64url(TEST_KEY.sign),
  };
  for (const [name, key] of Object.entries(keys)) {
    tokens.set(`signed with ${name}`, signRaw(JSON.stringify(HEADER), JSON.stringify(TEST_CLAIMS), key));
  }
  for (let i = 0; i < genuine.length; i++) {
    const before = genuine.slice(0, i);
    const after = genuine.slice(i + 1);
    const character = genuine[i] as string;
    const next = BASE64URL[(BASE64URL.indexOf(character) + 1) % 64];
    tokens.set(`${i} removed`, before + after);
    tokens.set(`${i} doubled`, before + character + character + after);
    tokens.set(`${i} cut off from here`, before);
    tokens.set(`${i} replaced by a wide one`, before + String.fromCharCode(character.charCodeAt(0) + 256) + after);
    for (const other of [next, '=', '.', '+', '/', ' ', '%', 'é'])
      tokens.set(`${i} replaced by ${other}`, before + other + after);
  }
  for (const end of ['=', '==', '.', 'A', '\n', ' ']) tokens.set(`followed by ${JSON.stringify(end)}`, genuine + end);
  return tokens;
}

async function joseAccepts(token: string): Promise<boolean> {
  try {
    await compactVerify(token, SIGNING_KEY, { algorithms: ['HS256'] });
    await jwtVerify<JWTPayload>(token, SIGNING_KEY, {
      algorithms: ['HS256'],
      typ: HEADER.typ,
      currentDate: new Date(NOW * 1000),
      requiredClaims: REQUIRED,
    });
    return true;
  } catch {
    return false;
  }
}

const all = variants();
const joseVerdicts = Promise.all([...all.values()].map(joseAccepts));

describeEngines('what jose refuses is refused', (engine) => {
  test(`${all.size} variants of one token`, async () => {
    const byJose = await joseVerdicts;
    const byUs = await outcomes(
      engine,
      [...all.values()].map((token) => viewerRequest(tokenUri(token))),
    );
    const names = [...all.keys()];
    expect(byUs.filter((outcome) => !/^(?:allowed|denied) /.test(outcome))).toEqual([]);
    const acceptedByUs = names.filter((_, i) => byUs[i]?.startsWith('allowed'));
    const acceptedByJose = names.filter((_, i) => byJose[i]);
    // Both accept something, or nothing was compared.
    for (const name of GENUINE)
      expect([acceptedByUs, acceptedByJose]).toEqual([expect.arrayContaining([name]), expect.arrayContaining([name])]);
    const byUsAlone = acceptedByUs.filter((name) => !acceptedByJose.includes(name));
    expectNothingWrong(Object.fromEntries(byUsAlone.map((name) => [name, 'accepted'])));
  });
});
