import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  addField,
  BINDINGS,
  DEVICES,
  type Fields,
  isUnsafePath,
  type MintClaims,
  mint,
  parseQuerystring,
  readClaims,
  SESSION_ID,
  TokenError,
  type Viewing,
} from '../../token/index.ts';
import { createMinter, loadPolicy, MintingError, type Policy, type ViewerAttributes } from '../../token-api/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { ATTRIBUTE_HEADERS } from '../../token-api/minting/policy.ts';
import { decide, NOW, parseToken, TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from '../harness/minting.ts';
import { LONG } from '../harness/programs.ts';

const numRuns = LONG ? 50_000 : 2000;
const limits = { maxLifetimeSeconds: 86_400 };
const minter = createMinter({ key: () => TEST_KEY, ...limits, now: () => NOW + 0.5 });

const COUNTRIES = ['DE', 'AT', 'FR'];
const segment = fc.string({ unit: fc.constantFrom(...'abcXYZ019-_~.!\'(){}|%2e; ö"'), minLength: 1, maxLength: 8 });
const safeSegment = fc.string({ unit: fc.constantFrom(..."abcXYZ019-_~.!'();"), minLength: 1, maxLength: 8 });
const pathOf = (part: fc.Arbitrary<string>) =>
  fc
    .tuple(fc.array(part, { minLength: 1, maxLength: 4 }), fc.constantFrom('', '/'))
    .map(([segments, end]) => `/${segments.join('/')}${end}`);
const safePath = pathOf(safeSegment).filter((path) => !isUnsafePath(path));
/** Mostly a text that can be bound: one odd attribute is enough to refuse a viewer. */
const text = fc.oneof(
  { weight: 30, arbitrary: fc.stringMatching(/^[\w!$%()*+,./:;=?@~-]{1,12}$/) },
  { weight: 1, arbitrary: fc.string({ maxLength: 20 }) },
  { weight: 1, arbitrary: fc.string({ unit: fc.constantFrom(...'abc &#%\'"=+'), minLength: 1 }) },
);
const binding = fc
  .tuple(
    fc.constantFrom(...Object.keys(BINDINGS)),
    fc.constantFrom('', '?'),
    fc.constantFrom('x-device', 'x-absent'),
    fc.constantFrom('d', 'e%20', '__proto__'),
  )
  .map(([name, mark, header, parameter]) => {
    const argument = name === 'header' ? `:${header}` : name === 'query' ? `:${parameter}` : '';
    return `${name}${argument}${mark}`;
  });

const policies: fc.Arbitrary<Policy> = fc.record(
  {
    lifetime: fc.integer({ min: 1, max: 86_400 }).map((seconds) => `+${seconds}s`),
    asset: fc.string({ unit: 'binary', minLength: 1, maxLength: 128 }),
    paths: fc.array(safePath, { minLength: 1, maxLength: 4 }),
    files: fc.array(
      safePath.map((path) => path.replace(/\/$/, '/x')),
      { minLength: 1, maxLength: 2 },
    ),
    exclusions: fc.array(safePath, { minLength: 1, maxLength: 2 }),
    countries: fc.subarray(COUNTRIES, { minLength: 1 }),
    bindings: fc.uniqueArray(binding, { selector: (name) => name.replace('?', ''), maxLength: 6 }),
  },
  { requiredKeys: ['lifetime'] },
);

const viewers: fc.Arbitrary<ViewerAttributes> = fc.record(
  {
    ip: fc.oneof(fc.ipV4(), fc.ipV6(), fc.constant('::ffff:203.0.113.7')),
    country: fc.constantFrom(...COUNTRIES, 'de'),
    region: text,
    city: text,
    asn: fc.nat().map(String),
    ja4: text,
    device: fc.constantFrom(...DEVICES),
    userAgent: text,
    referer: text,
    method: fc.constantFrom('GET', 'HEAD'),
    headers: fc.dictionary(fc.constantFrom('x-device', 'X-Device', 'x-other'), text, { maxKeys: 2 }),
    query: fc.dictionary(fc.constantFrom('d', 'e%20', 'z'), text, { maxKeys: 2 }),
    subject: fc.string({ unit: 'binary', minLength: 1, maxLength: 128 }),
  },
  { requiredKeys: [] },
);

const queries = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('', '?', '?d=1', '?a=b&c') },
  { weight: 1, arbitrary: fc.constantFrom('?d=1&d=2', "?d='", '?d="', '?ö') },
);

/** What may be asked that cannot be had: each is an answer, not a fault. */
const REFUSALS = [
  'ERR_TOKEN_BINDING_MISSING',
  'ERR_TOKEN_TOO_LONG',
  'ERR_VIEWER_INVALID',
  'ERR_VIEWER_COUNTRY',
  'ERR_URL_INVALID',
  'ERR_URL_OUT_OF_SCOPE',
  'ERR_POLICY_FIELD_MISSING',
  'ERR_TOKEN_CLAIMS',
];

/** The request as it arrives after a browser, which has its own URL parser and trims header values, has sent it. */
function requestOf(viewer: ViewerAttributes, url: URL): Viewing {
  const headers: Fields = {};
  const trimmed = (value: string) => new Headers({ name: value }).get('name') ?? '';
  for (const [name, value] of Object.entries(viewer.headers ?? {}))
    addField(headers, name.toLowerCase(), trimmed(value));
  for (const [attribute, name] of Object.entries(ATTRIBUTE_HEADERS)) {
    const value = viewer[attribute as keyof typeof ATTRIBUTE_HEADERS];
    // Not through `Headers`: the edge makes most of them itself, and a city may be of any alphabet.
    if (value !== undefined) headers[name] = { value: value.trim() };
  }
  for (const kind of DEVICES) headers[`cloudfront-is-${kind}-viewer`] = { value: String(viewer.device === kind) };
  const querystring = parseQuerystring(url.search.slice(1));
  return { viewer: { ip: viewer.ip ?? '' }, request: { method: viewer.method ?? 'GET', headers, querystring } };
}

test('whatever is minted, the edge accepts', () => {
  let minted = 0;
  const requests = fc.record({
    policy: policies,
    viewer: viewers,
    path: pathOf(segment),
    query: queries,
    at: fc.nat(9),
  });
  fc.assert(
    fc.property(requests, ({ policy, viewer, path, query, at }) => {
      // Mostly below one of the scopes: paths at random would hardly ever be.
      const scope = [...(policy.paths ?? []), ...(policy.files ?? [])][at];
      const below = scope === undefined ? path : scope.endsWith('/') ? `${scope}x.m3u8` : scope;
      const url = `https://media.example.com${below}${query}`;
      let token: ReturnType<typeof minter.mint>;
      try {
        token = minter.mint({ policy: at % 2 ? policy : loadPolicy(policy, limits), viewer, url });
      } catch (error) {
        expect(error instanceof MintingError || error instanceof TokenError ? error.code : error).toBeOneOf(REFUSALS);
        return;
      }
      minted++;
      const sent = new URL(token.url);
      expect(decide(sent.pathname, requestOf(viewer, sent), { now: NOW })).toBe(
        policy.countries && !viewer.country ? 'country-not-allowed' : '',
      );
      const claims = readClaims(nodeCrypto.decode(parseToken(sent.pathname).payload));
      expect(claims).toMatchObject({ sid: token.sessionId, aid: token.asset, exp: token.expiresAt });
    }),
    { numRuns },
  );
  // The test would pass as well if nothing were ever minted.
  expect(minted).toBeGreaterThan(numRuns / 20);
});

describe('mint of the token', () => {
  const odd = fc.constantFrom<unknown>(
    ...[
      undefined,
      null,
      true,
      0,
      -1,
      0.5,
      1e21,
      Number.NaN,
      Number.POSITIVE_INFINITY,
      NOW,
      NOW + 9,
      '',
      'x',
      '1760000000',
    ],
    ...[
      'a'.repeat(128),
      'a'.repeat(129),
      '"',
      '\ud800',
      'ö\n',
      [],
      [''],
      ['/a/'],
      ['x'],
      [7],
      ['/"/'],
      {},
      { a: [[]] },
    ],
  );
  const changes = fc.record(
    Object.fromEntries(
      ['sid', 'aid', 'iat', 'exp', 'sst', 'paths', 'sub', 'files', 'cty', 'nbf', 'unknown'].map((name) => [name, odd]),
    ),
    { requiredKeys: [] },
  );

  /** What the edge says of claims written by `JSON.stringify`, the way any other library would. */
  function isAccepted(claims: object): boolean {
    const read = readClaims(JSON.stringify(claims));
    if (!read || !SESSION_ID.test(read.sid)) return false;
    return [...read.paths, ...(read.files ?? [])].every((scope) => !isUnsafePath(scope));
  }

  test('takes the claims that the edge takes, says what they say, and no others', () => {
    fc.assert(
      fc.property(fc.array(changes, { minLength: 1, maxLength: 3 }), (several) => {
        // Few changes at a time, or nothing would be right.
        const changed = Object.entries(Object.assign({}, ...several)).slice(0, 2);
        const claims = { ...TEST_CLAIMS, ...Object.fromEntries(changed) } as MintClaims;
        const attempt = () => mint(claims, TEST_KEY, TEST_VIEWING, nodeCrypto);
        if (!isAccepted(claims)) {
          expect(attempt).toThrow(TokenError);
          return;
        }
        const { payload } = parseToken(`/${attempt()}/`);
        expect(JSON.parse(nodeCrypto.decode(payload))).toEqual(JSON.parse(JSON.stringify(claims)));
      }),
      { numRuns: numRuns * 2 },
    );
  });
});
