import { describe, expect, test } from 'vitest';
import { createMinter, type Policy } from '../../token-api/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { edgeView } from '../../token-api/minting/minter.ts';
import { parseDuration, parsePolicy } from '../../token-api/minting/policy.ts';
import { decide, NOW, parseToken, TEST_KEY } from '../harness/minting.ts';

const minter = createMinter({ key: () => TEST_KEY, maxLifetimeSeconds: 86400, now: () => NOW });
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

test('every session has an id of its own', () => {
  const ids = Array.from({ length: 1000 }, () => minter.mint({ policy, viewer: {}, url }).sessionId);
  expect(new Set(ids).size).toBe(1000);
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

describe('a policy that cannot be meant is refused by name', () => {
  test.each([
    ['ERR_POLICY_INVALID', 'paths', { ...policy, paths: '/aurora/' }],
    ['ERR_POLICY_INVALID', 'paths', { ...policy, paths: [] }],
    ['ERR_POLICY_INVALID', 'paths.0', { ...policy, paths: ['aurora'] }],
    ['ERR_POLICY_INVALID', 'paths.1', { ...policy, paths: ['/a/', '/a/../b/'] }],
    ['ERR_POLICY_INVALID', 'bindings', { ...policy, bindings: 'ip' }],
    ['ERR_POLICY_INVALID', 'countries', { ...policy, countries: 'DE' }],
    ['ERR_POLICY_INVALID', 'countries', { ...policy, countries: [] }],
    ['ERR_POLICY_INVALID', 'countries.0', { ...policy, countries: ['de'] }],
    ['ERR_POLICY_INVALID', 'bindings.0', { ...policy, bindings: ['shoe-size'] }],
    ['ERR_POLICY_INVALID', 'bindings.0', { ...policy, bindings: ['header:X-Device'] }],
    ['ERR_POLICY_INVALID', 'lifetime', { ...policy, lifetime: 'soon' }],
    ['ERR_POLICY_INVALID', 'lifetime', { ...policy, lifetime: 'PT0S' }],
    ['ERR_POLICY_INVALID', 'lifetime', { ...policy, lifetime: 3600 }],
    ['ERR_POLICY_INVALID', 'lifetime', { paths: ['/a/'] }],
    ['ERR_POLICY_INVALID', 'ttl: unknown field; known are lifetime', { ...policy, ttl: 1 }],
    ['ERR_POLICY_INVALID', 'lifetime: is missing', {}],
    ['ERR_POLICY_INVALID', 'must be a JSON object', 7],
    ['ERR_POLICY_INVALID', 'bindings: names a binding twice', { ...policy, bindings: ['ip', 'ip'] }],
    ['ERR_POLICY_LIFETIME', 'lifetime', { ...policy, lifetime: 'P2D' }],
  ])('%s at %s', (code, where, input) => {
    expect(() => parsePolicy(input, 86400)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(`policy: ${where}`) }),
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
    ['ERR_POLICY_INVALID', { policy: { lifetime: 'PT1H' }, url: 'https://media.example.com/master.m3u8' }],
    ['ERR_VIEWER_INVALID', { viewer: { ip: 7 } }],
    ['ERR_VIEWER_INVALID', { viewer: { shoe: 42 } }],
    ['ERR_VIEWER_INVALID', { viewer: { country: 'Germany' } }],
    ['ERR_VIEWER_INVALID', { viewer: { asn: 'AS3320' } }],
    ['ERR_VIEWER_INVALID', { viewer: { device: 'fridge' } }],
    ['ERR_VIEWER_INVALID', { viewer: { headers: { 'x-device': 'Ü' } } }],
    ['ERR_URL_INVALID', { url: minter.mint({ policy, viewer: {}, url }).url }],
    ['ERR_TOKEN_BINDING_MISSING', { policy: { ...policy, bindings: ['country'] }, viewer: {} }],
    ['ERR_VIEWER_INVALID', { policy: { ...policy, bindings: ['ip?'] }, viewer: { ip: 'nowhere' } }],
    ['ERR_POLICY_INVALID', { policy: { ...policy, exclusions: ['/'] } }],
  ])('%s', (code, changes) => {
    const request = { policy, viewer, url, ...changes } as Parameters<typeof minter.mint>[0];
    expect(() => minter.mint(request)).toThrow(expect.objectContaining({ code }));
  });
});
