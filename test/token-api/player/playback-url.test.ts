import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ClaimsSet, mint } from '../../../token/index.ts';
import { nodeCrypto } from '../../../token-api/minting/crypto.ts';
import { isOfSession, readPlaybackUrl, withTokenOf } from '../../../token-api/player/playback-url.ts';
import { NOW, TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from '../../harness/minting.ts';
import { read } from '../../harness/simulated-playback.ts';

const tokenOf = (claims: Partial<ClaimsSet> = {}) =>
  mint({ ...TEST_CLAIMS, ...claims }, TEST_KEY, TEST_VIEWING, nodeCrypto);

const OLD = tokenOf();
const NEW = tokenOf({ iat: NOW + 60, exp: NOW + 3660 });
const latest = read(`https://media.example.com/${NEW}/aurora/master.m3u8`);

describe('a playback URL', () => {
  test('tells its session and its times', () => {
    const url = `https://media.example.com/live/~t/${OLD}/aurora/master.m3u8?a=b`;
    expect(readPlaybackUrl(url)).toEqual({
      href: url,
      origin: 'https://media.example.com',
      prefix: '/live/~t/',
      token: OLD,
      sessionId: TEST_CLAIMS.sid,
      issuedAt: NOW,
      expiresAt: NOW + 3600,
    });
  });

  test('with claims that are not ASCII is read as well', () => {
    expect(read(`https://media.example.com/${tokenOf({ sub: 'Zoë'.repeat(40) })}/aurora/a.m4s`).issuedAt).toBe(NOW);
  });

  test.each([
    ['no URL', 'aurora/master.m3u8'],
    ['no token', 'https://media.example.com/aurora/master.m3u8'],
    ['a token behind another session id', `https://media.example.com/X${OLD}/aurora/master.m3u8`],
    [
      'a payload that is none',
      `https://media.example.com/AbCdEf012345.${'a'.repeat(60)}.bm8.${'c'.repeat(43)}/aurora/x`,
    ],
    ['a token in the query', `https://media.example.com/aurora/master.m3u8?t=/${OLD}/`],
  ])('is not one: %s', (_name, url) => {
    expect(readPlaybackUrl(url)).toBeNull();
  });
});

describe('a URL of the same session gets the latest token', () => {
  test.each([
    ['a segment', '/360p/segment-001.m4s'],
    ['a query, as low-latency HLS has it', '/360p/index.m3u8?_HLS_msn=7&_HLS_part=1'],
    ['a fragment', '/360p/segment-001.m4s#t=3'],
    ['escaped characters', '/%C3%A9t%C3%A9/a%20b.m4s'],
    ['nothing after it', '/'],
  ])('%s', (_name, rest) => {
    expect(withTokenOf(latest, `https://media.example.com/${OLD}${rest}`)).toBe(
      `https://media.example.com/${NEW}${rest}`,
    );
  });

  test('at the place where the token is', () => {
    const live = read(`https://media.example.com/live/~t/${NEW}/aurora/master.m3u8`);
    const url = (token: string) => `https://media.example.com/live/~t/${token}/aurora/a.m4s`;
    expect(withTokenOf(live, url(OLD))).toBe(url(NEW));
    expect(isOfSession(latest, url(OLD))).toBe(false);
  });
});

describe('any other URL is left as it is, to the character', () => {
  const other = tokenOf({ sid: 'OtherSession1' });
  test.each([
    ['another host', `https://elsewhere.example.com/${OLD}/aurora/a.m4s`],
    ['a host that begins alike', `https://media.example.com.evil.example/${OLD}/aurora/a.m4s`],
    ['the host as user name', `https://media.example.com@evil.example/${OLD}/aurora/a.m4s`],
    ['another host behind a backslash', `https://evil.example\\@media.example.com/${OLD}/aurora/a.m4s`],
    ['another port', `https://media.example.com:8443/${OLD}/aurora/a.m4s`],
    ['another scheme', `http://media.example.com/${OLD}/aurora/a.m4s`],
    ['a blob of the same origin', `blob:https://media.example.com/${OLD}/aurora/a.m4s`],
    ['another session', `https://media.example.com/${other}/aurora/a.m4s`],
    ['a session id that begins alike', `https://media.example.com/${OLD.replace('.', 'X.')}/aurora/a.m4s`],
    ['no token', 'https://media.example.com/aurora/a.m4s'],
    ['the session id alone', `https://media.example.com/${TEST_CLAIMS.sid}/aurora/a.m4s`],
    ['a token at another place', `https://media.example.com/aurora/${OLD}/a.m4s`],
    ['a token in the query', `https://media.example.com/aurora/a.m4s?from=/${OLD}/`],
    ['a token behind which dots lead away', `https://media.example.com/${OLD}/../aurora/a.m4s`],
    ['the latest token itself', `https://media.example.com/${NEW}/aurora/a b.m4s`],
    ['a relative URL', `/${OLD}/aurora/a.m4s`],
    ['a data URL', 'data:application/octet-stream;base64,AAAA'],
    ['no URL', '::'],
  ])('%s', (_name, url) => {
    expect(withTokenOf(latest, url)).toBe(url);
  });

  test('whatever it is', () => {
    const piece = fc.constantFrom(
      OLD,
      NEW,
      other,
      'aurora',
      '..',
      '.',
      '',
      '%2e%2e',
      '%2f',
      '\\',
      'a.m4s',
      '@',
      ':',
      '?',
      '#',
    );
    const host = fc.constantFrom('media.example.com', 'evil.example', 'media.example.com:443', 'MEDIA.example.com', '');
    const scheme = fc.constantFrom('https://', 'http://', 'blob:https://', '//', 'https:', 'javascript:', '');
    const anyUrl = fc
      .tuple(scheme, host, fc.array(fc.oneof(piece, fc.string({ maxLength: 4 })), { maxLength: 6 }))
      .map(([start, name, path]) => start + [name, ...path].join('/'));
    fc.assert(
      fc.property(anyUrl, (url) => {
        const result = withTokenOf(latest, url);
        if (result === url) return;
        // What was rewritten is at the same origin, had a token of this session, and differs in nothing else.
        const before = new URL(url);
        const after = new URL(result);
        expect(after.origin).toBe('https://media.example.com');
        expect(before.pathname.startsWith(`/${OLD}`)).toBe(true);
        expect(after.href.replace(NEW, OLD)).toBe(before.href);
      }),
      { numRuns: 5000 },
    );
  });
});
