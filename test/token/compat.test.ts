import { describe, expect, test } from 'vitest';
import { mintCompat } from '../../token/compat/mint.ts';
import { compatKey } from '../../token-api/key-ring/compat.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { NOW } from '../harness/minting.ts';

const POLICY = { paths: ['/out/'], exc: [], exp: '+1h' };
const minting = {
  ...{ kid: '20251009_00112233445566778899', key: compatKey('0f'.repeat(64)), now: NOW, crypto: nodeCrypto },
  createSessionId: (length: number) => 'S'.repeat(length),
};
const mint = (policy: unknown, viewer: unknown = {}, url: string | null = null) =>
  mintCompat(policy, viewer, url, minting);
const payloadOf = (token: string) => JSON.parse(nodeCrypto.decode(token.split('.').at(-2) ?? ''));

describe('what the format cannot protect is refused', () => {
  const headers = (values: object) => ({ headers: values });
  const cases: [code: string, why: string, policy: object | null, viewer?: object, url?: string][] = [
    ['POLICY', 'no policy', null],
    ['POLICY', 'a list', []],
    ['POLICY', 'a field that binds nothing', { qs: ['uid'] }],
    ['POLICY', 'a misspelt field', { header: ['user-agent'] }],
    ['POLICY', 'an inherited name', { constructor: true }],
    ['POLICY', 'text for a flag', { ip: 'false' }],
    ['POLICY', 'text for a list', { headers: 'user-agent' }],
    ['PATHS', 'no paths', { paths: undefined }],
    ['PATHS', 'an empty list', { paths: [] }],
    ['PATHS', 'an empty path, which opens everything', { paths: [''] }],
    ['PATHS', 'a relative path', { paths: ['out/'] }],
    ['PATHS', 'dot segments', { paths: ['/out/../'] }],
    ['PATHS', 'a path that opens its neighbours', { paths: ['/ch1'] }],
    ['PATHS', 'an exclusion that opens its neighbours', { exc: ['/ads'] }],
    ['PATHS', 'an empty exclusion', { exc: [''] }],
    ['PATHS', 'an exclusion of everything', { exc: ['/'] }],
    ['PATHS', 'an exclusion of all that is bound', { exc: ['/out/'] }],
    ['PATHS', 'an exclusion around it', { paths: ['/out/v1/'], exc: ['/out/'] }],
    ['PATHS', 'a path full of brackets', { paths: [`/out/${'['.repeat(20)}/`] }],
    ['TIME', 'no expiry', { exp: undefined }],
    ['TIME', 'null', { exp: null }],
    ['TIME', 'a number', { exp: NOW + 60 }],
    ['TIME', 'an unknown unit', { exp: '+1d' }],
    ['TIME', 'no number', { exp: '+h' }],
    ['TIME', 'zero', { exp: '+0h' }],
    ['TIME', 'less than one unit', { exp: '+0.5h' }],
    ['TIME', 'negative', { exp: '+-1h' }],
    ['TIME', 'words', { exp: 'tomorrow' }],
    ['TIME', 'empty', { exp: '' }],
    ['TIME', 'a date, of which only the year is read', { exp: '2030-01-01' }],
    ['TIME', 'a duration without its sign', { exp: '3600' }],
    ['TIME', 'milliseconds', { exp: `${(NOW + 60) * 1000}` }],
    ['TIME', 'a start that is none', { nbf: '+1h' }],
    ['TIME', 'a start in words', { nbf: 'soon' }],
    ['TIME', 'a start behind the end', { nbf: NOW + 7200 }],
    ['SESSION', 'a dot', { ssn: true }, { sessionId: 'user.name' }],
    ['SESSION', 'a colon', { ssn: true }, { sessionId: 'user:1' }],
    ['SESSION', 'a slash', { ssn: true }, { sessionId: 'a/b' }],
    ['SESSION', 'a question mark', { ssn: true }, { sessionId: 'a?b' }],
    ['SESSION', 'an escape', { ssn: true }, { sessionId: 'a%20b' }],
    ['SESSION', 'beyond ASCII', { ssn: true }, { sessionId: 'us\u00e9r' }],
    ['SESSION', 'a number', { ssn: true }, { sessionId: 7 }],
    ['SESSION', 'too short a random one', { ssn: true, session_auto_generate: 6 }],
    ['SESSION', 'an endless random one', { ssn: true, session_auto_generate: 1e6 }],
    ['FALLBACK', 'an address beside a fallback', { ip: true, co: true, co_fallback: true }, { ip: '::1', co: 'FR' }],
    ['BINDING_NAME', 'capitals in a header name', { headers: ['User-Agent'] }, headers({ 'User-Agent': 'x' })],
    ['BINDING_NAME', 'an empty header name', { headers: [''] }, headers({ '': 'x' })],
    ['BINDING_NAME', 'a header the edge does not show', { headers: ['cookie'] }, headers({ cookie: 'x' })],
    ['BINDING_NAME', 'a parameter that is escaped in the URL', { querystrings: ['a b'] }, { qs: { 'a b': '1' } }],
    ['BINDING_MISSING', 'no address', { ip: true }],
    ['BINDING_MISSING', 'no country, though with a fallback', { co: true, co_fallback: true }],
    ['BINDING_MISSING', 'no city', { cty: true }, { cty: '' }],
    ['BINDING_MISSING', 'no region', { reg: true }, { reg: null }],
    ['BINDING_MISSING', 'no headers', { headers: ['user-agent'] }],
    ['BINDING_MISSING', 'one header of two', { headers: ['user-agent', 'referer'] }, headers({ 'user-agent': 'x' })],
    ['BINDING_MISSING', 'an empty header', { headers: ['user-agent'] }, headers({ 'user-agent': '' })],
    ['BINDING_MISSING', 'an inherited header', { headers: ['constructor'] }, headers({})],
    ['BINDING_MISSING', 'no parameter', { querystrings: ['uid'] }],
    ['BINDING_MISSING', 'the first of the URL', { querystrings: ['uid'] }, {}, 'https://m.example/out/x?uid=42'],
    ['BINDING_VALUE', 'twice in the URL', { querystrings: ['b'] }, {}, 'https://m.example/out/x?a=1&b=2&b=3'],
    ['BINDING_VALUE', 'a colon beside another value', { querystrings: ['a', 'b'] }, { qs: { a: '1:2', b: '3' } }],
    ['BINDING_VALUE', 'a colon in a country', { co: true }, { co: 'FR:IDF' }],
    ['BINDING_VALUE', 'a country in small letters', { co: true }, { co: 'fr' }],
    ['BINDING_VALUE', 'a header beyond ASCII', { headers: ['x-a'] }, headers({ 'x-a': '\u00e9' })],
    ['BINDING_VALUE', 'no address', { ip: true }, { ip: 'unknown' }],
    ['BINDING_VALUE', 'an address in brackets', { ip: true }, { ip: '[2001:db8::1]' }],
    ['BINDING_VALUE', 'an address with a zone', { ip: true }, { ip: 'fe80::1%1' }],
    ['BINDING_VALUE', 'an IPv4 address in an IPv6 one', { ip: true }, { ip: '::ffff:203.0.113.7' }],
    ['BINDING_VALUE', 'the same in hexadecimal', { ip: true }, { ip: '::ffff:cb00:7107' }],
    ['BINDING_VALUE', 'both cases in one address', { ip: true }, { ip: '2001:DB8::ab' }],
    ['BINDING_VALUE', 'an octal-looking address', { ip: true }, { ip: '203.0.113.07' }],
    ['URL', 'another scheme', {}, {}, 'ftp://m.example/out/x'],
    ['URL', 'no path', {}, {}, 'https://m.example'],
    ['URL', 'a fragment', {}, {}, 'https://m.example/out/x#y'],
    ['URL', 'a bad escape', { querystrings: ['b'] }, {}, 'https://m.example/out/x?a=1&b=%zz'],
    ['TOO_LONG', 'many paths', { paths: Array.from({ length: 300 }, (_, i) => `/out/${i}/`) }],
  ];
  test.each(cases)('ERR_COMPAT_%s: %s', (code, _, policy, viewer = {}, url) => {
    const given = policy === null || Array.isArray(policy) ? policy : { ...POLICY, ...policy };
    expect(() => mint(given, viewer, url ?? null)).toThrow(expect.objectContaining({ code: `ERR_COMPAT_${code}` }));
  });

  test('a value that is a token to be signed, which the one key would sign', () => {
    const forged = mint({ ...POLICY, paths: ['/'] })
      .token.split('.')
      .slice(0, 2)
      .join('.');
    const policy = { ...POLICY, headers: ['user-agent'] };
    expect(() => mint(policy, { headers: { 'user-agent': forged } })).toThrow(
      expect.objectContaining({ code: 'ERR_COMPAT_BINDING_VALUE' }),
    );
    // Beside another value the input holds a colon, which no token does.
    const beside = mint({ ...policy, ssn: true }, { headers: { 'user-agent': forged } });
    expect(payloadOf(beside.token).intsig).toHaveLength(43);
  });

  test('no message carries a value of the viewer', () => {
    for (const viewer of [
      { headers: { 'x-a': 'hush:hush', 'x-b': '1' } },
      { headers: { 'x-a': 'hush\u00e9', 'x-b': '1' } },
    ]) {
      expect(() => mint({ ...POLICY, headers: ['x-a', 'x-b'] }, viewer)).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining('hush') }),
      );
    }
  });
});

describe('what is minted', () => {
  test('a random session id of the length that the policy asks for, by default 12', () => {
    expect(mint({ ...POLICY, ssn: true })).toMatchObject({
      sessionId: 'S'.repeat(12),
      token: expect.stringMatching(/^S{12}\./),
    });
    expect(mint({ ...POLICY, ssn: true, session_auto_generate: 20 }).sessionId).toHaveLength(20);
  });

  test('the URL with the token in its first segment, its query as it was', () => {
    const { token, url } = mint(POLICY, {}, 'https://m.example:8443/out/a/x.m3u8?_HLS_msn=1&q=a%20b');
    expect(url).toBe(`https://m.example:8443/${token}/out/a/x.m3u8?_HLS_msn=1&q=a%20b`);
  });

  test('part of an hour is cut off, as that solution does: never more than asked for', () => {
    expect(mint({ ...POLICY, exp: '+1.5h' }).expiresAt).toBe(NOW + 3600);
  });

  test('fields that are null are absent', () => {
    const absent = { nbf: null, exc: null, headers: null, ssn: null, session_auto_generate: null };
    expect(mint({ ...POLICY, ...absent }).token).toBe(mint(POLICY).token);
  });
});
