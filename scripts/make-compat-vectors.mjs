// Makes token/compat/vectors/*.json: attacks on tokens of the AWS solution v1, with the answer that the function must give,
// one failure each. The tokens are made with node:crypto alone.
import { createHmac, hkdfSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';

const NOW = 1_760_000_000;
const KID = '20251009_00112233445566778899';
const SID = 'AbCdEf012345';
// Not secrets: digits that count up, and the bytes 0 to 31.
const SECRET = Array.from({ length: 64 }, (_, i) => i.toString(16).padStart(2, '0')).join('');
const RING_SECRET = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
const derive = (label) => Buffer.from(hkdfSync('sha256', RING_SECRET, '', label, 32));
const SIGN = derive('portcullis/v1/signing');
const b64 = (data) => Buffer.from(data).toString('base64url');
const mac = (key, text) => createHmac('sha256', key).update(text).digest('base64url');

const HEADER = { alg: 'HS256', typ: 'JWT', kid: KID };
const CLAIMS = {
  ...{ ip: false, co: false, cty: false, reg: false, ssn: false, exp: NOW + 3600, headers: [], qs: [] },
  ...{ paths: ['/out/'], exc: [], iat: NOW },
};
const PATH = '/out/v1/segment-001.m4s';

/** Signs texts as they are: header and payload may be anything. */
function signRaw(header, payload, key = SECRET) {
  const signed = `${b64(header)}.${b64(payload)}`;
  return `${signed}.${mac(key, signed)}`;
}
const sign = (claims, header = HEADER) => signRaw(JSON.stringify(header), JSON.stringify({ ...CLAIMS, ...claims }));
const bound = (claims, values, key = SECRET) => sign({ ...claims, intsig: mac(key, values.join(':')) });
const url = (token, path = PATH, sid = '') => `/${sid && `${sid}.`}${token}${path}`;
const field = (value) => ({ value });
const fields = (values) => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, field(value)]));

const groups = {};
function vector(group, name, rule, uri, expected, more = {}) {
  const { now = NOW, ip = '203.0.113.7', headers = {}, querystring = {} } = more;
  groups[group] ??= [];
  if (groups[group].some((other) => other.name === name)) throw new Error(`${name} is there twice`);
  const request = { method: 'GET', uri, querystring, headers, cookies: {} };
  if (headers === null) delete request.headers;
  if (querystring === null) delete request.querystring;
  groups[group].push({
    name,
    rule,
    now,
    event: {
      version: '1.0',
      context: {
        distributionDomainName: 'd.example',
        distributionId: 'E1',
        eventType: 'viewer-request',
        requestId: 'r',
      },
      viewer: { ip },
      request,
    },
    expected: expected.startsWith('/') ? { uri: expected } : { reason: expected },
  });
}

const good = sign({});
const [goodHeader, goodPayload, goodSignature] = good.split('.');

// Shape
vector('shape', 'valid', 'a good token opens its path', url(good), PATH);
vector('shape', 'no-path', 'a token must be followed by a path', `/${good}`, 'token-missing');
vector('shape', 'relative-uri', 'a URI begins with a slash', `${good}${PATH}`, 'token-malformed');
vector('shape', 'empty-session', 'a session id is not empty', `/.${good}${PATH}`, 'token-malformed');
vector('shape', 'unsigned-session', 'a session id is signed', url(good, PATH, SID), 'token-session-mismatch');
vector('shape', 'five-parts', 'a session id holds no dot', url(good, PATH, 'a.b'), 'token-malformed');
vector('shape', 'no-signature', 'a signature is required', `/${goodHeader}.${goodPayload}.${PATH}`, 'token-malformed');
vector('shape', 'no-payload', 'a payload is required', `/${goodHeader}..${goodSignature}${PATH}`, 'token-malformed');
vector('shape', 'non-ascii', 'a token is ASCII', url(`${goodHeader}.\u00e9.${goodSignature}`), 'token-malformed');
vector('shape', 'escape', 'nothing is unescaped', url(good.replace('e', '%65')), 'token-malformed');
vector('shape', 'longest', 'a long token passes', url(sign({ pad: 'x'.repeat(2700) })), PATH);
vector('shape', 'too-long', 'the size is capped', url(sign({ pad: 'x'.repeat(2900) })), 'token-malformed');
vector('shape', 'two-tokens', 'one token, and the rest is path', url(good, `/${good}${PATH}`), 'path-not-allowed');
for (const [name, path] of [
  ['dot-dot', '/out/../secret/x'],
  ['escaped-dots', '/out/%2e%2e/secret/x'],
  ['double-slash', '/out//x'],
  ['escaped-slash', '/out/..%2fsecret'],
  ['backslash', '/out/..\\secret'],
  ['nul', '/out/x%00.m3u8'],
  ['line-feed', '/out/x\ny'],
  ['non-ascii-path', '/out/\u00e9'],
]) {
  vector('shape', `unsafe-${name}`, 'unsafe paths are refused, not repaired', url(good, path), 'path-unsafe');
}

// Header
const headerCase = (name, rule, header, expected) =>
  vector(
    'header',
    name,
    rule,
    url(signRaw(typeof header === 'string' ? header : JSON.stringify(header), JSON.stringify(CLAIMS))),
    expected,
  );
headerCase('any-order', 'members come in any order', { kid: KID, typ: 'JWT', alg: 'HS256' }, PATH);
headerCase('whitespace', 'white space is JSON', JSON.stringify(HEADER, null, 2), PATH);
headerCase('no-typ', 'typ may be absent', { alg: 'HS256', kid: KID }, PATH);
headerCase('other-typ', 'a token of another kind is none', { ...HEADER, typ: 'at+jwt' }, 'token-malformed');
headerCase('typ-null', 'typ is text', { ...HEADER, typ: null }, 'token-malformed');
headerCase('our-typ', 'our tokens are not of this dialect', { ...HEADER, typ: 'portcullis+jwt' }, 'token-malformed');
for (const alg of ['none', 'hs256', 'HS512', 'RS256', '', null, ['HS256']]) {
  headerCase(`alg-${JSON.stringify(alg)}`, 'the algorithm is pinned', { ...HEADER, alg }, 'token-malformed');
}
for (const kid of [null, 1, '', '../k', 'k'.repeat(65), [KID]]) {
  headerCase(`kid-${JSON.stringify(kid).slice(0, 12)}`, 'a key id is text', { ...HEADER, kid }, 'token-malformed');
}
for (const kid of ['other', '__proto__', 'constructor', 'hasOwnProperty', 'toString', 'compat', 'sign']) {
  headerCase(`kid-unknown-${kid}`, 'an unknown key denies', { ...HEADER, kid }, 'token-key-unknown');
}
for (const name of ['crit', 'b64', 'jku', 'jwk', 'x5u', 'cty']) {
  headerCase(name, 'nothing but alg, typ and kid', { ...HEADER, [name]: ['x'] }, 'token-malformed');
}
for (const header of ['null', '[]', '"x"', '1', '{', '{}', `${'['.repeat(40)}${']'.repeat(40)}`]) {
  headerCase(`json-${header.slice(0, 6)}`, 'a header is an object', header, 'token-malformed');
}
headerCase(
  'leading-zero',
  'a header has no room for what engines parse differently',
  '{"alg":"HS256","kid":"x","n":01}',
  'token-malformed',
);

// Signature
const flipped = (text, i) => text.slice(0, i) + (text[i] === 'A' ? 'B' : 'A') + text.slice(i + 1);
const signatureCase = (name, rule, signature, expected = 'token-signature-invalid') =>
  vector('signature', name, rule, url(`${goodHeader}.${goodPayload}.${signature}`), expected);
for (const i of [0, 21, 42]) signatureCase(`character-${i}`, 'every character counts', flipped(goodSignature, i));
signatureCase('padded', 'base64url has no padding', `${goodSignature}=`, 'token-malformed');
signatureCase('truncated', 'the whole signature counts', goodSignature.slice(1), 'token-malformed');
{
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const spelled = goodSignature.slice(0, 42) + alphabet[alphabet.indexOf(goodSignature[42]) + 1];
  signatureCase('spare-bits', 'trailing bits are canonical', spelled);
}
const signedWith = (name, rule, key) =>
  vector(
    'signature',
    name,
    rule,
    url(signRaw(JSON.stringify(HEADER), JSON.stringify(CLAIMS), key)),
    'token-signature-invalid',
  );
signedWith('empty-key', 'an empty key signs nothing', '');
signedWith('hex-bytes', 'the key is text, not the bytes of its digits', Buffer.from(SECRET, 'hex'));
signedWith('upper-case-key', 'the key is text', SECRET.toUpperCase());
signedWith('half-key', 'the whole text is the key', SECRET.slice(0, 64));
signedWith('our-signing-key', 'no key of ours signs these tokens', SIGN);
signedWith('ring-secret', 'no key of ours signs these tokens', RING_SECRET.toString('base64url'));

// Claims
const payloadCase = (name, rule, payload, expected = 'token-claims-invalid') =>
  vector('claims', name, rule, url(signRaw(JSON.stringify(HEADER), payload)), expected);
const text = JSON.stringify(CLAIMS);
for (const payload of ['null', '[]', '{}', '"x"', '1', 'true', '{', 'x', '[null]', `${text}x`, `\ufeff${text}`]) {
  payloadCase(`payload-${payload.slice(0, 5)}${payload.length}`, 'a payload is a JSON object', payload);
}
for (const name of ['exp', 'paths', 'exc']) {
  const { [name]: _, ...rest } = CLAIMS;
  payloadCase(`${name}-missing`, `${name} is required`, JSON.stringify(rest));
}
for (const [name, value] of [
  ['exp', null],
  ['exp', `${NOW + 60}`],
  ['exp', true],
  ['exp', []],
  ['exp', {}],
  ['nbf', 'soon'],
  ['nbf', null],
  ['nbf', [0]],
  ['paths', '/out/'],
  ['paths', null],
  ['paths', {}],
  ['paths', [1]],
  ['paths', [['/out/']]],
  ['paths', ['']],
  ['paths', ['/out/', '']],
  ['exc', '/ads/'],
  ['exc', { length: 1, 0: '/' }],
  ['exc', [null]],
  ['exc', ['']],
  ['headers', 'user-agent'],
  ['headers', { length: 0 }],
  ['headers', [null]],
  ['headers', ['']],
  ['qs', true],
  ['qs', [7]],
  ['intsig', 5],
  ['intsig', null],
  ['intsig', ['x']],
  ['intsig', { toString: 1 }],
  ['ip', 'yes'],
  ['ip', 0],
  ['co', 1],
  ['cty', 'true'],
  ['reg', null],
  ['ssn', {}],
  ['co_fallback', 1],
  ['reg_fallback', 'false'],
]) {
  payloadCase(
    `${name}-is-${JSON.stringify(value)}`,
    `${name} has its type`,
    JSON.stringify({ ...CLAIMS, [name]: value }),
  );
}
payloadCase('exp-infinite', 'exp is finite', text.replace(`${NOW + 3600}`, '1e999'));
payloadCase('unknown-claim', 'unknown claims are left alone', JSON.stringify({ ...CLAIMS, sub: { a: ['b'] } }), PATH);
payloadCase('whitespace', 'white space is JSON', JSON.stringify(CLAIMS, null, 2), PATH);
payloadCase('exp-fraction', 'exp may have a fraction', text.replace(`${NOW + 3600}`, `${NOW + 3600}.25`), PATH);
payloadCase('exp-exponent', 'exp is any number of JSON', text.replace(`${NOW + 3600}`, '1.9e9'), PATH);

// What one engine parses and another does not
const member = (json) => text.replace('"iat"', `"x":${json},"iat"`);
payloadCase('nested-12', 'some nesting is left alone', member(`${'['.repeat(11)}${']'.repeat(11)}`), PATH);
for (const depth of [13, 30, 31, 32, 33, 60, 500]) {
  payloadCase(`nested-${depth}`, 'deep nesting is refused', member(`${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}`));
}
payloadCase('nested-objects', 'deep nesting is refused', member(`${'{"a":'.repeat(40)}1${'}'.repeat(40)}`));
payloadCase('brackets-in-text', 'brackets count wherever they stand', member(JSON.stringify('[{'.repeat(40))));
payloadCase('few-in-text', 'some brackets are left alone', member(JSON.stringify('"[{"[{\\')), PATH);
for (const number of ['01', '-01', '00', '.5', '-.5', '1.', '1.e5', '1.e', '+1', '0x10', 'NaN', 'Infinity']) {
  payloadCase(`number-${number}`, 'a number is one of JSON', member(number));
}
for (const number of ['0', '-0', '0.5', '10', '-10.05', '1e5', '1E+5', '1.0e-5']) {
  payloadCase(`number-${number}-passes`, 'a number is one of JSON', member(number), PATH);
}
payloadCase('text-of-numbers', 'numbers in text are text', member(JSON.stringify(':01 .5, 1. [')), PATH);
payloadCase('non-ascii', 'a payload is ASCII', member('"\u00e9"'));
payloadCase('non-ascii-escaped', 'escapes are ASCII', member('"\\u00e9\\ud800"'), PATH);
payloadCase('not-utf8', 'a payload is ASCII', Buffer.concat([Buffer.from(member('"')), Buffer.from([0xff, 0xc0])]));
payloadCase('nul', 'a payload is printable', member('"\u0000"'));
payloadCase(
  'prototype',
  'no claim is inherited',
  text.replace(/^\{.*"paths"/, '{"__proto__":{"exp":1900000000},"paths"'),
);

// Time
const timeCase = (name, rule, claims, expected, now) =>
  vector('time', name, rule, url(sign(claims)), expected, { now });
timeCase('at-expiry', 'good up to and including exp', {}, PATH, NOW + 3600);
timeCase('behind-expiry', 'denied behind exp', {}, 'token-expired', NOW + 3601);
timeCase('expiry-zero', 'nothing lives for ever', { exp: 0 }, 'token-expired', NOW);
timeCase('expiry-negative', 'nothing lives for ever', { exp: -1 }, 'token-expired', NOW);
timeCase('before-start', 'denied before nbf', { nbf: NOW + 1 }, 'token-not-yet-valid', NOW);
timeCase('at-start', 'good from nbf on', { nbf: NOW }, PATH, NOW);
timeCase('expired-excluded', 'what is excluded expires', { exc: ['/out/'] }, 'token-expired', NOW + 3601);

// Paths
const pathCase = (name, rule, claims, path, expected) => vector('paths', name, rule, url(sign(claims), path), expected);
pathCase('outside', 'a token opens its own paths', {}, '/other/x', 'path-not-allowed');
pathCase('no-paths', 'nothing is open unless it is named', { paths: [] }, PATH, 'path-not-allowed');
pathCase('boundary', 'a path ends on a segment boundary', { paths: ['/ch1'] }, '/ch10/x', 'path-not-allowed');
pathCase('boundary-dot', 'a path ends on a segment boundary', { paths: ['/a'] }, '/a.m3u8', 'path-not-allowed');
pathCase('below', 'a path opens what is below it', { paths: ['/ch1'] }, '/ch1/x', '/ch1/x');
pathCase('file', 'a path opens itself', { paths: ['/a/one.m3u8'] }, '/a/one.m3u8', '/a/one.m3u8');
pathCase('root', 'the root opens everything', { paths: ['/'] }, '/any', '/any');
pathCase('relative', 'a path without a slash opens nothing', { paths: ['out/'] }, PATH, 'path-not-allowed');
pathCase('case', 'paths are compared as they are', {}, '/Out/x', 'path-not-allowed');
pathCase('excluded', 'what is excluded is open', { exc: ['/ads/'] }, '/ads/x', '/ads/x');
pathCase('excluded-boundary', 'exclusions have boundaries', { exc: ['/ads'] }, '/ads-free/x', 'path-not-allowed');
pathCase('excluded-root', 'the root is no exclusion', { exc: ['/'] }, '/any', 'path-not-allowed');
{
  const token = bound({ ip: true, ip_ver: 4, ssn: true, exc: ['/ads/'] }, ['203.0.113.7', SID]);
  vector('paths', 'excluded-bound', 'what is excluded is not bound', url(token, '/ads/x'), '/ads/x', { ip: '1.1.1.1' });
  const root = bound({ ip: true, ip_ver: 4, exc: ['/'] }, ['203.0.113.7']);
  vector('paths', 'root-bound', 'excluding the root lifts no binding', url(root), 'binding-mismatch', {
    ip: '1.1.1.1',
  });
}

// Bindings
const bindingCase = (name, rule, token, expected, more = {}, sid = '') =>
  vector('bindings', name, rule, url(token, PATH, sid), expected, more);
const v4 = bound({ ip: true, ip_ver: 4 }, ['203.0.113.7']);
bindingCase('ip4', 'the bound address passes', v4, PATH);
bindingCase('ip4-other', 'another address is denied', v4, 'binding-mismatch', { ip: '203.0.113.8' });
bindingCase('ip4-mapped', 'one spelling per address', v4, PATH, { ip: '::ffff:203.0.113.7' });
bindingCase('ip4-mapped-hex', 'one spelling per address', v4, PATH, { ip: '::FFFF:cb00:7107' });
bindingCase('ip4-six', 'an address of the other kind is none', v4, 'binding-missing', { ip: '2001:db8::1' });
bindingCase('ip4-none', 'no address is none', v4, 'binding-missing', { ip: '' });
for (const version of [undefined, '4', 6, 0, null, true, [4]]) {
  const token = bound({ ip: true, ip_ver: version }, ['203.0.113.7']);
  bindingCase(`ip-version-${JSON.stringify(version)}`, 'ip_ver is 4 or 6, and right', token, 'binding-missing');
}
const v6 = bound({ ip: true, ip_ver: 6 }, ['2001:0db8:0000:0000:0000:0000:0000:00ab']);
for (const ip of ['2001:db8::ab', '2001:DB8::AB', '2001:db8:0:0:0:0:0:ab', '2001:0db8::00ab']) {
  bindingCase(`ip6-${ip}`, 'one spelling per address', v6, PATH, { ip });
}
bindingCase('ip6-other', 'another address is denied', v6, 'binding-mismatch', { ip: '2001:db8::ac' });
bindingCase('ip6-zone', 'a zone is no part of an address', v6, 'binding-missing', { ip: '2001:db8::ab%1' });
const capitals = bound({ ip: true, ip_ver: 6 }, ['2001:0DB8:0000:0000:0000:0000:0000:00AB']);
bindingCase('ip6-capitals', 'an address may have been signed in capitals', capitals, PATH, { ip: '2001:db8::ab' });
const place = { 'cloudfront-viewer-country': 'FR', 'cloudfront-viewer-country-region': 'IDF' };
const country = bound({ co: true }, ['FR']);
const at = (more) => ({ headers: fields({ ...place, ...more }) });
bindingCase('country', 'the bound country passes', country, PATH, at({}));
bindingCase(
  'country-other',
  'another country is denied',
  country,
  'binding-mismatch',
  at({ 'cloudfront-viewer-country': 'DE' }),
);
bindingCase('country-absent', 'absent is a denial', country, 'binding-missing');
bindingCase('country-no-headers', 'a request without headers has no country', country, 'binding-missing', {
  headers: null,
});
bindingCase('country-twice', 'what is there twice is absent', country, 'binding-missing', {
  headers: { 'cloudfront-viewer-country': { value: 'FR', multiValue: [field('FR'), field('DE')] } },
});
const city = bound({ cty: true }, ['Paris']);
bindingCase('city', 'the city is checked', city, PATH, at({ 'cloudfront-viewer-city': 'Paris' }));
bindingCase('city-other', 'the city is checked', city, 'binding-mismatch', at({ 'cloudfront-viewer-city': 'Lyon' }));
bindingCase('city-absent', 'the city is checked', city, 'binding-missing', at({}));
const session = bound({ ssn: true }, [SID]);
bindingCase('session', 'the bound session passes', session, PATH, {}, SID);
bindingCase('session-absent', 'a bound session is required', session, 'binding-missing');
bindingCase('session-other', 'another session is denied', session, 'binding-mismatch', {}, 'ZzZzZz999999');
bindingCase('session-longer', 'every character counts', session, 'binding-mismatch', {}, `${SID}x`);
bindingCase(
  'session-hyphen',
  'a session id is what prints',
  bound({ ssn: true }, ['user-42_A~@']),
  PATH,
  {},
  'user-42_A~@',
);
for (const sid of ['user:1', 'user 1', 'us\u00e9r', 'user\u0001']) {
  bindingCase(
    `session-${JSON.stringify(sid)}`,
    'a session id is what prints',
    bound({ ssn: true }, [sid]),
    'token-malformed',
    {},
    sid,
  );
}
const agent = 'Player/1.0 (rv:91.0)';
const referer = 'https://page.example/';
const two = bound({ headers: ['user-agent', 'referer'] }, [agent, referer]);
bindingCase('headers', 'bound headers pass', two, PATH, { headers: fields({ 'user-agent': agent, referer }) });
bindingCase('headers-swapped', 'the order counts', two, 'binding-mismatch', {
  headers: fields({ 'user-agent': referer, referer: agent }),
});
bindingCase('header-absent', 'absent is a denial', two, 'binding-missing', {
  headers: fields({ 'user-agent': agent }),
});
bindingCase('header-joined', 'one value cannot hold two', two, 'binding-missing', {
  headers: fields({ 'user-agent': `${agent}:${referer}` }),
});
bindingCase('header-empty', 'empty is absent', two, 'binding-missing', {
  headers: fields({ 'user-agent': agent, referer: '' }),
});
bindingCase('headers-none', 'a request without headers has none', two, 'binding-missing', { headers: null });
const alone = bound({ headers: ['user-agent', 'referer'] }, [agent]);
bindingCase('header-absent-at-minting', 'absent is a denial, also when it was at minting', alone, 'binding-missing', {
  headers: fields({ 'user-agent': agent }),
});
const capital = bound({ headers: ['User-Agent'] }, [agent]);
bindingCase('header-case', 'header names have no case', capital, PATH, { headers: fields({ 'user-agent': agent }) });
bindingCase('header-case-other', 'header names have no case', capital, 'binding-mismatch', {
  headers: fields({ 'user-agent': 'curl/8' }),
});
bindingCase('header-non-ascii', 'text is UTF-8', bound({ headers: ['x-a'] }, ['\u00e9\u20ac']), PATH, {
  headers: fields({ 'x-a': '\u00e9\u20ac' }),
});
for (const name of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
  bindingCase(`header-${name}`, 'nothing is inherited', bound({ headers: [name] }, ['x']), 'binding-missing');
  bindingCase(`query-${name}`, 'nothing is inherited', bound({ qs: [name] }, ['x']), 'binding-missing');
}
const identity = bound({ headers: ['user-agent', 'x-user'] }, ['Player:7', '42']);
bindingCase('identity', 'a bound identity passes', identity, PATH, {
  headers: fields({ 'user-agent': 'Player:7', 'x-user': '42' }),
});
bindingCase('identity-moved', 'a value cannot take over part of another', identity, 'binding-missing', {
  headers: fields({ 'user-agent': 'Player', 'x-user': '7:42' }),
});
bindingCase('header-colon', 'a lone value may hold a colon', bound({ headers: ['x-a'] }, ['1:2']), PATH, {
  headers: fields({ 'x-a': '1:2' }),
});
const query = bound({ qs: ['uid'] }, ['42']);
const asked = (values) => ({ querystring: fields(values) });
bindingCase('query', 'the bound parameter passes', query, PATH, asked({ uid: '42', other: '1' }));
bindingCase('query-other', 'another value is denied', query, 'binding-mismatch', asked({ uid: '43' }));
bindingCase('query-absent', 'absent is a denial', query, 'binding-missing');
bindingCase('query-none', 'a request without parameters has none', query, 'binding-missing', { querystring: null });
bindingCase('query-case', 'parameter names have their case', query, 'binding-missing', asked({ UID: '42' }));
bindingCase('query-twice', 'what is there twice is absent', query, 'binding-missing', {
  querystring: { uid: { value: '42', multiValue: [field('43'), field('42')] } },
});
const title = bound({ qs: ['title'] }, ['a b/\u00e9']);
bindingCase('query-escaped', 'a value may have been signed decoded', title, PATH, asked({ title: 'a%20b%2F%C3%A9' }));
bindingCase('query-plus', 'a value may have been signed decoded', title, PATH, asked({ title: 'a+b/%c3%a9' }));
bindingCase(
  'query-raw',
  'a value may have been signed as sent',
  bound({ qs: ['t'] }, ['a%20b']),
  PATH,
  asked({ t: 'a%20b' }),
);
for (const value of ['%', '%zz', '%c3', '%ff%fe', '%u0041']) {
  bindingCase(`query-bad-${value}`, 'a bad escape stays as it is', query, 'binding-mismatch', asked({ uid: value }));
}
bindingCase(
  'query-bad-signed',
  'a bad escape stays as it is',
  bound({ qs: ['t'] }, ['100%']),
  PATH,
  asked({ t: '100%' }),
);
const pair = bound({ qs: ['a', 'b'] }, ['1:2', '3']);
bindingCase(
  'query-moved',
  'a value cannot take over part of another',
  pair,
  'binding-missing',
  asked({ a: '1', b: '2:3' }),
);
bindingCase(
  'query-moved-escaped',
  'a value cannot take over part of another',
  pair,
  'binding-missing',
  asked({ a: '1', b: '2%3A3' }),
);
bindingCase(
  'query-colon',
  'a lone value may hold a colon',
  bound({ qs: ['t'] }, ['12:30']),
  PATH,
  asked({ t: '12%3A30' }),
);
bindingCase('flags-without-mac', 'bindings need their MAC', sign({ co: true }), 'token-claims-invalid', at({}));
bindingCase(
  'headers-without-mac',
  'bindings need their MAC',
  sign({ headers: ['user-agent'] }),
  'token-claims-invalid',
  {
    headers: fields({ 'user-agent': agent }),
  },
);
bindingCase('mac-without-bindings', 'a MAC over nothing is none', sign({ intsig: 'x' }), PATH);
bindingCase('mac-empty', 'bindings need their MAC', sign({ co: true, intsig: '' }), 'token-claims-invalid', at({}));
bindingCase('mac-over-nothing', 'a MAC over nothing is none', bound({ qs: ['uid'] }, ['']), 'binding-missing');
bindingCase(
  'mac-by-another-key',
  'bindings have the key of the token',
  bound({ co: true }, ['FR'], 'other'),
  'binding-mismatch',
  at({}),
);

// Fallbacks
const fallbackCase = (name, rule, claims, values, expected, more, sid = '') =>
  vector('fallbacks', name, rule, url(bound(claims, values), PATH, sid), expected, more);
const lenient = { co: true, co_fallback: true };
fallbackCase('known', 'a known country is checked', lenient, ['FR'], PATH, at({}));
fallbackCase('known-other', 'a known country is checked', lenient, ['DE'], 'binding-mismatch', at({}));
fallbackCase('unknown', 'an unknown country passes', lenient, ['FR'], PATH);
fallbackCase('not-asked', 'a fallback is asked for', { ...lenient, co_fallback: false }, ['FR'], 'binding-missing');
fallbackCase(
  'of-region',
  'a fallback is that of its binding',
  { co: true, reg_fallback: true },
  ['FR'],
  'binding-missing',
);
vector('fallbacks', 'without-mac', 'bindings need their MAC', url(sign(lenient)), 'token-claims-invalid');
fallbackCase(
  'address',
  'a fallback lifts no address',
  { ip: true, ip_ver: 4, ...lenient },
  ['203.0.113.7', 'FR'],
  'binding-missing',
);
fallbackCase(
  'header-there',
  'the other values are there',
  { ...lenient, headers: ['user-agent'] },
  ['FR', agent],
  PATH,
  {
    headers: fields({ 'user-agent': 'any' }),
  },
);
fallbackCase(
  'header-absent',
  'the other values are there',
  { ...lenient, headers: ['user-agent'] },
  ['FR', agent],
  'binding-missing',
);
fallbackCase('session-there', 'the other values are there', { ...lenient, ssn: true }, ['FR', SID], PATH, {}, SID);
fallbackCase('session-absent', 'the other values are there', { ...lenient, ssn: true }, ['FR', SID], 'binding-missing');
fallbackCase('region-too', 'who has no country has no region', { ...lenient, reg: true }, ['FR', 'IDF'], PATH);
fallbackCase(
  'region-only',
  'the country is required before the region is',
  { co: true, reg: true, reg_fallback: true },
  ['FR', 'IDF'],
  'binding-missing',
);
fallbackCase(
  'region-unknown',
  'an unknown region passes',
  { co: true, reg: true, reg_fallback: true },
  ['FR', 'IDF'],
  PATH,
  { headers: fields({ 'cloudfront-viewer-country': 'FR' }) },
);

const folder = new URL('../token/compat/vectors/', import.meta.url);
mkdirSync(folder, { recursive: true });
for (const [group, vectors] of Object.entries(groups)) {
  const content = { secrets: { [KID]: SECRET }, vectors };
  writeFileSync(new URL(`${group}.json`, folder), `${JSON.stringify(content, null, 1)}\n`);
}
