import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bindingInput, DEVICES } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import {
  HEADER,
  mintToken,
  outcomes,
  PATH,
  signRaw,
  tokenUri,
  VARIANTS,
  type Variant,
  viewerRequest,
} from '../harness/edge.ts';
import { ENGINE_DIFFERENCES, expectNothingWrong } from '../harness/engine-differences.ts';
import { NOW, TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from '../harness/minting.ts';
import { describeWith, LONG } from '../harness/programs.ts';

/** What is asked of the function, and what both engines must answer: a denial, one outcome, or anything as long as it is the same. */
interface Case {
  name: string;
  event: unknown;
  expected?: string;
}

const SAME = 'the same';

const genuine = mintToken().slice(TEST_CLAIMS.sid.length + 1);
const [header = '', payload = '', signature = ''] = genuine.split('.');
const show = (value: unknown) => (JSON.stringify(value) ?? 'undefined').slice(0, 120);

/** Values that stand where something else should. */
const ODD: unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  1e308,
  '',
  'x',
  '0',
  [],
  [null],
  [[]],
  ['x'],
  {},
  { value: 'x' },
  { length: 3 },
];
const NAMES = [
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  'valueOf',
  '__defineGetter__',
  'length',
];

/** A token whose claims are the usual ones with some replaced; undefined removes one. */
function signed(claims: Record<string, unknown>, head: unknown = HEADER): string {
  return tokenUri(signRaw(JSON.stringify(head), JSON.stringify({ ...TEST_CLAIMS, ...claims })));
}

/** A token bound to `bindings` as `TEST_VIEWING` has them. */
function bound(bindings: string[]): string {
  const bmac = nodeCrypto.hmac(TEST_KEY.bind)(bindingInput(TEST_CLAIMS.sid, bindings, TEST_VIEWING));
  return signed({ bnd: bindings, bmac });
}

const without = <Thing extends object>(thing: Thing, name: keyof Thing) =>
  Object.fromEntries(Object.entries(thing).filter(([key]) => key !== name));

/** Requests whose surroundings are not those of a request, with a token bound to everything there is. */
const BINDINGS = ['ip', 'network', 'country', 'user-agent', 'method', 'header:x-device', 'query:d'];
const boundRequest = { ...viewerRequest(bound(BINDINGS)).request, querystring: TEST_VIEWING.request.querystring };

function requests(): Case[] {
  const event = { ...viewerRequest('/'), request: boundRequest };
  const replaced = (name: keyof typeof boundRequest, value: unknown): Case => ({
    name: `${name} is ${show(value)}`,
    event: { ...event, request: { ...boundRequest, [name]: value } },
  });
  const cases: Case[] = [
    { name: 'nothing wrong', event, expected: `allowed ${PATH}` },
    ...(['method', 'headers', 'querystring', 'uri'] as const).flatMap((name) => [
      { name: `no ${name}`, event: { ...event, request: without(boundRequest, name) } },
      ...ODD.map((value) => replaced(name, value)),
    ]),
    { name: 'no cookies', event: { ...event, request: without(boundRequest, 'cookies') }, expected: `allowed ${PATH}` },
    { name: 'no request', event: without(event, 'request') },
    { name: 'no viewer', event: without(event, 'viewer') },
    { name: 'no context', event: without(event, 'context'), expected: `allowed ${PATH}` },
    ...ODD.map((viewer) => ({ name: `viewer is ${show(viewer)}`, event: { ...event, viewer } })),
    ...[
      ...ODD,
      '203.0.113.7, 203.0.113.8',
      '203.0.113.07',
      '::ffff:203.0.113.8',
      ':'.repeat(50),
      '1'.repeat(8000),
      'é',
    ].map((ip) => ({
      name: `address is ${show(ip)}`,
      event: { ...event, viewer: { ip } },
    })),
  ];
  const fields = [
    ...ODD,
    ...ODD.map((value) => ({ value })),
    { value: 'tv-7', multiValue: [{ value: 'tv-7' }, { value: 'tv-7' }] },
    { value: '42', multiValue: [{ value: '42' }, { value: '43' }] },
    { multiValue: [{ value: 'tv-7' }] },
    { value: 'tv-7\nip=203.0.113.7' },
    { value: 'tv-7\u0000' },
    { value: 'tv-7 ' },
    { value: 'x'.repeat(8000) },
    { value: 'тв-7' },
  ];
  for (const field of fields) {
    const headers = { ...boundRequest.headers, 'x-device': field };
    cases.push({ name: `header is ${show(field)}`, event: { ...event, request: { ...boundRequest, headers } } });
    cases.push({
      name: `parameter is ${show(field)}`,
      event: { ...event, request: { ...boundRequest, querystring: { d: field } } },
    });
    const country = { ...boundRequest.headers, 'cloudfront-viewer-country': field };
    cases.push({
      name: `country is ${show(field)}`,
      event: { ...event, request: { ...boundRequest, headers: country } },
    });
  }
  return cases;
}

/** Bindings that no request meets: what a name inherits is no binding, no header and no parameter. */
function bindings(): Case[] {
  const names = [
    ...NAMES,
    ...NAMES.flatMap((name) => [`header:${name}`, `query:${name}`]),
    '',
    ':',
    'ip:',
    'ip:x',
    'header',
    'header:',
    'query:',
    'nope',
    'é',
  ];
  return names.flatMap((name) =>
    [name, [name]].map((bnd) => ({
      name: `bound to ${show(bnd)}`,
      event: viewerRequest(signed({ bnd, bmac: nodeCrypto.hmac(TEST_KEY.bind)(`sid=${TEST_CLAIMS.sid}\n${name}=\n`) })),
    })),
  );
}

function uris(): Case[] {
  const long = (length: number) => `${'a'.repeat(length)}`;
  const list = [
    '',
    '/',
    '//',
    '.',
    '...',
    '/...',
    '/.../',
    '/..../x',
    '/a.b.c.d',
    '/a.b.c.d/',
    '/a.b.c.d/x',
    `/${TEST_CLAIMS.sid}`,
    `/${TEST_CLAIMS.sid}./x`,
    `/${TEST_CLAIMS.sid}.${header}`,
    `/${TEST_CLAIMS.sid}.${header}.${payload}`,
    `/${TEST_CLAIMS.sid}.${header}.${payload}.`,
    `/${TEST_CLAIMS.sid}.${header}.${payload}.${signature}`,
    `/${TEST_CLAIMS.sid}.${header}.${payload}.${signature}?/x`,
    `/${TEST_CLAIMS.sid}.${header}.${payload}.${signature}\\x`,
    `${TEST_CLAIMS.sid}.${genuine}${PATH}`,
    `//${TEST_CLAIMS.sid}.${genuine}${PATH}`,
    `/x/${TEST_CLAIMS.sid}.${genuine}${PATH}`,
    `http://d.example/${TEST_CLAIMS.sid}.${genuine}${PATH}`,
    `/${genuine}${PATH}`,
    `/.${genuine}${PATH}`,
    `/${TEST_CLAIMS.sid}.${genuine}.${PATH}`,
    `/${TEST_CLAIMS.sid}.${TEST_CLAIMS.sid}.${genuine}${PATH}`,
    `/${TEST_CLAIMS.sid}.${genuine}/${TEST_CLAIMS.sid}.${genuine}${PATH}`,
    `/${TEST_CLAIMS.sid}.${genuine}.${genuine}${PATH}`,
    `/${TEST_CLAIMS.sid} .${genuine}${PATH}`,
    `/${encodeURIComponent(`${TEST_CLAIMS.sid}.${genuine}`).replaceAll('.', '%2E')}${PATH}`,
    `/${TEST_CLAIMS.sid.toLowerCase()}.${genuine}${PATH}`,
    `/${long(8190)}`,
    `/${long(12)}.${long(8100)}/x`,
    `/${'.'.repeat(8190)}`,
    `/${'/'.repeat(8190)}`,
    `/${'%2e'.repeat(2700)}`,
    `/${TEST_CLAIMS.sid}.${header}.${long(8000)}.${signature}${PATH}`,
    `/${TEST_CLAIMS.sid}.${header}.${payload}.${long(8000)}${PATH}`,
    `/${long(8000)}.${genuine}${PATH}`,
    ...[
      '\u0000',
      '\n',
      ' ',
      'é',
      'Ł',
      '\u202e',
      '🌲',
      '\ufeff',
      '\uffff',
      '%',
      '%zz',
      '%00',
      '%2e%2e',
      '..',
      '\\',
      '//',
    ].flatMap((text) => [
      `/${text}`,
      `/${TEST_CLAIMS.sid}.${genuine}/aurora/${text}`,
      `/${TEST_CLAIMS.sid}.${genuine}/aurora/${text}/../x`,
      `/${TEST_CLAIMS.sid}${text}.${genuine}${PATH}`,
      `/${TEST_CLAIMS.sid}.${text}${genuine}${PATH}`,
      `/${TEST_CLAIMS.sid}.${header}.${text}${payload}.${signature}${PATH}`,
      `/${TEST_CLAIMS.sid}.${header}.${payload}.${text}${signature}${PATH}`,
      `/${TEST_CLAIMS.sid}.${header}.${payload}.${signature.slice(text.length)}${text}${PATH}`,
      `/${TEST_CLAIMS.sid}.${header}.${payload}.${text}${signature.slice(text.length)}${PATH}`,
      `/${TEST_CLAIMS.sid}.${header}.${payload}.${signature}${text}${PATH}`,
    ]),
  ];
  const parts = { SID: TEST_CLAIMS.sid, HEADER: header, PAYLOAD: payload, SIGNATURE: signature, PATH };
  const nameOf = (uri: string) =>
    show(Object.entries(parts).reduce((text, [name, part]) => text.replaceAll(part, `<${name}>`), uri));
  return list.map((uri) => ({ name: `uri ${nameOf(uri)}`, event: viewerRequest(uri) }));
}

/** Spellings of what a path may not have, behind a token that is good. */
function paths(): Case[] {
  const dots = ['.', '..'].flatMap((dot) =>
    [
      dot,
      dot.replaceAll('.', '%2e'),
      dot.replaceAll('.', '%2E'),
      dot.replace('.', '%2e'),
      dot.replaceAll('.', '%252e'),
      dot.replaceAll('.', '%c0%ae'),
    ].flatMap((segment) => [segment, `${segment};x`, `${segment};`, `${segment}%3b`, `${segment}%3Bx`]),
  );
  const unsafe = [
    ...new Set(dots),
    ...[
      '/',
      '//',
      '%2f',
      '%2F',
      '%5c',
      '%5C',
      '%252f',
      '%255c',
      '%00',
      '%0a',
      '%0d%0a',
      '%1f',
      '%7f',
      '%',
      '%2',
      '%zz',
      '%u002e',
      '\\',
      '?',
      '#',
      '"',
      '<',
      '>',
      '^',
      '`',
      '{',
      '|',
      '}',
      '[',
      ']',
    ],
    // Overlong UTF-8 (RFC 3629 §3), in each length that decoders have known.
    ...['%c0%ae', '%c0%af', '%c1%9c', '%e0%80%ae', '%f0%80%80%ae', '%f8%80%80%80%ae', '%fc%80%80%80%80%ae'],
  ];
  return [
    ...unsafe.map((segment) => ({
      name: `path segment ${segment}`,
      event: viewerRequest(tokenUri(genuine, `/aurora/${segment}/x.m4s`)),
      expected: 'denied path-unsafe',
    })),
    ...['x', '...', '.x', 'x..', 'x;y=..', '%20', '%C3%A9', "!$&'()*+,;=:@-._~"].map((segment) => ({
      name: `path segment ${segment}`,
      event: viewerRequest(tokenUri(genuine, `/aurora/${segment}/x.m4s`)),
      expected: `allowed /aurora/${segment}/x.m4s`,
    })),
  ];
}

function keyIds(): Case[] {
  const unknown = [...NAMES, 'k2', 'K1', '1', '-', '_', 'a'.repeat(64), 'k1-', '0'];
  const malformed = [
    '',
    'a'.repeat(65),
    'a'.repeat(500),
    'k 1',
    'k/1',
    'k.1',
    '../k1',
    'k1\n',
    'k1\u0000',
    'ключ',
    'k1"}',
    'k1","x":"',
    ...ODD.filter((value) => value !== 'x' && value !== '0'),
  ];
  const orders = (kid: unknown) => [
    { ...HEADER, kid },
    { kid, typ: HEADER.typ, alg: HEADER.alg },
  ];
  const cases = (kids: unknown[], expected: string) =>
    kids.flatMap((kid) =>
      orders(kid).map((head) => ({ name: `header ${show(head)}`, event: viewerRequest(signed({}, head)), expected })),
    );
  return [...cases(unknown, 'denied token-key-unknown'), ...cases(malformed, 'denied token-malformed')];
}

function headers(): Case[] {
  const texts = [
    ...ODD.map((value) => JSON.stringify(value)),
    '{',
    '{"alg":"HS256","typ":"portcullis+jwt","kid":"k1"',
    '{"alg":"HS256","typ":"portcullis+jwt","kid":"k1"}}',
    ' {"alg":"HS256","typ":"portcullis+jwt","kid":"k1"} x',
    '{"alg":"HS256","typ":"portcullis+jwt","kid":"k1","__proto__":1}',
    '{"alg":"HS256","typ":"portcullis+jwt","__proto__":{"kid":"k1"}}',
    '{"__proto__":{"alg":"HS256","typ":"portcullis+jwt","kid":"k1"}}',
    '{"alg":"HS256","typ":"portcullis+jwt","kid":"k1","constructor":1}',
    '{"alg":"HS256","typ":"portcullis+jwt","kid":"k1",}',
    "{'alg':'HS256','typ':'portcullis+jwt','kid':'k1'}",
    '{alg:"HS256",typ:"portcullis+jwt",kid:"k1"}',
    '{"alg":"HS256","typ":"portcullis+jwt","kid":"k1"}/**/',
    '\ufeff{"alg":"HS256","typ":"portcullis+jwt","kid":"k1"}',
    '\u0000{"alg":"HS256","typ":"portcullis+jwt","kid":"k1"}',
    ...['\n', '\r', '\r\n', '\u2028', ' ', '\u0000'].map(
      (end) => `{"alg":"HS256","typ":"portcullis+jwt","kid":"k1"}${end}`,
    ),
    '[{"alg":"HS256","typ":"portcullis+jwt","kid":"k1"}]',
    '{"alg":["HS256"],"typ":"portcullis+jwt","kid":"k1"}',
    '{"alg":"HS256","typ":{"toString":"portcullis+jwt"},"kid":"k1"}',
    '['.repeat(500),
    '['.repeat(500) + ']'.repeat(500),
    `${'{"a":'.repeat(100)}1${'}'.repeat(100)}`,
  ];
  return texts.map((text) => ({
    name: `header text ${show(text)}`,
    event: viewerRequest(tokenUri(signRaw(text, JSON.stringify(TEST_CLAIMS)))),
    // White space around it is JSON (RFC 8259 §2).
    expected:
      text.replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, '') === JSON.stringify(HEADER)
        ? `allowed ${PATH}`
        : 'denied token-malformed',
  }));
}

function claims(): Case[] {
  const expected = 'denied token-claims-invalid';
  const types: Record<string, unknown[]> = {
    sid: ODD,
    aid: ODD.filter((value) => typeof value !== 'string' || value === ''),
    iat: [...ODD, String(NOW), [NOW], NOW + 0.5, { valueOf: NOW }],
    exp: [...ODD.filter((value) => value !== 1e308), String(NOW + 60), [NOW + 60], NOW + 60.5],
    sst: [...ODD.filter((value) => value !== 0), String(NOW), [NOW], NOW - 0.5, NOW + 1],
    paths: [
      ...ODD.filter((value) => !(Array.isArray(value) && value[0] === 'x')),
      [''],
      ['/aurora/', 1],
      ['/aurora/', null],
      { 0: '/aurora/', length: 1 },
      '/aurora/',
    ],
    nbf: [...ODD.filter((value) => value !== 0 && value !== 1e308), String(NOW), [NOW]],
    sub: ODD.filter((value) => typeof value !== 'string' || value === ''),
    cty: [
      ...ODD.filter((value) => !(Array.isArray(value) && value[0] === 'x')),
      'DE',
      [''],
      ['DE', 1],
      { 0: 'DE', length: 1 },
    ],
    bmac: ODD,
    bnd: ODD,
  };
  const long = 'x'.repeat(129);
  return [
    ...['sid', 'aid', 'iat', 'exp', 'sst', 'paths'].map((name) => ({
      name: `no ${name}`,
      event: viewerRequest(signed({ [name]: undefined })),
      expected,
    })),
    ...Object.entries(types).flatMap(([name, values]) =>
      values.map((value) => ({
        name: `${name} is ${show(value)}`,
        event: viewerRequest(signed({ [name]: value })),
        expected: name === 'sid' && typeof value === 'string' ? 'denied token-session-mismatch' : expected,
      })),
    ),
    ...['aid', 'sub'].map((name) => ({
      name: `${name} too long`,
      event: viewerRequest(signed({ [name]: long })),
      expected,
    })),
    ...ODD.filter((value) => !Array.isArray(value) || value[0] !== 'x').map((value) => ({
      name: `bnd is ${show(value)}, with bmac`,
      event: viewerRequest(signed({ bnd: value, bmac: signature })),
      expected,
    })),
    ...ODD.filter((value) => typeof value !== 'string' || value === '').map((value) => ({
      name: `bmac is ${show(value)}, with bnd`,
      event: viewerRequest(signed({ bnd: ['ip'], bmac: value })),
      expected,
    })),
    ...[
      signature.slice(1),
      `${signature}=`,
      signature.replace(/.$/, '?'),
      'é'.repeat(43),
      long,
      '/'.repeat(43),
      'A'.repeat(43),
    ].map((bmac) => ({
      name: `bmac ${show(bmac)}`,
      event: viewerRequest(signed({ bnd: ['ip'], bmac })),
    })),
    ...[
      'null',
      '[]',
      '""',
      '1',
      'true',
      '{}',
      '',
      ' ',
      '{',
      'undefined',
      'NaN',
      JSON.stringify(TEST_CLAIMS).slice(0, -1),
      `[${JSON.stringify(TEST_CLAIMS)}]`,
      `${JSON.stringify(TEST_CLAIMS)},`,
      `{"__proto__":${JSON.stringify(TEST_CLAIMS)}}`,
      ...[10, 31, 32, 33, 100, 700].flatMap((depth) => [
        '['.repeat(depth),
        '['.repeat(depth) + ']'.repeat(depth),
        `${'{"a":'.repeat(Math.min(depth, 200))}1${'}'.repeat(Math.min(depth, 200))}`,
      ]),
    ].map((text) => ({
      name: `claims ${show(text)} (${text.length})`,
      event: viewerRequest(tokenUri(signRaw(JSON.stringify(HEADER), text.padEnd(90)))),
      expected,
    })),
    ...['['.repeat(10_000), '['.repeat(10_000) + ']'.repeat(10_000)].map((text) => ({
      name: `claims ${show(text)} (${text.length})`,
      event: viewerRequest(tokenUri(signRaw(JSON.stringify(HEADER), text))),
      expected: 'denied token-malformed',
    })),
  ];
}

/** Claims sets that are right, however strange: the answer must not depend on the engine either. */
function strange(): Case[] {
  const text = JSON.stringify(TEST_CLAIMS).slice(0, -1);
  const expected = `allowed ${PATH}`;
  const raw = (json: string) => viewerRequest(tokenUri(signRaw(JSON.stringify(HEADER), json)));
  const nested = (depth: number, open: string, close: string) =>
    `${text},"x":${open.repeat(depth)}1${close.repeat(depth)}}`;
  return [
    ...NAMES.map((name) => ({ name: `member ${name}`, event: raw(`${text},"${name}":{"exp":1}}`), expected })),
    { name: 'a member twice, the last one right', event: raw(`{"sid":"x","exp":null,${text.slice(1)}}`), expected },
    {
      name: 'a member twice, the last one wrong',
      event: raw(`${text},"exp":null}`),
      expected: 'denied token-claims-invalid',
    },
    { name: 'escaped names', event: raw(`${text.replace('"sid"', '"\\u0073id"')}}`), expected },
    { name: 'white space', event: raw(` \t\r\n${text} \n}\n`), expected },
    { name: 'other white space', event: raw(`\u00a0${text}}`), expected: 'denied token-claims-invalid' },
    { name: 'a byte order mark', event: raw(`\ufeff${text}}`), expected: 'denied token-claims-invalid' },
    { name: 'a time with an exponent', event: raw(`${text},"exp":176000003e1}`), expected },
    { name: 'a time with a fraction of zero', event: raw(`${text},"exp":${NOW + 60}.0}`), expected },
    {
      name: 'a time with a leading zero',
      event: raw(`${text},"exp":0${NOW + 60}}`),
      expected: 'denied token-claims-invalid',
    },
    {
      name: 'a time with a leading plus',
      event: raw(`${text},"exp":+${NOW + 60}}`),
      expected: 'denied token-claims-invalid',
    },
    {
      name: 'a time in hexadecimal',
      event: raw(`${text},"exp":0x${(NOW + 60).toString(16)}}`),
      expected: 'denied token-claims-invalid',
    },
    {
      name: 'a time that ends in a point',
      event: raw(`${text},"exp":${NOW + 60}.}`),
      expected: 'denied token-claims-invalid',
    },
    { name: 'a start of minus zero', event: raw(`${text},"sst":-0}`), expected },
    ...['\\ud800', '\\udc00\\ud800', '\\u0000', '\\n'].map((sub) => ({
      name: `sub is ${sub}`,
      event: raw(`${text},"sub":"${sub}"}`),
      expected,
    })),
    ...['\n', '\u0000', '\u001f'].map((control) => ({
      name: `a control character ${show(control)} in a text`,
      event: raw(`${text},"sub":"${control}"}`),
      expected: 'denied token-claims-invalid',
    })),
    { name: 'DEL and line separators in a text', event: raw(`${text},"sub":"\u007f\u2028\u2029"}`), expected },
    { name: '128 letters beyond ASCII', event: raw(`${text},"sub":"${'é'.repeat(128)}"}`), expected },
    {
      name: '129 letters beyond ASCII',
      event: raw(`${text},"sub":"${'é'.repeat(129)}"}`),
      expected: 'denied token-claims-invalid',
    },
    { name: '64 letters beyond the basic plane', event: raw(`${text},"sub":"${'🌲'.repeat(64)}"}`), expected },
    {
      name: '65 letters beyond the basic plane',
      event: raw(`${text},"sub":"${'🌲'.repeat(65)}"}`),
      expected: SAME,
    },
    { name: 'a little nesting', event: raw(nested(4, '[{"a":', '}]')), expected },
    ...[10, 29, 30, 31, 32, 33, 100].flatMap((depth) => [
      { name: `arrays nested ${depth} deep`, event: raw(nested(depth, '[', ']')), expected: SAME },
      { name: `objects nested ${depth} deep`, event: raw(nested(depth, '{"a":', '}')), expected: SAME },
    ]),
    {
      name: 'a session id that ends in a line feed',
      event: viewerRequest(signed({ sid: `${TEST_CLAIMS.sid}\n` }).replace('.', '\n.')),
      expected: 'denied token-malformed',
    },
    ...DEVICES.map((device) => ({
      name: `an asset called ${device}`,
      event: viewerRequest(signed({ aid: device })),
      expected,
    })),
  ];
}

const SUITES: Record<string, () => Case[]> = {
  requests,
  bindings,
  uris,
  paths,
  keyIds,
  headers,
  claims,
  strange,
};

/** What each engine answered where one is not right, or the two are not the same, by the name of the case. */
async function wrong(suite: Case[], variant: Variant): Promise<Record<string, string[]>> {
  const events = suite.map(({ event }) => event);
  const inVm = await outcomes('node:vm', events, { variant });
  const inNjs = await outcomes('njs', events, { variant });
  const found: Record<string, string[]> = {};
  for (const [i, { name, expected }] of suite.entries()) {
    const answers = [inVm[i] as string, inNjs[i] as string];
    const pattern = expected === SAME ? /^(?:allowed|denied) / : /^denied /;
    const isRight = expected && expected !== SAME ? answers[0] === expected : pattern.test(answers[0] as string);
    if (!isRight || answers[0] !== answers[1]) found[name in found ? `${name} (${i})` : name] = answers;
  }
  return found;
}

describeWith('njs', 'whatever is asked is answered, and the same in both engines', () => {
  describe.each(VARIANTS)('%s', (variant) => {
    test.each(Object.entries(SUITES))('%s', async (name, cases) => {
      const open: Record<string, (string | RegExp)[]> = ENGINE_DIFFERENCES;
      expectNothingWrong(await wrong(cases(), variant), open[name]);
    });
  });
});

/** Texts of all kinds, as far as both engines agree on what a character is. */
const anyText = fc.oneof(
  fc.string({ unit: 'binary-ascii', maxLength: 40 }),
  fc.string({ unit: fc.integer({ min: 0, max: 0xd7ff }).map((code) => String.fromCharCode(code)), maxLength: 20 }),
  fc.constantFrom(...NAMES, '/', '.', '..', '%', '"', '\\'),
);
const anyField = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.record(
    { value: fc.oneof(anyText, fc.jsonValue({ maxDepth: 1 })), multiValue: fc.jsonValue({ maxDepth: 2 }) },
    { requiredKeys: [] },
  ),
);
const anyFields = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.dictionary(
    fc.constantFrom('x-device', 'd', 'user-agent', 'origin', 'cloudfront-viewer-country', ...NAMES),
    anyField,
  ),
);
const chunk = fc.oneof(
  anyText,
  fc.constantFrom(
    TEST_CLAIMS.sid,
    header,
    payload,
    signature,
    genuine,
    PATH,
    '.',
    '/',
    '=',
    'A'.repeat(43),
    'a'.repeat(2000),
  ),
);
const anyUri = fc
  .array(chunk, { maxLength: 9 })
  .map((chunks) => `/${chunks.join('')}`)
  .filter((uri) => !uri.startsWith(tokenUri(genuine, '/')));

/** Events in which nothing but the token is right, and it is bound to what is not there. */
const anySurroundings = fc
  .record(
    { method: anyText, headers: anyFields, querystring: anyFields, cookies: anyFields },
    { requiredKeys: ['method'] },
  )
  .chain((request) =>
    anyText.map((ip) => ({ ...viewerRequest('/'), viewer: { ip }, request: { ...request, uri: boundRequest.uri } })),
  );
const anyRequest = fc.tuple(anyUri, anyFields).map(([uri, headers]) => ({
  ...viewerRequest(uri),
  request: { ...viewerRequest(uri).request, headers },
}));
const anyHeader = fc
  .tuple(
    fc.constantFrom('alg', 'typ', 'kid', 'crit', '__proto__', 'x'),
    fc.oneof(anyText, fc.jsonValue({ maxDepth: 3 })),
  )
  .filter(([, value]) => !Object.values<unknown>(HEADER).includes(value))
  .map(([name, value]) => viewerRequest(signed({}, { ...HEADER, ...Object.fromEntries([[name, value]]) })));
const anyClaimsSet = fc
  .jsonValue({ maxDepth: 5 })
  .map((value) => viewerRequest(tokenUri(signRaw(JSON.stringify(HEADER), JSON.stringify(value)))));

/** One claim is something else: which may be right, but is so for both engines. */
const anyClaim = fc
  .tuple(
    fc.constantFrom(...Object.keys(TEST_CLAIMS), 'nbf', 'sub', 'cty', 'bnd', 'bmac', 'x', ...NAMES),
    fc.oneof(anyText, fc.jsonValue({ maxDepth: 3 }), fc.integer(), fc.double()),
  )
  .map(([name, value]) => viewerRequest(signed(Object.fromEntries([[name, value]]))));

const GENERATED: Record<string, { arbitrary: fc.Arbitrary<unknown>; expected: RegExp }> = {
  'a token in garbage': { arbitrary: anySurroundings, expected: /^denied (?:binding-missing|binding-mismatch)$/ },
  'garbage around pieces of a token': {
    arbitrary: anyRequest,
    expected: /^denied (?:token-(?:missing|malformed|signature-invalid|session-mismatch)|path-(?:unsafe|not-allowed))$/,
  },
  'garbage in the header': { arbitrary: anyHeader, expected: /^denied token-(?:malformed|key-unknown)$/ },
  'garbage for claims': { arbitrary: anyClaimsSet, expected: /^denied token-(?:claims-invalid|malformed)$/ },
  'garbage for one claim': { arbitrary: anyClaim, expected: /^(?:denied [a-z-]+|allowed \/aurora\/master\.m3u8)$/ },
};

describeWith('njs', 'generated events', () => {
  const numRuns = LONG ? 20_000 : 1000;
  test.each(Object.entries(GENERATED))('%s', async (_, { arbitrary, expected }) => {
    const seed = 20261122;
    const events = fc.sample(arbitrary, { numRuns, seed });
    const inVm = await outcomes('node:vm', events);
    const inNjs = await outcomes('njs', events);
    const found = events.flatMap((event, i) =>
      expected.test(inVm[i] as string) && inVm[i] === inNjs[i] ? [] : [{ event, inVm: inVm[i], inNjs: inNjs[i] }],
    );
    expect(found.slice(0, 5), `seed ${seed}, ${found.length} of ${numRuns}`).toEqual([]);
  });
});
