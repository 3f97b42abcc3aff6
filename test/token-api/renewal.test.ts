import { describe, expect, test } from 'vitest';
import { type ClaimsSet, mint, readClaims } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { createMinter, edgeView } from '../../token-api/minting/minter.ts';
import type { Policy, ViewerAttributes } from '../../token-api/minting/policy.ts';
import { createRenewer, type RenewerOptions } from '../../token-api/minting/renewal.ts';
import { decide, NOW, parseToken, TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from '../harness/minting.ts';

const NEXT_KEY = { ...TEST_KEY, kid: 'k2', sign: Buffer.alloc(32, 3).toString('base64url') };
const KEYS = new Map([TEST_KEY, NEXT_KEY].map((key) => [key.kid, key]));
const URL = 'https://media.example.com/aurora/master.m3u8';
const VIEWER: ViewerAttributes = {
  ip: '203.0.113.7',
  country: 'DE',
  region: 'BE',
  city: 'Berlin',
  asn: '3320',
  ja4: 't13d1516h2_8daaf6152771_02713d6af862',
  device: 'desktop',
  userAgent: 'Player/1.0',
  referer: 'https://page.example/',
  headers: { 'x-device': 'tv-7' },
  query: { d: '42' },
};
const PLACE = ['ip', 'network', 'country', 'region', 'city', 'asn'];
const DEVICE = ['ja4', 'device', 'user-agent', 'referer', 'method', 'header:x-device', 'query:d'];

const at = (now: number, options: Partial<RenewerOptions> = {}) =>
  createRenewer({
    key: () => TEST_KEY,
    verificationKey: (kid) => KEYS.get(kid),
    maxLifetimeSeconds: 86400,
    leewaySeconds: 0,
    maxSessionSeconds: 86400,
    handoffSeconds: 1800,
    tokenPrefix: '/',
    now: () => now,
    ...options,
  });
const minted = (policy: Partial<Policy> = {}, viewer: ViewerAttributes = { ...VIEWER, subject: 'viewer-1' }) =>
  createMinter({ key: () => TEST_KEY, maxLifetimeSeconds: 86400, now: () => NOW }).mint({
    policy: { lifetime: 'PT1H', ...policy },
    viewer,
    url: URL,
  });
const claimsOf = (url: string): ClaimsSet => {
  const claims = readClaims(nodeCrypto.decode(parseToken(pathOf(url)).payload));
  if (!claims) throw new Error('no claims');
  return claims;
};
const pathOf = (url: string) => url.replace('https://media.example.com', '').replace(/\?.*$/, '');
const renewed = (presented: string, now: number, viewer = VIEWER, options: Partial<RenewerOptions> = {}) => {
  const renewer = at(now, options);
  return renewer.renew(renewer.verify(presented, viewer));
};

describe('a renewed token', () => {
  test('says the same, lives as long again, and opens at the edge', () => {
    const first = minted({
      countries: ['DE', 'AT'],
      files: ['/fonts/a.woff2'],
      paths: ['/aurora/', '/shared/'],
      bindings: [...PLACE, 'query:d', 'user-agent?', 'header:x-device?'],
    });
    const next = renewed(first.url, NOW + 600);
    expect(next).toMatchObject({ sessionId: first.sessionId, expiresAt: NOW + 4200 });
    expect(next.url).toBe(first.url.replace(first.token, next.token));
    const { iat: _, exp: __, ...same } = claimsOf(first.url);
    expect(claimsOf(next.url ?? '')).toEqual({ ...same, iat: NOW + 600, exp: NOW + 4200 });
    const viewing = edgeView({ ...VIEWER, query: {} }, 'd=42');
    expect(decide(pathOf(next.url ?? ''), viewing, { now: NOW + 4199 })).toBe('');
    const elsewhere = edgeView({ ...VIEWER, userAgent: 'Other/2', query: {} }, 'd=42');
    expect(decide(pathOf(next.url ?? ''), elsewhere, { now: NOW + 4199 })).toBe('binding-mismatch');
  });

  test('is minted with the current key, whichever key signed the presented one', () => {
    const first = minted({ bindings: ['country'] });
    const next = renewed(first.url, NOW + 1, VIEWER, { key: () => NEXT_KEY });
    expect(parseToken(pathOf(next.url ?? '')).kid).toBe('k2');
    expect(decide(pathOf(next.url ?? ''), TEST_VIEWING, { key: NEXT_KEY, now: NOW + 3600 })).toBe('');
  });

  test('is given for a token alone too, with a playback URL when the token opens the one that is known', () => {
    const { token } = minted();
    const renewer = at(NOW + 1);
    const presented = renewer.verify(token, {});
    expect(renewer.renew(presented).url).toBeUndefined();
    expect(renewer.renew(presented, 'https://media.example.com/harbour/master.m3u8').url).toBeUndefined();
    const { token: next, url } = renewer.renew(presented, URL);
    expect(url).toBe(URL.replace('/aurora/', `/${next}/aurora/`));
  });

  test('of a session goes on until the maximum, and not a second longer', () => {
    let presented = minted().url;
    let last = NOW;
    const expiries: number[] = [];
    for (let now = NOW + 1800; now < NOW + 20_000; now += 1800) {
      try {
        const next = renewed(presented, now, VIEWER, { maxSessionSeconds: 10_000 });
        presented = next.url ?? '';
        expiries.push(next.expiresAt - NOW);
        last = now;
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_SESSION_ENDED' });
        break;
      }
    }
    expect(expiries).toEqual([5400, 7200, 9000, 10_000]);
    expect(claimsOf(presented)).toMatchObject({ sst: NOW, iat: last, exp: NOW + 10_000 });
  });

  test('that would not be later is refused', () => {
    const first = minted();
    expect(() => renewed(first.url, NOW)).toThrow(expect.objectContaining({ code: 'ERR_RENEWAL_NOT_LATER' }));
    const next = renewed(first.url, NOW + 1);
    expect(() => renewed(next.url ?? '', NOW + 1)).toThrow(expect.objectContaining({ code: 'ERR_RENEWAL_NOT_LATER' }));
  });

  test('is not minted by a clock that cannot be right', () => {
    const first = minted();
    const key = () => ({ ...TEST_KEY, notBefore: NOW + 100 });
    expect(() => renewed(first.url, NOW + 99, VIEWER, { key })).toThrow(expect.objectContaining({ code: 'ERR_CLOCK' }));
    expect(renewed(first.url, NOW + 100, VIEWER, { key }).expiresAt).toBe(NOW + 3700);
  });

  test('keeps its place behind a fixed path', () => {
    const tokenPrefix = '/live/';
    const minter = createMinter({ key: () => TEST_KEY, maxLifetimeSeconds: 86400, tokenPrefix, now: () => NOW });
    const url = 'https://media.example.com/live/ch1/master.m3u8';
    const first = minter.mint({ policy: { lifetime: 'PT1H' }, viewer: {}, url });
    const next = renewed(first.url, NOW + 1, {}, { tokenPrefix });
    expect(next.url).toBe(`https://media.example.com/live/${next.token}/ch1/master.m3u8`);
    const renewer = at(NOW + 1, { tokenPrefix });
    expect(renewer.renew(renewer.verify(first.token, {}), url).url).toMatch(/\/live\/[^/]+\/ch1\/master\.m3u8$/);
  });
});

describe('a presented token is refused as the edge would', () => {
  const bound = minted({ bindings: ['country', 'user-agent'], countries: ['DE'] }).url;
  const foreign = { ...TEST_KEY, kid: 'unknown' };
  const signed = (claims: Partial<ClaimsSet>, key = TEST_KEY) =>
    `https://media.example.com/${mint({ ...TEST_CLAIMS, ...claims }, key, TEST_VIEWING, nodeCrypto)}/aurora/x`;
  test.each<[string, string, number?, ViewerAttributes?]>([
    ['token-missing', URL],
    ['token-missing', 'x'],
    ['token-malformed', ''],
    ['token-malformed', `${minted().token}/aurora/master.m3u8`],
    ['token-malformed', 'ftp://media.example.com/'],
    ['token-key-unknown', signed({}, foreign)],
    ['token-signature-invalid', signed({}, { ...NEXT_KEY, kid: 'k1' })],
    ['token-session-mismatch', bound.replace(/\/[A-Za-z0-9]{12}\./, '/AAAAAAAAAAAA.')],
    ['token-lifetime-exceeded', signed({ exp: NOW + 86401 })],
    ['token-not-yet-valid', signed({ nbf: NOW + 1000 })],
    ['token-expired', bound, NOW + 3600],
    ['path-not-allowed', bound.replace('/aurora/', '/harbour/')],
    ['path-unsafe', bound.replace('/aurora/', '/aurora/../')],
    ['country-not-allowed', bound, NOW + 1, { ...VIEWER, country: 'FR' }],
    ['binding-missing', bound, NOW + 1, { country: 'DE' }],
    ['binding-mismatch', bound, NOW + 1, { ...VIEWER, userAgent: 'Other/2' }],
  ])('%s', (reason, presented, now = NOW + 1, viewer = VIEWER) => {
    expect(() => at(now).verify(presented, viewer)).toThrow(
      expect.objectContaining({ code: 'ERR_TOKEN_REFUSED', reason, message: expect.not.stringContaining('Other/2') }),
    );
  });

  test('a tolerant binding cannot be shed by leaving its value out', () => {
    const { url } = minted({ bindings: ['user-agent?'] });
    // The edge lets such a request through; the token that followed would be bound to nothing.
    expect(decide(pathOf(url), edgeView({}, ''))).toBe('');
    expect(() => at(NOW + 1).verify(url, {})).toThrow(expect.objectContaining({ reason: 'binding-missing' }));
  });
});

describe('a hand-off', () => {
  const television = {
    ja4: 't13d190900_9dc949149365_97f8aa674fd9',
    device: 'smarttv',
    userAgent: 'TV/1.0',
    referer: 'https://tv.example/',
    headers: { 'X-Device': 'tv-9' },
    query: { d: '9' },
  } as const;
  const url = minted({ bindings: [...PLACE, ...DEVICE], countries: ['DE'] }).url;
  const handOff = (presented: string, device: object, now = NOW + 60, options: Partial<RenewerOptions> = {}) => {
    const renewer = at(now, options);
    return renewer.handOff(renewer.verify(presented, VIEWER), device);
  };
  const seenBy = (attributes: ViewerAttributes, now = NOW + 61) => {
    const handed = handOff(url, television);
    return decide(
      pathOf(handed.url ?? ''),
      edgeView({ ...VIEWER, ...television, ...attributes, query: {} }, handed.url?.split('?')[1] ?? ''),
      { now },
    );
  };

  test('opens for the other device where the first one is, and for nobody else', () => {
    expect(seenBy({})).toBe('');
    for (const name of ['ja4', 'device', 'userAgent', 'referer', 'headers', 'ip', 'country', 'region', 'city', 'asn']) {
      const other: ViewerAttributes = { ip: '198.51.100.7', country: 'FR', region: 'IDF', city: 'Paris', asn: '3215' };
      const changed = { ...VIEWER, ...other, [name]: { ...VIEWER, ...other }[name as 'ja4'] };
      expect([name, seenBy({ [name]: changed[name as 'ja4'] })]).not.toEqual([name, '']);
    }
    expect(handOff(url, television).url).toMatch(/\/aurora\/master\.m3u8\?d=9$/);
  });

  test('changes nothing but the device: session, start, subject, scope, countries', () => {
    const { iat: _, exp: __, bmac: ___, ...same } = claimsOf(url);
    const handed = claimsOf(handOff(url, television).url ?? '');
    expect(handed).toMatchObject({ ...same, iat: NOW + 60, exp: NOW + 1860 });
    expect(Object.keys(handed).sort()).toEqual(Object.keys(claimsOf(url)).sort());
  });

  test('lives no longer than the presented token did, than handoffSeconds, and than the session may', () => {
    expect(handOff(url, television).expiresAt).toBe(NOW + 1860);
    expect(handOff(url, television, NOW + 60, { handoffSeconds: 86400 }).expiresAt).toBe(NOW + 3660);
    expect(handOff(url, television, NOW + 60, { maxSessionSeconds: 600 }).expiresAt).toBe(NOW + 600);
    expect(() => handOff(url, television, NOW + 600, { maxSessionSeconds: 600 })).toThrow(
      expect.objectContaining({ code: 'ERR_SESSION_ENDED' }),
    );
  });

  test('chained with renewals ends with the session, and never lives longer again', () => {
    const { url: first } = minted({ lifetime: 'PT10M', bindings: ['country', 'user-agent'] });
    let presented = first;
    let latest = 0;
    const device = { userAgent: VIEWER.userAgent };
    for (let now = NOW + 60; now < NOW + 4000; now += 60) {
      const options = { maxSessionSeconds: 3600, handoffSeconds: 300 };
      const renewer = at(now, options);
      try {
        presented = renewer.handOff(renewer.verify(presented, VIEWER), device).url ?? '';
        presented = renewed(presented, now + 30, VIEWER, options).url ?? '';
      } catch (error) {
        expect((error as { code: string }).code).toMatch(/^ERR_SESSION_ENDED$|^ERR_TOKEN_REFUSED$/);
        break;
      }
      const { exp, iat } = claimsOf(presented);
      expect(exp - iat).toBeLessThanOrEqual(300);
      latest = Math.max(latest, exp);
    }
    expect(latest).toBeLessThanOrEqual(NOW + 3600);
  });

  test.each(DEVICE.filter((name) => name !== 'method'))('names %s when the other device has none', (binding) => {
    const attribute =
      { 'user-agent': 'userAgent', 'header:x-device': 'headers', 'query:d': 'query' }[binding] ?? binding;
    for (const suffix of ['', '?']) {
      const presented = minted({ bindings: ['country', `${binding}${suffix}`] }).url;
      expect(() => handOff(presented, { ...television, [attribute]: undefined })).toThrow(
        expect.objectContaining({
          code: 'ERR_TOKEN_BINDING_MISSING',
          message: expect.stringContaining(`'${binding}'`),
        }),
      );
    }
  });

  test('a header of the other device cannot say where it is', () => {
    const headers = {
      'cloudfront-viewer-country': 'FR',
      'CloudFront-Viewer-City': 'Paris',
      'x-device': 'tv-9',
    };
    const handed = handOff(url, { ...television, headers }).url ?? '';
    const paris = { ...VIEWER, ...television, country: 'FR', city: 'Paris', query: {} };
    expect(decide(pathOf(handed), edgeView(paris, 'd=9'), { now: NOW + 61 })).toBe('country-not-allowed');
    const berlin = { ...VIEWER, ...television, query: {} };
    expect(decide(pathOf(handed), edgeView(berlin, 'd=9'), { now: NOW + 61 })).toBe('');
  });
});
