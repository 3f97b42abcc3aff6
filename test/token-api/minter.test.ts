import { describe, expect, test } from 'vitest';
import {
  createMinter,
  currentKey,
  loadPolicy,
  type MintingKey,
  type Policy,
  type ViewerAttributes,
} from '../../token-api/index.ts';
import { deriveKeys } from '../../token-api/key-ring/key-ring.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { edgeView } from '../../token-api/minting/minter.ts';
import { parseDuration } from '../../token-api/minting/policy.ts';
import { sessionIds } from '../../token-api/minting/session-id.ts';
import { decide, NOW, parseToken, TEST_KEY, TEST_RING } from '../harness/minting.ts';

const limits = { maxLifetimeSeconds: 86400 };
const minter = createMinter({ key: () => TEST_KEY, ...limits, now: () => NOW });
const policy: Policy = { lifetime: 'PT1H', paths: ['/aurora/'] };
const url = 'https://media.example.com/aurora/master.m3u8';
const viewer = {
  ip: '203.0.113.7',
  country: 'DE',
  region: 'BE',
  city: 'Berlin',
  asn: '3320',
  ja4: 't13d1516h2_8daaf6152771_02713d6af862',
  device: 'desktop' as const,
  referer: 'https://page.example/',
  userAgent: 'Player/1.0',
  headers: { 'X-Device': 'tv-7' },
  query: { d: '42' },
};

test('a minted URL opens at the edge', () => {
  const bindings = [
    'ip',
    'network',
    'country',
    'region',
    'city',
    'asn',
    'ja4',
    'device',
    'user-agent',
    'referer',
    'method',
  ];
  const all = { ...policy, countries: ['DE', 'AT'], bindings: [...bindings, 'header:x-device', 'query:d'] };
  const minted = minter.mint({ policy: all, viewer, url });
  expect(minted).toMatchObject({ asset: 'aurora', issuedAt: NOW, expiresAt: NOW + 3600 });
  expect(minted.sessionId).toMatch(/^[A-Za-z0-9]{12}$/);
  const { pathname, search } = new URL(minted.url);
  expect(search).toBe('?d=42');
  expect(decide(pathname, edgeView({ ...viewer, query: {} }, search.slice(1)))).toBe('');
});

test('by default a token opens the directory of the playback URL, and the asset is its first segment', () => {
  const { url: minted } = minter.mint({ policy: { lifetime: '+30m' }, viewer: {}, url: `${url}?a=b` });
  const { payload } = parseToken(new URL(minted).pathname);
  expect(JSON.parse(nodeCrypto.decode(payload))).toMatchObject({ aid: 'aurora', paths: ['/aurora/'], exp: NOW + 1800 });
  expect(minted.endsWith('/aurora/master.m3u8?a=b')).toBe(true);
});

test('a policy of files alone opens these and nothing below them, and exclusions beside them', () => {
  const files = ['/aurora/intro.mp4', '/aurora'];
  const mint = (more: object, path = '/aurora/intro.mp4') =>
    minter.mint({ policy: { lifetime: 'PT1H', files, ...more }, viewer: {}, url: `https://media.example.com${path}` });
  const decisions = (token: string, paths: string[]) => paths.map((path) => decide(`/${token}${path}`));
  const open = ['/aurora/intro.mp4', '/aurora'];
  const closed = ['/aurora/', '/aurora/master.m3u8', '/aurora/intro.mp4/x', '/', '/harbour/master.m3u8'];
  const { token } = mint({});
  expect(decisions(token, open)).toEqual(['', '']);
  expect(decisions(token, closed)).toEqual(closed.map(() => 'path-not-allowed'));
  expect(() => mint({}, '/aurora/master.m3u8')).toThrow(expect.objectContaining({ code: 'ERR_URL_OUT_OF_SCOPE' }));
  const { token: withFonts } = mint({ exclusions: ['/fonts/'] });
  expect(decisions(withFonts, [...open, '/fonts/a.woff2'])).toEqual(['', '', '']);
  expect(decisions(withFonts, closed)).toEqual(closed.map(() => 'path-not-allowed'));
});

test('no directory is taken for a scope that holds everything behind the place of the token', () => {
  const live = createMinter({ key: () => TEST_KEY, ...limits, tokenPrefix: '/live/', now: () => NOW });
  const mint = (path: string, more: object = {}) =>
    live.mint({ policy: { lifetime: 'PT1H', ...more }, viewer: {}, url: `https://media.example.com${path}` });
  const refused = expect.objectContaining({
    code: 'ERR_POLICY_FIELD_MISSING',
    message: expect.stringContaining('right below /live/'),
  });
  for (const path of ['/live/master.m3u8', '/live/']) expect(() => mint(path)).toThrow(refused);
  expect(mint('/live/aurora/master.m3u8').asset).toBe('aurora');
  expect(mint('/live/master.m3u8', { paths: ['/live/'] }).url).toMatch(/\/live\/.+\/master\.m3u8$/);
});

test('what is minted for a loaded policy is what is minted for the policy', () => {
  const all = {
    ...policy,
    asset: 'a',
    countries: ['DE'],
    files: ['/x/y'],
    exclusions: ['/z/'],
    bindings: ['ip', 'asn?'],
  };
  const claimsOf = (of: Policy | ReturnType<typeof loadPolicy>) => {
    const { payload } = parseToken(new URL(minter.mint({ policy: of, viewer, url }).url).pathname);
    const { sid, bmac, btol, ...others } = JSON.parse(nodeCrypto.decode(payload));
    return others;
  };
  expect(claimsOf(loadPolicy(all, limits))).toEqual(claimsOf(all));
});

test('the members of a payload keep their order', () => {
  const all = { ...policy, asset: 'a', countries: ['DE'], files: ['/x/y'], bindings: ['ip', 'asn?'] };
  const { payload } = parseToken(
    new URL(minter.mint({ policy: all, viewer: { ...viewer, subject: 's' }, url }).url).pathname,
  );
  const members = ['sid', 'aid', 'iat', 'exp', 'sst', 'paths', 'sub', 'cty', 'files', 'bnd', 'bmac', 'btol'];
  expect(Object.keys(JSON.parse(nodeCrypto.decode(payload)))).toEqual(members);
});

describe('a loaded policy', () => {
  test('does not change with what it was loaded from', () => {
    const input = { lifetime: 'PT1H', paths: ['/aurora/'], bindings: ['country'] };
    const loaded = loadPolicy(input, limits);
    input.lifetime = 'P1D';
    input.paths[0] = '/';
    input.bindings.pop();
    const { payload } = parseToken(new URL(minter.mint({ policy: loaded, viewer, url }).url).pathname);
    expect(JSON.parse(nodeCrypto.decode(payload))).toMatchObject({
      exp: NOW + 3600,
      paths: ['/aurora/'],
      bnd: ['country'],
    });
  });

  test('is frozen throughout', () => {
    const unfrozen = (value: unknown): boolean =>
      typeof value === 'object' &&
      value !== null &&
      (!Object.isFrozen(value) || Object.values(value).some((member) => unfrozen(member)));
    expect(unfrozen(loadPolicy({ ...policy, countries: ['DE'], bindings: ['ip', 'query:d', 'asn?'] }, limits))).toBe(
      false,
    );
  });

  test('is held to the maximum of the minter too', () => {
    const loaded = loadPolicy({ ...policy, lifetime: 'P2D' }, { maxLifetimeSeconds: 200_000 });
    expect(() => minter.mint({ policy: loaded, viewer, url })).toThrow(
      expect.objectContaining({ code: 'ERR_POLICY_LIFETIME_TOO_LONG' }),
    );
  });

  test('cannot be imitated: what only looks like one is taken for a policy', () => {
    const imitation = { ...loadPolicy(policy, limits), lifetimeSeconds: 1 } as unknown as Policy;
    expect(() => minter.mint({ policy: imitation, viewer, url })).toThrow(
      expect.objectContaining({ code: 'ERR_POLICY_FIELD_MISSING' }),
    );
  });
});

describe('session ids', () => {
  test('every session has one of its own, from every minter', () => {
    const minters = Array.from({ length: 4 }, () => createMinter({ key: () => TEST_KEY, ...limits }));
    const ids = Array.from({ length: 2000 }, (_, i) => minters[i % 4]?.mint({ policy, viewer: {}, url }).sessionId);
    expect(new Set(ids).size).toBe(2000);
  });

  test('no character comes more often than another', () => {
    const createSessionId = sessionIds();
    const counts = new Map<string, number>();
    const draws = 124_000;
    for (const character of createSessionId(draws)) counts.set(character, (counts.get(character) ?? 0) + 1);
    expect([...counts.keys()].sort().join('')).toMatch(/^[0-9]{10}[A-Z]{26}[a-z]{26}$/);
    const expected = draws / 62;
    const chiSquare = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    // 61 degrees of freedom: above 130 once in a million runs; bytes modulo 62 without rejection give about 700.
    expect(chiSquare).toBeLessThan(130);
  });
});

test('instances share nothing: calls that alternate between two are as each alone', () => {
  const other = { ...TEST_KEY, kid: 'k2', sign: TEST_KEY.bind };
  const second = createMinter({
    key: () => other,
    maxLifetimeSeconds: 60,
    tokenPrefix: '/aurora/',
    now: () => NOW + 5,
  });
  for (let i = 0; i < 3; i++) {
    const one = new URL(minter.mint({ policy, viewer, url }).url).pathname;
    const two = second.mint({ policy: { ...policy, lifetime: '+9s' }, viewer: {}, url });
    expect([decide(one), decide(one, undefined, { key: other })]).toEqual(['', 'token-signature-invalid']);
    expect(two).toMatchObject({ issuedAt: NOW + 5, expiresAt: NOW + 14, asset: 'master.m3u8' });
    expect(two.url).toBe(`https://media.example.com/aurora/${two.token}/master.m3u8`);
    expect(decide(two.url.slice('https://media.example.com/aurora'.length), undefined, { key: other })).toBe(
      'path-not-allowed',
    );
  }
});

describe('the key', () => {
  test('is asked for at every call, and a change in place is noticed', () => {
    const key: MintingKey = { ...TEST_KEY };
    const rotating = createMinter({ key: () => key, ...limits, now: () => NOW });
    const path = () => new URL(rotating.mint({ policy, viewer, url }).url).pathname;
    expect(decide(path())).toBe('');
    key.sign = TEST_KEY.bind;
    expect(decide(path())).toBe('token-signature-invalid');
    key.kid = 'k2';
    expect(parseToken(path()).kid).toBe('k2');
  });

  test('is the current one of a ring', () => {
    const notBefore = Date.parse(TEST_RING.keys[0].createdAt) / 1000 - 60;
    const derived = deriveKeys(TEST_RING.keys[0].secret);
    expect(currentKey(structuredClone(TEST_RING))).toEqual({ kid: 'k1', ...derived, notBefore });
    expect(() => currentKey({ version: 1, keys: [] })).toThrow(expect.objectContaining({ code: 'ERR_RING_INVALID' }));
  });

  test.each([
    ['none', undefined],
    ['a promise', Promise.resolve(TEST_KEY)],
    ['an empty part', { ...TEST_KEY, sign: '' }],
    ['a short part', { ...TEST_KEY, bind: 'AAAA' }],
    ['no key id', { sign: TEST_KEY.sign, bind: TEST_KEY.bind }],
  ])('%s is refused by name, without its value', (_, key) => {
    const broken = createMinter({ key: () => key as MintingKey, ...limits });
    const attempt = () => broken.mint({ policy, viewer, url });
    expect(attempt).toThrow(expect.objectContaining({ code: 'ERR_KEY_INVALID' }));
    expect(attempt).not.toThrow(new RegExp(TEST_KEY.sign.slice(0, 8)));
  });
});

describe('the clock', () => {
  const at = (seconds: number, notBefore?: number) => {
    const key = notBefore === undefined ? TEST_KEY : { ...TEST_KEY, notBefore };
    return createMinter({ key: () => key, ...limits, now: () => seconds }).mint({ policy, viewer, url });
  };

  test.each([
    ['no number', Number.NaN],
    ['endless', Number.POSITIVE_INFINITY],
    ['before the epoch', -1],
    ['in milliseconds', NOW * 1000],
    ['before the key', NOW - 1, NOW],
    ['compared with no time', NOW, Number.NaN],
  ])('%s is refused by name', (_, seconds, notBefore?: number) => {
    expect(() => at(seconds, notBefore)).toThrow(expect.objectContaining({ code: 'ERR_CLOCK' }));
  });

  test('a time in the middle of a second is that second', () => {
    expect(at(NOW + 0.9, NOW)).toMatchObject({ issuedAt: NOW, expiresAt: NOW + 3600 });
  });

  test('is that of the machine by default', () => {
    const { issuedAt } = createMinter({ key: () => TEST_KEY, ...limits }).mint({ policy, viewer, url });
    expect(Math.abs(issuedAt - Date.now() / 1000)).toBeLessThan(60);
  });
});

test.each(['live/', '/live', '/a/../', '//'])('the place of a token cannot be %s', (tokenPrefix) => {
  expect(() => createMinter({ key: () => TEST_KEY, ...limits, tokenPrefix })).toThrow(
    expect.objectContaining({ code: 'ERR_TOKEN_PREFIX' }),
  );
});

test.each([
  ['PT1H', 3600],
  ['P1D', 86400],
  ['P1DT2H3M4S', 93784],
  ['PT90S', 90],
  ['+3h', 10800],
  ['+30m', 1800],
  ['+1d', 86400],
  ['+45s', 45],
])('%s is %d s', (text, seconds) => {
  expect(parseDuration(text)).toBe(seconds);
});

test.each([
  '',
  'P',
  'PT',
  '1h',
  '3600',
  '+3',
  '+h',
  '+1.5h',
  'PT1.5H',
  'P1M',
  'P1Y',
  'PT-1H',
  '-PT1H',
  'PT1HT',
  'pt1h',
])('%j is no duration', (text) => {
  expect(parseDuration(text)).toBeNaN();
});

test.each<[field: string, most: number, item: (i: number) => string]>([
  ['paths', 64, () => '/a/'],
  ['files', 64, () => '/a'],
  ['exclusions', 64, () => '/a/'],
  ['countries', 249, () => 'DE'],
  ['bindings', 64, (i) => `header:x-${i}`],
])('%s: a list of %i is read, a longer one refused', (field, most, item) => {
  const load = (length: number) =>
    loadPolicy({ ...policy, [field]: Array.from({ length }, (_, i) => item(i)) }, limits).policy;
  expect(load(most)).toMatchObject({ [field]: { length: most } });
  const message = `policy: ${field}: must have at most ${most} items`;
  for (const length of [most + 1, 20_000]) {
    expect(() => load(length)).toThrow(expect.objectContaining({ code: 'ERR_POLICY_LIST', message }));
  }
});

describe('a policy that cannot be meant is refused by name', () => {
  const cases: [string, string, unknown][] = [
    ['ERR_POLICY_TYPE', 'must be a JSON object', 7],
    ['ERR_POLICY_TYPE', 'must be a JSON object', null],
    ['ERR_POLICY_FIELD_UNKNOWN', 'ttl: unknown field; known are lifetime', { ...policy, ttl: 1 }],
    ['ERR_POLICY_FIELD_MISSING', 'lifetime: is missing; it must be a duration', {}],
    [
      'ERR_POLICY_LIST',
      "paths: must be a list of at least one text, like ['/aurora/']",
      { ...policy, paths: '/aurora/' },
    ],
    ['ERR_POLICY_LIST', 'paths: must be a list', { ...policy, paths: [] }],
    ['ERR_POLICY_LIST', 'files: must be a list', { ...policy, files: '/a' }],
    ['ERR_POLICY_LIST', 'exclusions: must be a list', { ...policy, exclusions: { 0: '/a' } }],
    ['ERR_POLICY_LIST', 'countries: must be a list', { ...policy, countries: 'DE' }],
    ['ERR_POLICY_LIST', 'countries: must be a list', { ...policy, countries: [] }],
    ['ERR_POLICY_LIST', 'bindings: must be a list', { ...policy, bindings: 'ip' }],
    ['ERR_POLICY_LIFETIME', 'lifetime: must be a duration', { ...policy, lifetime: 'soon' }],
    ['ERR_POLICY_LIFETIME', 'lifetime: must be a duration', { ...policy, lifetime: 'PT0S' }],
    ['ERR_POLICY_LIFETIME', 'lifetime: must be a duration', { ...policy, lifetime: 3600 }],
    ['ERR_POLICY_LIFETIME', 'lifetime: must be a duration', { ...policy, lifetime: null }],
    [
      'ERR_POLICY_LIFETIME_TOO_LONG',
      'lifetime: 172800 s is above the maximum of 86400 s',
      { ...policy, lifetime: 'P2D' },
    ],
    ['ERR_POLICY_ASSET', 'asset: must be a text of 1 to 128', { ...policy, asset: '' }],
    ['ERR_POLICY_ASSET', 'asset: must be a text of 1 to 128', { ...policy, asset: 7 }],
    ['ERR_POLICY_ASSET', 'asset: must be a text of 1 to 128', { ...policy, asset: 'a'.repeat(129) }],
    ['ERR_POLICY_SCOPE', 'paths.0: must be an absolute path', { ...policy, paths: ['aurora'] }],
    ['ERR_POLICY_SCOPE', 'paths.1: must be an absolute path', { ...policy, paths: ['/a/', '/a/../b/'] }],
    ['ERR_POLICY_SCOPE', 'paths.0: must be an absolute path', { ...policy, paths: [undefined] }],
    ['ERR_POLICY_SCOPE', 'files.0: must be an absolute path', { ...policy, files: [''] }],
    ['ERR_POLICY_SCOPE', 'files.0: must not end with a slash: files are exact', { ...policy, files: ['/'] }],
    ['ERR_POLICY_SCOPE', 'files.1: must not end with a slash', { ...policy, files: ['/a', '/aurora/'] }],
    ['ERR_POLICY_SCOPE', "exclusions.1: must not be '/'", { ...policy, exclusions: ['/a', '/'] }],
    ['ERR_POLICY_COUNTRY', 'countries.0: must be two upper-case letters', { ...policy, countries: ['de'] }],
    [
      'ERR_POLICY_BINDING',
      "bindings.0: unknown binding 'shoe-size'; known are ip",
      { ...policy, bindings: ['shoe-size'] },
    ],
    ['ERR_POLICY_BINDING', 'bindings.0: binding', { ...policy, bindings: ['header:X-Device'] }],
    ['ERR_POLICY_BINDING', 'bindings.1: must be the name of a binding', { ...policy, bindings: ['ip', 4] }],
    ['ERR_POLICY_BINDING_REPEATED', "bindings: names 'ip' twice", { ...policy, bindings: ['ip', 'ip?'] }],
  ];

  test.each(cases)('%s, %s', (code, message, input) => {
    expect(() => loadPolicy(input, limits)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(`policy: ${message}`) }),
    );
  });

  test('also where it is minted with at once', () => {
    expect(() => minter.mint({ policy: { lifetime: 'soon' }, viewer, url })).toThrow(
      expect.objectContaining({ code: 'ERR_POLICY_LIFETIME' }),
    );
  });

  test('without a maximum nothing is good', () => {
    expect(() => loadPolicy(policy, {} as typeof limits)).toThrow(
      expect.objectContaining({ code: 'ERR_POLICY_LIFETIME_TOO_LONG' }),
    );
  });
});

describe('what cannot be minted is refused by name', () => {
  test.each([
    ['ERR_URL_INVALID', { url: 'ftp://media.example.com/a/b' }],
    ['ERR_URL_INVALID', { url: '/aurora/master.m3u8' }],
    ['ERR_URL_INVALID', { url: 'https://media.example.com' }],
    ['ERR_URL_INVALID', { url: 'https://media.example.com/aurora/../x' }],
    ['ERR_URL_INVALID', { url: 'https://media.example.com/aurora/x#y' }],
    ['ERR_URL_OUT_OF_SCOPE', { url: 'https://media.example.com/harbour/master.m3u8' }],
    ['ERR_POLICY_FIELD_MISSING', { policy: { lifetime: 'PT1H' }, url: 'https://media.example.com/master.m3u8' }],
    ['ERR_VIEWER_INVALID', { viewer: { ip: 7 } }],
    ['ERR_VIEWER_INVALID', { viewer: { shoe: 42 } }],
    ['ERR_VIEWER_INVALID', { viewer: { country: 'Germany' } }],
    ['ERR_VIEWER_INVALID', { viewer: { asn: 'AS3320' } }],
    ['ERR_VIEWER_INVALID', { viewer: { device: 'fridge' } }],
    ['ERR_VIEWER_INVALID', { viewer: { headers: { 'x-device': 'Ü' } } }],
    ['ERR_URL_INVALID', { url: minter.mint({ policy, viewer: {}, url }).url }],
    ['ERR_TOKEN_BINDING_MISSING', { policy: { ...policy, bindings: ['country'] }, viewer: {} }],
    ['ERR_VIEWER_INVALID', { policy: { ...policy, bindings: ['ip?'] }, viewer: { ip: 'nowhere' } }],
    ['ERR_POLICY_SCOPE', { policy: { ...policy, exclusions: ['/'] } }],
    ['ERR_VIEWER_INVALID', { viewer: null }],
    ['ERR_VIEWER_INVALID', { viewer: { country: 49 } }],
    ['ERR_VIEWER_INVALID', { viewer: { city: 'Ber\nlin' } }],
    ['ERR_VIEWER_INVALID', { viewer: { userAgent: ' Player' } }],
    ['ERR_VIEWER_INVALID', { viewer: { query: { d: 'a b' } } }],
    ['ERR_VIEWER_INVALID', { viewer: { query: { d: 'a&b' } } }],
    ['ERR_VIEWER_INVALID', { viewer: { constructor: 'x' } }],
    ['ERR_VIEWER_COUNTRY', { policy: { ...policy, countries: ['AT'] } }],
    ['ERR_URL_INVALID', { url: `${url}?d='` }],
    ['ERR_URL_INVALID', { url: undefined }],
    ['ERR_TOKEN_TOO_LONG', { policy: { ...policy, paths: ['/aurora/', `/${'a'.repeat(1500)}/`] } }],
  ])('%s', (code, changes) => {
    const request = { policy, viewer, url, ...changes } as Parameters<typeof minter.mint>[0];
    expect(() => minter.mint(request)).toThrow(expect.objectContaining({ code }));
  });
});

test.each([
  { subject: 4711 },
  { ip: 4711 },
  { asn: 4711 },
  { headers: { 'x-a': 4711 } },
  { device: 'device-4711' },
  { method: 'POST-4711' },
  { country: 'xx4711' },
])('what is wrong with a viewer is said without its value: %j', (wrong) => {
  const mint = () => minter.mint({ policy, viewer: wrong as unknown as ViewerAttributes, url });
  expect(mint).toThrow(expect.objectContaining({ code: 'ERR_VIEWER_INVALID' }));
  expect(mint).not.toThrow(/4711/);
});

test('the United Kingdom is GB: nobody is in UK', () => {
  const wrong = () => loadPolicy({ lifetime: 'PT1H', countries: ['UK'] }, { maxLifetimeSeconds: 86400 });
  expect(wrong).toThrow(/'GB' for the United Kingdom/);
});
