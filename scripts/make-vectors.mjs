// Makes token/vectors/*.json: requests with the answer that a validator must give, one failure each. The tokens are made
// with node:crypto and jose alone, so that the vectors do not share a mistake with the code they test.
import { createHmac, hkdfSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { CompactSign } from 'jose';

const NOW = 1_760_000_000;
const SID = 'AbCdEf012345';
// Not a secret: the bytes 0 to 31.
const SECRET = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
const derive = (label) => Buffer.from(hkdfSync('sha256', SECRET, '', label, 32));
const SIGN = derive('portcullis/v1/signing');
const BIND = derive('portcullis/v1/binding');
const b64 = (data) => Buffer.from(data).toString('base64url');

const HEADER = { alg: 'HS256', typ: 'portcullis+jwt', kid: 'k1' };
const CLAIMS = { sid: SID, aid: 'aurora', iat: NOW - 60, exp: NOW + 3540, sst: NOW - 60, paths: ['/aurora/'] };
const PATH = '/aurora/360p/segment-001.m4s';

/** Signs texts as they are: header and payload may be anything. */
function signRaw(header, payload, key = SIGN) {
  const signed = `${b64(header)}.${b64(payload)}`;
  return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
}

async function sign(claims, header = HEADER) {
  return new CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader(header).sign(SIGN);
}

function without(object, name) {
  const { [name]: _, ...rest } = object;
  return rest;
}

const bindingMac = (lines, key = BIND, sid = SID) =>
  createHmac('sha256', key)
    .update(`sid=${sid}\n${lines.map((line) => `${line}\n`).join('')}`)
    .digest('base64url');

const groups = {};
function vector(group, name, rule, uri, expected, more = {}) {
  const {
    now = NOW,
    ip = '203.0.113.7',
    headers = {},
    querystring = {},
    revoked = [],
    before = 0,
    blocks = {},
    method = 'GET',
  } = more;
  groups[group] ??= [];
  groups[group].push({
    name,
    rule,
    now,
    store: { revoked, before, blocks },
    event: {
      version: '1.0',
      context: {
        distributionDomainName: 'd.example',
        distributionId: 'E1',
        eventType: 'viewer-request',
        requestId: 'r',
      },
      viewer: { ip },
      request: { method, uri, querystring, headers, cookies: {} },
    },
    expected: typeof expected === 'string' && !expected.startsWith('/') ? { reason: expected } : { uri: expected },
  });
}

const good = await sign(CLAIMS);
const [goodHeader, goodPayload, goodSignature] = good.split('.');
const url = (token, path = PATH, sid = SID) => `/${sid}.${token}${path}`;
const field = (value) => ({ value });

// Shape of the URI
vector('shape', 'valid', 'a good token opens its path', url(good), PATH);
vector('shape', 'no-token', 'a request without a token is denied', PATH, 'token-missing');
vector('shape', 'root', 'a request without a token is denied', '/', 'token-missing');
vector('shape', 'file-at-root', 'a request without a token is denied', '/favicon.ico', 'token-missing');
vector('shape', 'token-without-path', 'a token must be followed by a path', `/${SID}.${good}`, 'token-missing');
vector('shape', 'empty-uri', 'a request without a token is denied', '', 'token-missing');
vector('shape', 'relative-uri', 'a URI begins with a slash', `${SID}.${good}${PATH}`, 'token-malformed');
vector('shape', 'no-leading-slash', 'a URI begins with a slash', `x${SID}.${good}${PATH}`, 'token-malformed');
vector(
  'shape',
  'slash-in-session',
  'a session id holds no slash',
  `/${SID.slice(0, 6)}/${SID.slice(6)}.${good}${PATH}`,
  'token-malformed',
);
vector('shape', 'dots-without-token', 'dots in a path make no token', '/aurora/v1.2.3/x', 'token-missing');
vector('shape', 'no-session-prefix', 'the session prefix is required', `/${good}${PATH}`, 'token-malformed');
vector('shape', 'empty-session-prefix', 'the session prefix is required', `/.${good}${PATH}`, 'token-malformed');
for (const [name, sid] of [
  ['short-session', 'AbCdEf01234'],
  ['long-session', 'A'.repeat(65)],
  ['session-alphabet', 'AbCdEf01234_'],
]) {
  vector(
    'shape',
    name,
    'a session id is 12–64 letters and digits',
    url(await sign({ ...CLAIMS, sid }), PATH, sid),
    'token-malformed',
  );
}
vector(
  'shape',
  'session-with-slash',
  'a session id holds no slash, also where it is signed',
  url(await sign({ ...CLAIMS, sid: `${SID}/x` }), PATH, `${SID}/x`),
  'token-malformed',
);
vector('shape', 'two-parts', 'a token has four parts', `/${SID}.${goodHeader}${PATH}`, 'token-malformed');
vector(
  'shape',
  'three-parts',
  'a token has four parts',
  `/${SID}.${goodHeader}.${goodPayload}${PATH}`,
  'token-malformed',
);
vector('shape', 'no-signature', 'a signature is required', url(`${goodHeader}.${goodPayload}.`), 'token-malformed');
vector('shape', 'five-parts', 'a token has four parts', url(`${good}.x`), 'token-malformed');
vector(
  'shape',
  'too-long',
  'the size is capped first',
  url(`${goodHeader}.${'A'.repeat(2048)}.${goodSignature}`),
  'token-malformed',
);
vector(
  'shape',
  'dots-in-path',
  'dots after the token are none of its parts',
  url(good, '/aurora/a.b.c'),
  '/aurora/a.b.c',
);
vector('shape', 'query-ignored', 'the query string does not matter to a token without bindings', url(good), PATH, {
  querystring: { token: field('x') },
});
vector('shape', 'head', 'the method does not matter to a token without bindings', url(good), PATH, { method: 'HEAD' });

// Header
const headerCase = async (name, rule, header, expected) =>
  vector(
    'header',
    name,
    rule,
    url(signRaw(typeof header === 'string' ? header : JSON.stringify(header), JSON.stringify(CLAIMS))),
    expected,
  );
await headerCase(
  'any-order',
  'header members come in any order',
  { kid: 'k1', typ: 'portcullis+jwt', alg: 'HS256' },
  PATH,
);
await headerCase(
  'whitespace',
  'white space in the header is JSON',
  '{ "alg": "HS256", "typ": "portcullis+jwt", "kid": "k1" }',
  PATH,
);
await headerCase(
  'usual-with-blank',
  'white space in the header is JSON',
  '{"alg":"HS256","typ":"portcullis+jwt","kid":"k1" }',
  PATH,
);
await headerCase('alg-none', 'the algorithm is pinned', { ...HEADER, alg: 'none' }, 'token-malformed');
await headerCase('alg-case', 'the algorithm is pinned', { ...HEADER, alg: 'hs256' }, 'token-malformed');
await headerCase('alg-hs512', 'the algorithm is pinned', { ...HEADER, alg: 'HS512' }, 'token-malformed');
await headerCase('alg-rs256', 'the algorithm is pinned', { ...HEADER, alg: 'RS256' }, 'token-malformed');
await headerCase('alg-missing', 'the algorithm is required', without(HEADER, 'alg'), 'token-malformed');
await headerCase('typ-missing', 'explicit typing (RFC 8725 §3.11)', without(HEADER, 'typ'), 'token-malformed');
await headerCase('typ-jwt', 'explicit typing (RFC 8725 §3.11)', { ...HEADER, typ: 'JWT' }, 'token-malformed');
await headerCase('kid-missing', 'a key id is required', without(HEADER, 'kid'), 'token-malformed');
await headerCase('kid-number', 'a key id is text', { ...HEADER, kid: 1 }, 'token-malformed');
await headerCase('kid-empty', 'a key id has 1–64 characters', { ...HEADER, kid: '' }, 'token-malformed');
await headerCase('kid-long', 'a key id has 1–64 characters', { ...HEADER, kid: 'k'.repeat(65) }, 'token-malformed');
await headerCase('kid-slash', 'a key id has a restricted alphabet', { ...HEADER, kid: '../k1' }, 'token-malformed');
await headerCase('kid-unknown', 'an unknown key denies', { ...HEADER, kid: 'k2' }, 'token-key-unknown');
await headerCase(
  'kid-proto',
  'a key is looked up as an own property',
  { ...HEADER, kid: '__proto__' },
  'token-key-unknown',
);
await headerCase(
  'kid-constructor',
  'a key is looked up as an own property',
  { ...HEADER, kid: 'constructor' },
  'token-key-unknown',
);
await headerCase('crit', 'no critical extensions', { ...HEADER, crit: ['exp'] }, 'token-malformed');
await headerCase('b64', 'no unencoded payload (RFC 7797)', { ...HEADER, b64: false, crit: ['b64'] }, 'token-malformed');
await headerCase('jku', 'no key by reference', { ...HEADER, jku: 'https://attacker.example/jwks' }, 'token-malformed');
await headerCase('jwk', 'no key in the header', { ...HEADER, jwk: { kty: 'oct', k: 'AA' } }, 'token-malformed');
await headerCase('x5u', 'no key by reference', { ...HEADER, x5u: 'https://attacker.example/' }, 'token-malformed');
await headerCase('unknown-member', 'nothing but alg, typ and kid', { ...HEADER, x: 1 }, 'token-malformed');
await headerCase('null', 'a header is an object', 'null', 'token-malformed');
await headerCase('array', 'a header is an object', '["HS256","portcullis+jwt","k1"]', 'token-malformed');
await headerCase('not-json', 'a header is JSON', '{"alg":"HS256"', 'token-malformed');
vector('header', 'padding', 'base64url has no padding', url(good.replace('.', '=.')), 'token-malformed');
vector(
  'header',
  'not-base64url',
  'base64url only',
  url(`${goodHeader.slice(0, -1)}+.${goodPayload}.${goodSignature}`),
  'token-malformed',
);
vector('header', 'percent-escape', 'nothing is unescaped', url(good.replace('e', '%65')), 'token-malformed');

// Signature
const flipped = (text, i) => text.slice(0, i) + (text[i] === 'A' ? 'B' : 'A') + text.slice(i + 1);
vector(
  'signature',
  'first-character',
  'every character counts',
  url(`${goodHeader}.${goodPayload}.${flipped(goodSignature, 0)}`),
  'token-signature-invalid',
);
vector('signature', 'truncated', 'the whole signature counts', url(good.slice(0, -1)), 'token-malformed');
vector('signature', 'extended', 'the whole signature counts', url(`${good}A`), 'token-malformed');
for (const offset of [1, 2, 3]) {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const end = alphabet[alphabet.indexOf(goodSignature[42]) + offset];
  const spelled = `${goodSignature.slice(0, 42)}${end}`;
  if (!Buffer.from(spelled, 'base64url').equals(Buffer.from(goodSignature, 'base64url')))
    throw new Error('not what is meant');
  vector(
    'signature',
    `spare-bits-${offset}`,
    'trailing bits are canonical',
    url(`${goodHeader}.${goodPayload}.${spelled}`),
    'token-signature-invalid',
  );
}
for (const [name, character] of [
  ['plus', '+'],
  ['non-ascii', '\u00e9'],
  ['blank', ' '],
]) {
  const spelled = `${goodSignature.slice(0, 20)}${character}${goodSignature.slice(21)}`;
  vector(
    'signature',
    `alphabet-${name}`,
    'base64url only',
    url(`${goodHeader}.${goodPayload}.${spelled}`),
    'token-signature-invalid',
  );
}
vector('signature', 'padded', 'base64url has no padding', url(`${good}=`), 'token-malformed');
vector(
  'signature',
  'hex',
  'base64url only',
  url(`${goodHeader}.${goodPayload}.${Buffer.from(goodSignature, 'base64url').toString('hex')}`),
  'token-malformed',
);
vector(
  'signature',
  'payload-changed',
  'the payload is signed',
  url(`${goodHeader}.${b64(JSON.stringify({ ...CLAIMS, paths: ['/'] }))}.${goodSignature}`),
  'token-signature-invalid',
);
vector(
  'signature',
  'header-changed',
  'the header is signed',
  url(`${b64(JSON.stringify({ kid: 'k1', typ: 'portcullis+jwt', alg: 'HS256' }))}.${goodPayload}.${goodSignature}`),
  'token-signature-invalid',
);
vector(
  'signature',
  'binding-key',
  'the binding key signs no tokens',
  url(signRaw(JSON.stringify(HEADER), JSON.stringify(CLAIMS), BIND)),
  'token-signature-invalid',
);
vector(
  'signature',
  'ring-secret',
  'the ring secret signs no tokens',
  url(signRaw(JSON.stringify(HEADER), JSON.stringify(CLAIMS), SECRET)),
  'token-signature-invalid',
);
vector(
  'signature',
  'empty-key',
  'an empty key signs no tokens',
  url(signRaw(JSON.stringify(HEADER), JSON.stringify(CLAIMS), '')),
  'token-signature-invalid',
);
vector(
  'signature',
  'base64-text-as-key',
  'the key is the 32 bytes, not their base64url text',
  url(signRaw(JSON.stringify(HEADER), JSON.stringify(CLAIMS), SIGN.toString('base64url'))),
  'token-signature-invalid',
);

// Claims
const claimsCase = async (name, rule, claims, expected, more) =>
  vector('claims', name, rule, url(await sign(claims)), expected, more);
for (const name of ['sid', 'aid', 'iat', 'exp', 'sst', 'paths']) {
  await claimsCase(`${name}-missing`, `${name} is required`, without(CLAIMS, name), 'token-claims-invalid');
}
for (const [name, value] of [
  ['exp', `${CLAIMS.exp}`],
  ['exp', CLAIMS.exp + 0.5],
  ['exp', -1],
  ['exp', null],
  ['iat', '0'],
  ['sst', true],
  ['nbf', 'soon'],
  ['sid', 12],
  ['aid', ''],
  ['aid', 'a'.repeat(129)],
  ['sub', 7],
  ['paths', '/aurora/'],
  ['paths', []],
  ['paths', [1]],
  ['paths', ['']],
  ['bnd', 'ip'],
  ['bnd', []],
  ['bmac', 'x'],
  ['cty', 'DE'],
  ['cty', []],
]) {
  const described =
    typeof value === 'string' && value.length > 20 ? 'long' : JSON.stringify(value).replaceAll(/[^\w.-]+/g, '_');
  await claimsCase(
    `${name}-is-${described}`,
    `${name} has its type`,
    { ...CLAIMS, [name]: value },
    'token-claims-invalid',
  );
}
vector(
  'claims',
  'exp-huge',
  'exp is finite',
  url(signRaw(JSON.stringify(HEADER), JSON.stringify(CLAIMS).replace(`${CLAIMS.exp}`, '1e999'))),
  'token-claims-invalid',
);
for (const payload of ['null', '[]', '"x"', '1', 'true', '', '{', '{}']) {
  vector(
    'claims',
    `payload-${payload.replaceAll('"', '')}`,
    'a payload is a JSON object',
    url(signRaw(JSON.stringify(HEADER), payload.padStart(80))),
    'token-claims-invalid',
  );
  vector(
    'claims',
    `short-payload-${payload.replaceAll('"', '')}`,
    'a payload too short for its claims is none',
    url(signRaw(JSON.stringify(HEADER), payload)),
    'token-malformed',
  );
}
await claimsCase('bound-without-mac', 'bindings need their MAC', { ...CLAIMS, bnd: ['ip'] }, 'token-claims-invalid');
await claimsCase(
  'start-after-issue',
  'a session starts before its token is issued',
  { ...CLAIMS, sst: CLAIMS.iat + 1 },
  'token-claims-invalid',
);
await claimsCase(
  'expires-at-issue',
  'a token expires after it is issued',
  { ...CLAIMS, exp: CLAIMS.iat },
  'token-claims-invalid',
);
await claimsCase('unknown-claim', 'unknown claims are left alone', { ...CLAIMS, x: { y: [1] } }, PATH);
for (const [depth, expected] of [
  [25, PATH],
  [40, 'token-claims-invalid'],
  [400, 'token-claims-invalid'],
]) {
  const nested = JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`);
  await claimsCase(
    `nested-${depth}`,
    'a payload is nested no deeper than every engine reads',
    { ...CLAIMS, x: nested },
    expected,
  );
}
vector(
  'claims',
  'session-line-feed',
  'a session id is 12–64 letters and digits',
  url(await sign({ ...CLAIMS, sid: `${SID}\n` }), PATH, `${SID}\n`),
  'token-malformed',
);
await claimsCase(
  'other-session',
  'the session in the path is the signed one',
  { ...CLAIMS, sid: 'ZzZzZz999999' },
  'token-session-mismatch',
);

// Time
const timeCase = async (name, rule, changes, expected, now = NOW) =>
  vector('time', name, rule, url(await sign({ ...CLAIMS, ...changes })), expected, { now });
await timeCase('last-second', 'valid up to the second before exp', {}, PATH, CLAIMS.exp - 1);
await timeCase('at-expiry', 'denied from exp on', {}, 'token-expired', CLAIMS.exp);
await timeCase('long-expired', 'denied from exp on', {}, 'token-expired', CLAIMS.exp + 1e6);
await timeCase('before-nbf', 'denied before nbf', { nbf: NOW + 1 }, 'token-not-yet-valid');
await timeCase('at-nbf', 'valid from nbf on', { nbf: NOW }, PATH);
await timeCase('longest', 'exp − iat may equal the maximum', { exp: CLAIMS.iat + 86400 }, PATH);
await timeCase(
  'too-long',
  'exp − iat may not exceed the maximum',
  { exp: CLAIMS.iat + 86401 },
  'token-lifetime-exceeded',
);
await timeCase(
  'issued-in-the-future',
  'a future iat does not stretch the lifetime',
  { iat: NOW + 1e6, sst: NOW, exp: NOW + 1e6 + 3600 },
  'token-lifetime-exceeded',
);

// Path
const pathCase = async (name, rule, path, expected, paths = ['/aurora/']) =>
  vector('path', name, rule, url(await sign({ ...CLAIMS, paths }), path), expected);
await pathCase('other-title', 'a token opens its own paths only', '/harbour/master.m3u8', 'path-not-allowed');
await pathCase('outside', 'a token opens its own paths only', '/', 'path-not-allowed');
await pathCase('directory-itself', 'a prefix with a slash opens what is below it', '/aurora', 'path-not-allowed');
await pathCase('case', 'paths are compared as they are', '/Aurora/x', 'path-not-allowed');
await pathCase('second-scope', 'every scope counts', '/b/x', '/b/x', ['/a/', '/b/']);
await pathCase('exact-file', 'a scope opens itself', '/a/one.m3u8', '/a/one.m3u8', ['/a/one.m3u8']);
await pathCase('segment-boundary', 'a scope ends on a segment boundary', '/ch10/x', 'path-not-allowed', ['/ch1']);
await pathCase('segment-boundary-dot', 'a scope ends on a segment boundary', '/ch1.m3u8', 'path-not-allowed', ['/ch1']);
await pathCase('below-without-slash', 'a scope opens what is below it', '/ch1/x', '/ch1/x', ['/ch1']);
const fileCase = async (name, rule, path, expected) =>
  vector(
    'path',
    name,
    rule,
    url(await sign({ ...CLAIMS, files: ['/shared/intro.mp4', '/shared/dir/'] }), path),
    expected,
  );
await fileCase('file', 'a file opens itself', '/shared/intro.mp4', '/shared/intro.mp4');
await fileCase('beside-file', 'a file does not close the scopes', PATH, PATH);
await fileCase('below-file', 'a file opens nothing below it', '/shared/intro.mp4/x', 'path-not-allowed');
await fileCase('below-file-with-slash', 'a file opens nothing below it', '/shared/dir/x', 'path-not-allowed');
await fileCase('like-file', 'a file opens itself alone', '/shared/intro.mp4x', 'path-not-allowed');
await pathCase('escaped-blank', 'harmless escapes pass as they are', '/aurora/a%20b', '/aurora/a%20b');
await pathCase(
  'escaped-utf8',
  'harmless escapes pass as they are',
  '/aurora/%C3%A9%e2%82%ac',
  '/aurora/%C3%A9%e2%82%ac',
);
await pathCase(
  'sub-delims',
  'characters of RFC 3986 pchar pass',
  "/aurora/a!$&'()*+,;=:@b~",
  "/aurora/a!$&'()*+,;=:@b~",
);
for (const [name, path] of [
  ['dot-dot', '/aurora/../harbour/x'],
  ['dot-dot-end', '/aurora/..'],
  ['dot', '/aurora/./x'],
  ['dot-end', '/aurora/.'],
  ['escaped-dots', '/aurora/%2e%2e/harbour/x'],
  ['escaped-dots-upper', '/aurora/%2E%2E/harbour/x'],
  ['half-escaped-dots', '/aurora/.%2e/harbour/x'],
  ['escaped-dot-in-name', '/aurora/a%2eb'],
  ['double-slash', '/aurora//x'],
  ['double-slash-front', '//harbour/x'],
  ['escaped-slash', '/aurora/..%2fharbour'],
  ['escaped-slash-upper', '/aurora/%2Fx'],
  ['backslash', '/aurora/..\\harbour'],
  ['escaped-backslash', '/aurora/..%5charbour'],
  ['nul', '/aurora/x%00.m3u8'],
  ['escaped-line-feed', '/aurora/x%0ay'],
  ['escaped-delete', '/aurora/x%7f'],
  ['double-escape', '/aurora/%252e%252e/x'],
  ['lone-percent', '/aurora/100%'],
  ['bad-escape', '/aurora/%zz'],
  ['half-escape', '/aurora/%2'],
  ['overlong-dots', '/aurora/%c0%ae%c0%ae/harbour'],
  ['overlong-slash', '/aurora/..%c1%9charbour'],
  ['overlong-dots-three-bytes', '/aurora/%e0%80%ae%E0%80%AE/harbour'],
  ['overlong-dots-four-bytes', '/aurora/%f0%80%80%ae/harbour'],
  ['path-parameter-dots', '/aurora/..;x/harbour'],
  ['blank', '/aurora/a b'],
  ['control', '/aurora/a\u0001b'],
  ['non-ascii', '/aurora/\u00e9'],
  ['full-width-dots', '/aurora/\uff0e\uff0e/x'],
  ['fragment', '/aurora/a#b'],
  ['question-mark', '/aurora/a?b'],
  ['escaped-parameter-dots', '/aurora/..%3bx/harbour'],
  ['overlong-dots-five-bytes', '/aurora/%f8%80%80%80%ae/harbour'],
  ['brackets', '/aurora/a[b]'],
  ['trailing-line-feed', '/aurora/x.m4s\n'],
]) {
  await pathCase(`unsafe-${name}`, 'unsafe paths are refused, not repaired', path, 'path-unsafe', ['/']);
}

// Bindings
const bound = async (bnd, lines, { key, sid } = {}) => sign({ ...CLAIMS, bnd, bmac: bindingMac(lines, key, sid) });
const bindingCase = async (name, rule, token, expected, more) =>
  vector('bindings', name, rule, url(await token), expected, more);
const ip4 = bound(['ip'], ['ip=203.0.113.7']);
await bindingCase('ip-same', 'the bound address passes', ip4, PATH);
await bindingCase('ip-other', 'another address is denied', ip4, 'binding-mismatch', { ip: '203.0.113.8' });
await bindingCase('ip-mapped', 'IPv4-mapped IPv6 is its IPv4 address', ip4, PATH, { ip: '::ffff:203.0.113.7' });
await bindingCase('ip-mapped-hex', 'IPv4-mapped IPv6 is its IPv4 address', ip4, PATH, {
  ip: '0:0:0:0:0:FFFF:cb00:7107',
});
await bindingCase('ip-leading-zero', 'octal-looking octets are no address', ip4, 'binding-missing', {
  ip: '203.0.113.07',
});
await bindingCase('ip-absent', 'absent is a denial', ip4, 'binding-missing', { ip: '' });
const ip6 = bound(['ip'], ['ip=2001:db8:0:0:0:0:0:1']);
await bindingCase('ip6-compressed', 'one spelling per IPv6 address', ip6, PATH, { ip: '2001:db8::1' });
await bindingCase('ip6-upper', 'one spelling per IPv6 address', ip6, PATH, { ip: '2001:DB8::1' });
await bindingCase('ip6-zeros', 'one spelling per IPv6 address', ip6, PATH, {
  ip: '2001:0db8:0000:0000:0000:0000:0000:0001',
});
await bindingCase('ip6-other', 'another address is denied', ip6, 'binding-mismatch', { ip: '2001:db8::2' });
await bindingCase('ip6-zone', 'a zone is no part of an address', ip6, 'binding-missing', { ip: '2001:db8::1%eth0' });
const country = bound(['country'], ['country=DE']);
const from = (value) => ({ headers: { 'cloudfront-viewer-country': field(value) } });
await bindingCase('country-same', 'the bound country passes', country, PATH, from('DE'));
await bindingCase('country-lower', 'countries are compared in upper case', country, PATH, from('de'));
await bindingCase('country-other', 'another country is denied', country, 'binding-mismatch', from('FR'));
await bindingCase('country-absent', 'absent is a denial', country, 'binding-missing');
const agent = bound(['user-agent'], ['user-agent=Player/1.0']);
const withAgent = (value) => ({ headers: { 'user-agent': field(value) } });
await bindingCase('user-agent-same', 'the bound user-agent passes', agent, PATH, withAgent('Player/1.0'));
await bindingCase(
  'user-agent-other',
  'another user-agent is denied',
  agent,
  'binding-mismatch',
  withAgent('Player/2.0'),
);
await bindingCase('user-agent-empty', 'empty is absent', agent, 'binding-missing', withAgent(''));
const device = bound(['header:x-device'], ['header:x-device=tv-7']);
await bindingCase('header-same', 'the bound header passes', device, PATH, { headers: { 'x-device': field('tv-7') } });
await bindingCase('header-other', 'another value is denied', device, 'binding-mismatch', {
  headers: { 'x-device': field('tv-8') },
});
await bindingCase('header-absent', 'absent is a denial', device, 'binding-missing');
await bindingCase('header-twice', 'an ambiguous header is absent', device, 'binding-missing', {
  headers: { 'x-device': { value: 'tv-7', multiValue: [field('tv-8'), field('tv-7')] } },
});
const query = bound(['query:d'], ['query:d=42']);
await bindingCase('query-same', 'the bound parameter passes', query, PATH, { querystring: { d: field('42') } });
await bindingCase('query-other', 'another value is denied', query, 'binding-mismatch', {
  querystring: { d: field('43') },
});
await bindingCase('query-absent', 'absent is a denial', query, 'binding-missing');
await bindingCase('query-twice', 'an ambiguous parameter is absent', query, 'binding-missing', {
  querystring: { d: { value: '42', multiValue: [field('41'), field('42')] } },
});
const rows = [
  ['network-ip4', 'network=203.0.113.0/24', 'network', { ip: '203.0.113.250' }, { ip: '203.0.114.7' }, { ip: '' }],
  [
    'network-mapped',
    'network=203.0.113.0/24',
    'network',
    { ip: '::ffff:203.0.113.9' },
    { ip: '2001:db8:7::1' },
    { ip: 'x' },
  ],
  [
    'network-ip6',
    'network=2001:db8:7::/48',
    'network',
    { ip: '2001:0DB8:7:ffff::9' },
    { ip: '2001:db8:8::1' },
    { ip: '::1%0' },
  ],
  ...[
    ['region', 'cloudfront-viewer-country-region', 'BE', 'NY'],
    ['city', 'cloudfront-viewer-city', 'Berlin', 'Paris'],
    ['asn', 'cloudfront-viewer-asn', '3320', '3215'],
    [
      'ja4',
      'cloudfront-viewer-ja4-fingerprint',
      't13d1516h2_8daaf6152771_02713d6af862',
      't13d1516h2_8daaf6152771_b186095e22b6',
    ],
    ['referer', 'referer', 'https://page.example/', 'https://other.example/'],
  ].map(([name, header, same, other]) => [
    name,
    `${name}=${same}`,
    name,
    { headers: { [header]: field(same) } },
    { headers: { [header]: field(other) } },
    {},
  ]),
  [
    'device',
    'device=mobile',
    'device',
    { headers: { 'cloudfront-is-mobile-viewer': field('true'), 'cloudfront-is-tablet-viewer': field('true') } },
    { headers: { 'cloudfront-is-mobile-viewer': field('false'), 'cloudfront-is-desktop-viewer': field('true') } },
    { headers: { 'cloudfront-is-mobile-viewer': field('false') } },
  ],
  ['method', 'method=GET', 'method', {}, { method: 'HEAD' }, { method: '' }],
];
for (const [name, line, binding, same, other, absent] of rows) {
  const token = bound([binding], [line]);
  await bindingCase(`${name}-same`, 'the bound value passes', token, PATH, same);
  await bindingCase(`${name}-other`, 'another value is denied', token, 'binding-mismatch', other);
  await bindingCase(`${name}-absent`, 'absent is a denial', token, 'binding-missing', absent);
}
const allowed = sign({ ...CLAIMS, cty: ['DE', 'AT'] });
await bindingCase('countries-first', 'an allowed country passes', allowed, PATH, from('DE'));
await bindingCase('countries-second', 'an allowed country passes', allowed, PATH, from('AT'));
await bindingCase('countries-other', 'another country is denied', allowed, 'country-not-allowed', from('FR'));
await bindingCase('countries-absent', 'an unknown country is denied', allowed, 'country-not-allowed');
const two = bound(['header:x-a', 'header:x-b'], ['header:x-a=1', 'header:x-b=2']);
await bindingCase('values-swapped', 'a value cannot move to another field', two, 'binding-mismatch', {
  headers: { 'x-a': field('2'), 'x-b': field('1') },
});
await bindingCase(
  'line-feed',
  'a value cannot add a line',
  bound(['header:x-a', 'header:x-b'], ['header:x-a=1', 'header:x-b=2', 'header:x-b=2']),
  'binding-missing',
  {
    headers: { 'x-a': field('1\nheader:x-b=2'), 'x-b': field('2') },
  },
);
await bindingCase(
  'order',
  'the order of the bindings is signed',
  bound(['header:x-b', 'header:x-a'], ['header:x-a=1', 'header:x-b=2']),
  'binding-mismatch',
  {
    headers: { 'x-a': field('1'), 'x-b': field('2') },
  },
);
await bindingCase('unknown', 'an unknown binding denies', bound(['shoe-size'], ['shoe-size=42']), 'binding-missing');
await bindingCase(
  'prototype',
  'a binding is looked up as an own property',
  bound(['constructor'], ['constructor=x']),
  'binding-missing',
);
await bindingCase(
  'prototype-header',
  'a header is looked up as an own property',
  bound(['header:constructor'], ['header:constructor=x']),
  'binding-missing',
);
await bindingCase(
  'other-session',
  'a binding MAC belongs to its session',
  bound(['ip'], ['ip=203.0.113.7'], { sid: 'ZzZzZz999999' }),
  'binding-mismatch',
);
await bindingCase(
  'signing-key',
  'the signing key makes no binding MACs',
  bound(['ip'], ['ip=203.0.113.7'], { key: SIGN }),
  'binding-mismatch',
);

// Bindings that are skipped when the request lacks the value
const tolerant = async (claims, ...lines) => {
  const btol = lines.map((line) => `${line.slice(0, line.lastIndexOf('='))}=${bindingMac([line])}`);
  return sign({ ...CLAIMS, ...claims, btol });
};
const tolerantDevice = tolerant({}, 'header:x-device=tv-7');
const withDevice = (value) => ({ headers: { 'x-device': field(value) } });
await bindingCase('tolerant-same', 'a tolerant binding passes its value', tolerantDevice, PATH, withDevice('tv-7'));
await bindingCase('tolerant-absent', 'a tolerant binding is skipped without its value', tolerantDevice, PATH);
await bindingCase(
  'tolerant-other',
  'a tolerant binding denies another value',
  tolerantDevice,
  'binding-mismatch',
  withDevice('tv-8'),
);
const mixed = tolerant({ bnd: ['ip'], bmac: bindingMac(['ip=203.0.113.7']) }, 'header:x-device=tv-7', 'query:d=42');
await bindingCase('tolerant-one-absent', 'only the binding without its value is skipped', mixed, 'binding-mismatch', {
  ...withDevice('tv-7'),
  querystring: { d: field('43') },
});
await bindingCase('tolerant-beside-required', 'a tolerant binding loosens no other', mixed, 'binding-mismatch', {
  ...withDevice('tv-7'),
  ip: '203.0.113.8',
});
await bindingCase('tolerant-all', 'required and tolerant bindings together', mixed, PATH, withDevice('tv-7'));
for (const [name, btol] of [
  ['tolerant-text', 'ip=x'],
  ['tolerant-empty', []],
  ['tolerant-number', [1]],
]) {
  await bindingCase(name, 'btol has its type', sign({ ...CLAIMS, btol }), 'token-claims-invalid');
}
await bindingCase(
  'tolerant-without-mac',
  'a tolerant binding needs its MAC',
  sign({ ...CLAIMS, btol: ['ip='] }),
  'token-claims-invalid',
);
const german = bindingMac(['country=DE']);
for (const [name, entry] of [
  ['padded', `country=${german}=`],
  ['unknown', `Country=${german}`],
  ['unknown-longer', `countryX=${german}`],
  ['name-only', 'country'],
  ['sign-only', '='],
]) {
  await bindingCase(
    `tolerant-${name}`,
    'a tolerant binding that cannot bind denies',
    sign({ ...CLAIMS, btol: [entry] }),
    'token-claims-invalid',
    {
      headers: { 'cloudfront-viewer-country': field('FR') },
    },
  );
}
await bindingCase(
  'unknown-longer',
  'a binding is known by its whole name',
  bound(['countryX'], ['countryX=DE']),
  'binding-missing',
  {
    headers: { 'cloudfront-viewer-country': field('DE') },
  },
);
await bindingCase(
  'tolerant-swapped',
  'a MAC is good for its binding alone',
  sign({ ...CLAIMS, btol: [`query:d=${bindingMac(['header:x-device=42'])}`] }),
  'binding-mismatch',
  {
    querystring: { d: field('42') },
  },
);

// The oracle of a single-key design: the viewer chooses a user-agent spelled like a token and has it signed.
const wanted = `${b64(JSON.stringify(HEADER))}.${b64(JSON.stringify({ ...CLAIMS, paths: ['/'] }))}`;
vector(
  'bindings',
  'signing-oracle',
  'a binding MAC is no signature',
  url(`${wanted}.${createHmac('sha256', BIND).update(wanted).digest('base64url')}`),
  'token-signature-invalid',
  withAgent(wanted),
);

// Revocation
vector('revocation', 'revoked', 'a revoked session is denied', url(good), 'session-revoked', { revoked: [SID] });
vector('revocation', 'other-revoked', 'another session is not', url(good), PATH, { revoked: ['ZzZzZz999999'] });
vector('revocation', 'prefix-revoked', 'a session whose id begins alike is not', url(good), PATH, {
  revoked: [`${SID}6`, SID.slice(0, 11)],
});
vector('revocation', 'expired-and-revoked', 'expiry is told before revocation', url(good), 'token-expired', {
  revoked: [SID],
  now: CLAIMS.exp,
});
vector('revocation', 'cutoff', 'sessions begun before the cut-off are denied', url(good), 'session-cutoff', {
  before: CLAIMS.sst + 1,
});
const fromCountry = (code) => ({ headers: { 'cloudfront-viewer-country': field(code) } });
const blockCase = (name, rule, block, expected, more = {}) =>
  vector('asset-blocks', name, rule, url(good), expected, { blocks: { aurora: [block] }, ...more });
blockCase('withdrawn', 'a withdrawn asset is denied everywhere', {}, 'asset-withdrawn');
vector('asset-blocks', 'other-asset', 'another asset is not', url(good), PATH, { blocks: { harbour: [{}] } });
blockCase('window-open', 'denied within the window', { from: NOW, until: NOW + 1 }, 'asset-withdrawn');
blockCase('window-to-come', 'allowed before the window', { from: NOW + 1 }, PATH);
blockCase('window-over', 'allowed from the end of the window on', { from: NOW - 60, until: NOW }, PATH);
blockCase(
  'country',
  'denied in the country of the blackout',
  { countries: ['GB', 'DE'] },
  'asset-withdrawn',
  fromCountry('DE'),
);
blockCase('other-country', 'allowed in other countries', { countries: ['GB'] }, PATH, fromCountry('DE'));
blockCase('no-country', 'a viewer of no known country is in all of them', { countries: ['GB'] }, 'asset-withdrawn');
blockCase(
  'country-later',
  'window and country both have to match',
  { countries: ['DE'], from: NOW + 1 },
  PATH,
  fromCountry('DE'),
);
vector('asset-blocks', 'second-block', 'every block counts', url(good), 'asset-withdrawn', {
  blocks: { aurora: [{ until: NOW }, { from: NOW }] },
});
vector('asset-blocks', 'revoked-and-withdrawn', 'revocation is told before the block', url(good), 'session-revoked', {
  revoked: [SID],
  blocks: { aurora: [{}] },
});
vector('revocation', 'at-cutoff', 'sessions begun at the cut-off are not', url(good), PATH, { before: CLAIMS.sst });

const folder = new URL('../token/vectors/', import.meta.url);
mkdirSync(folder, { recursive: true });
const keys = {
  k1: { secret: SECRET.toString('base64url'), sign: SIGN.toString('base64url'), bind: BIND.toString('base64url') },
};
for (const [group, vectors] of Object.entries(groups)) {
  writeFileSync(new URL(`${group}.json`, folder), `${JSON.stringify({ keys, vectors }, null, 2)}\n`);
}
process.stdout.write(`${Object.values(groups).flat().length} vectors\n`);
