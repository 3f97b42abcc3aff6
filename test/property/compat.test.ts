import { createHmac } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runInNjs } from '../../edge-functions/runtime/njs.ts';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { readCompatClaims } from '../../token/compat/claims.ts';
import { CompatError, type CompatViewer, mintCompat } from '../../token/compat/mint.ts';
import { parseCompat } from '../../token/compat/parse.ts';
import { verifyCompat } from '../../token/compat/verify.ts';
import type { Viewing } from '../../token/index.ts';
import { compatKey } from '../../token-api/key-ring/compat.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { buildCompat, decisionOf } from '../harness/compat.ts';
import { NOW } from '../harness/minting.ts';
import { describeWith, LONG } from '../harness/programs.ts';

const numRuns = LONG ? 20_000 : 500;
const SECRET = '0f'.repeat(64);
const KID = '20251009_00112233445566778899';
const minting = {
  ...{ kid: KID, key: compatKey(SECRET), now: NOW, crypto: nodeCrypto },
  createSessionId: (length: number) => 'S'.repeat(length),
};

const NOTHING: Viewing = { viewer: { ip: '' }, request: { method: 'GET', headers: {}, querystring: {} } };

function decide(uri: string, viewing: Viewing = NOTHING): string {
  const parsed = parseCompat(uri, nodeCrypto);
  return parsed ? verifyCompat(parsed, minting.key, viewing, NOW, 0, nodeCrypto) : 'no token';
}

const segment = fc.string({ unit: fc.constantFrom(...'abcXYZ019-_~'), minLength: 1, maxLength: 12 });
const directory = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => `/${segments.join('/')}/`);
const text = fc.string({ unit: fc.constantFrom(...'abc XYZ019:/.%+'), minLength: 1, maxLength: 12 });
const capitals = text.map((value) => value.toUpperCase());
const maybe = <Value>(values: fc.Arbitrary<Value>) => fc.option(values, { nil: undefined });

const policies = fc.record(
  {
    paths: fc.array(directory, { minLength: 1, maxLength: 3 }),
    exc: fc.array(directory, { maxLength: 1 }),
    exp: fc.integer({ min: 1, max: 48 }).map((hours) => `+${hours}h`),
    nbf: maybe(fc.constantFrom(NOW, `${NOW}`, 0)),
    ...{ ip: fc.boolean(), co: fc.boolean(), cty: fc.boolean(), reg: fc.boolean(), ssn: fc.boolean() },
    ...{ co_fallback: fc.boolean(), reg_fallback: fc.boolean() },
    headers: fc.uniqueArray(fc.constantFrom('user-agent', 'referer', 'x-a', 'x-b')),
    querystrings: fc.uniqueArray(fc.constantFrom('a', 'b')),
  },
  { requiredKeys: ['paths', 'exp'] },
);
const viewers: fc.Arbitrary<CompatViewer> = fc.record(
  {
    ip: fc.oneof(fc.ipV4(), fc.ipV6(), fc.ipV4Extended()),
    ...{ co: capitals, cty: text, reg: capitals, sessionId: text },
    headers: fc.record({ 'user-agent': text, referer: text, 'x-a': text, 'x-b': text }, { requiredKeys: [] }),
    qs: fc.record({ a: text, b: text }, { requiredKeys: [] }),
  },
  { requiredKeys: [] },
);

/** The request of a viewer as the edge sees it: query values as a browser writes them. */
function viewingOf(viewer: CompatViewer): Viewing {
  const place = {
    'cloudfront-viewer-country': viewer.co,
    'cloudfront-viewer-city': viewer.cty,
    'cloudfront-viewer-country-region': viewer.reg,
  };
  const fields = (values: object) =>
    Object.fromEntries(
      Object.entries(values).flatMap(([name, value]) => (value === undefined ? [] : [[name, { value }]])),
    );
  const query = Object.entries(viewer.qs ?? {}).map(([name, value]) => [name, encodeURIComponent(value)]);
  return {
    viewer: { ip: viewer.ip ?? '' },
    request: {
      method: 'GET',
      headers: fields({ ...viewer.headers, ...place }),
      querystring: fields(Object.fromEntries(query)),
    },
  };
}

describe('mint and verify', () => {
  test('what is minted is verified for its viewer, or not minted', () => {
    let minted = 0;
    fc.assert(
      fc.property(policies, viewers, (policy, viewer) => {
        let token: string;
        try {
          token = mintCompat(policy, viewer, null, minting).token;
        } catch (error) {
          expect(error).toBeInstanceOf(CompatError);
          return;
        }
        minted++;
        expect(decide(`/${token}${policy.paths[0]}x`, viewingOf(viewer))).toBe('');
      }),
      { numRuns: numRuns * 4 },
    );
    expect(minted).toBeGreaterThan(numRuns / 10);
  });

  test.each([{ ip: true }, { co: true }, { cty: true }, { reg: true }, { headers: ['x-a'] }, { querystrings: ['a'] }])(
    '%o: another value is denied, and none',
    (bound) => {
      const same = { ip: '203.0.113.7', co: 'FR', cty: 'Paris', reg: 'IDF', headers: { 'x-a': '1' }, qs: { a: '1' } };
      const other = { ip: '203.0.113.8', co: 'DE', cty: 'Lyon', reg: 'ARA', headers: { 'x-a': '2' }, qs: { a: '2' } };
      const { token } = mintCompat({ paths: ['/a/'], exp: '+1h', ...bound }, same, null, minting);
      const reasons = [same, other, {}].map((viewer) => decide(`/${token}/a/x`, viewingOf(viewer)));
      expect(reasons).toEqual(['', 'binding-mismatch', 'binding-missing']);
    },
  );

  test('any changed character of a token is denied', () => {
    const policy = { paths: ['/a/'], exp: '+1h', ssn: true };
    const { token } = mintCompat(policy, {}, null, minting);
    const printable = fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code));
    fc.assert(
      fc.property(fc.nat(token.length - 1), printable, (position, character) => {
        fc.pre(token[position] !== character);
        expect(decide(`/${token.slice(0, position)}${character}${token.slice(position + 1)}/a/x`)).not.toBe('');
      }),
      { numRuns: numRuns * 4 },
    );
  });

  test('no policy and no viewer makes minting throw anything but a named error', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.jsonValue(),
          policies.chain((policy) => fc.jsonValue().map((exp) => ({ ...policy, exp }))),
        ),
        fc.jsonValue(),
        (policy, viewer) => {
          try {
            mintCompat(policy, viewer, null, minting);
          } catch (error) {
            expect(error).toBeInstanceOf(CompatError);
          }
        },
      ),
      { numRuns },
    );
  });
});

test('parsing never throws, whatever the URI or the payload', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.webPath(), fc.json()), (input) => {
      expect(parseCompat(input, nodeCrypto)).toBeNull();
      expect(readCompatClaims(input)).toBeNull();
    }),
    { numRuns },
  );
});

describeWith('njs', 'two engines', () => {
  const claims = {
    ...{ ip: true, co: false, cty: false, reg: false, ssn: false, exp: NOW + 60, headers: ['x-a'], qs: ['a'] },
    ...{ intsig: 'x', paths: ['/a/'], exc: ['/b/'], ip_ver: 4, iat: NOW },
  };
  const payload = JSON.stringify(claims);
  const piece = fc.constantFrom(
    ...'{}[]",:\\ \n0159.-+eE\u00e9\u2028',
    'null',
    'true',
    '[[[[',
    '{"a":',
    '"__proto__":',
    '\\u00',
    '01',
  );
  const edits = fc.array(fc.tuple(fc.nat(payload.length), fc.nat(3), piece), { minLength: 1, maxLength: 3 });
  const edited = edits.map((all) =>
    all.reduce((result, [at, cut, put]) => result.slice(0, at) + put + result.slice(at + cut), payload),
  );
  const changed = fc
    .tuple(fc.constantFrom(...Object.keys(claims)), fc.jsonValue())
    .map(([name, value]) => JSON.stringify({ ...claims, [name]: value }));
  const sign = (signed: string) => createHmac('sha256', SECRET).update(signed).digest('base64url');
  const header = Buffer.from(JSON.stringify({ alg: 'HS256', typ: 'JWT', kid: KID })).toString('base64url');
  const path = fc.constantFrom('/a/x', '/b/x', '/c');

  test('decide alike about every payload, and neither throws', async () => {
    const cases = fc.sample(fc.tuple(fc.oneof(edited, changed), path), { numRuns: numRuns * 4 });
    const events = cases.map(([content, rest]) => {
      const signed = `${header}.${Buffer.from(content).toString('base64url')}`;
      const request = {
        method: 'GET',
        uri: `/${signed}.${sign(signed)}${rest}`,
        querystring: {},
        headers: {},
        cookies: {},
      };
      return { version: '1.0', context: {}, viewer: { ip: '203.0.113.7' }, request };
    });
    const code = await buildCompat({ [KID]: SECRET });
    const options = { now: NOW, store: new Map() };
    const [inVm, inNjs] = await Promise.all([runInVm(code, events, options), runInNjs(code, events, options)]);
    for (const [i, [content]] of cases.entries()) {
      const decision = decisionOf(inVm[i]);
      expect(decisionOf(inNjs[i]), content).toEqual(decision);
      expect(decision, content).not.toHaveProperty('error');
    }
  });
});
