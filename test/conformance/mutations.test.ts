import { createHmac } from 'node:crypto';
import { expect, test } from 'vitest';
import {
  describeEngines,
  HEADER,
  mintToken,
  outcomes,
  PATH,
  signRaw,
  TEST_KEYS,
  VARIANTS,
  viewerRequest,
} from '../harness/edge.ts';
import { expectNothingWrong } from '../harness/engine-differences.ts';
import { NOW, TEST_CLAIMS, TEST_KEY } from '../harness/minting.ts';
import { LONG } from '../harness/programs.ts';

/** Another seed asks with other tokens; a failure names it, the kind of change, and the token. */
const SEED = 20261122;
const SAMPLES = { 'node:vm': LONG ? 1_000_000 : 5000, njs: LONG ? 100_000 : 1000 };
const CHUNK = 1000;

const SECOND_KEY = {
  kid: 'k2',
  sign: Buffer.alloc(32, 3).toString('base64url'),
  bind: Buffer.alloc(32, 4).toString('base64url'),
};
const KEYS = { ...TEST_KEYS, [SECOND_KEY.kid]: SECOND_KEY };
const OTHER = {
  ...TEST_CLAIMS,
  sid: 'zYxWvUtS98765432',
  aid: 'borealis',
  paths: ['/aurora/', '/borealis/'],
  sub: 'viewer',
};

/** Tokens that open `PATH`; what is altered is one of them, and what comes out as one of them is no alteration. */
const GENUINE = [
  mintToken(),
  mintToken({ ...OTHER, bnd: ['ip', 'user-agent'] }),
  `${OTHER.sid}.${signRaw(JSON.stringify({ kid: 'k2', typ: HEADER.typ, alg: HEADER.alg }), JSON.stringify(OTHER), SECOND_KEY.sign)}`,
  `${TEST_CLAIMS.sid}.${signRaw(JSON.stringify({ ...HEADER, kid: 'k2' }), JSON.stringify({ ...TEST_CLAIMS, nbf: NOW - 5 }), SECOND_KEY.sign)}`,
];

/** Numbers that depend on the seed alone (mulberry32): below `limit`, from 0 on. */
function numbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
}

type Random = ReturnType<typeof numbers>;
type Parts = [sid: string, header: string, payload: string, signature: string];

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const STRANGERS = `${BASE64URL}+/=.~!$&'()*,;:@%? \t\n\0"<>\\^\`{|}éŁ`;
const one = <Item>(random: Random, items: ArrayLike<Item>): Item => items[random(items.length)] as Item;
const splice = (text: string, at: number, removed: number, added = '') =>
  text.slice(0, at) + added + text.slice(at + removed);
const decoded = (part: string) => Buffer.from(part, 'base64url').toString();
const encoded = (text: string) => Buffer.from(text).toString('base64url');
const hmac = (algorithm: string, key: string, signed: string) =>
  createHmac(algorithm, Buffer.from(key, 'base64url')).update(signed).digest('base64url');
const keyOf = (header: string) => KEYS[JSON.parse(decoded(header)).kid] ?? TEST_KEY;

function flip(random: Random, text: string): string {
  const at = random(text.length);
  return splice(text, at, 1, String.fromCharCode(text.charCodeAt(at) ^ (1 << random(8))));
}

/** Headers that make no token of ours, out of one that does. */
const HEADER_REWRITES: ((header: Record<string, unknown>, random: Random) => unknown)[] = [
  (header, random) => ({
    ...header,
    alg: one(random, ['none', 'None', 'NONE', '', 'HS512', 'HS384', 'hs256', 'RS256', 'ES256', null]),
  }),
  (header, random) => ({ ...header, typ: one(random, ['JWT', 'jwt', '', 'portcullis', 'Portcullis+jwt', null]) }),
  (header, random) => ({
    ...header,
    kid: one(random, ['k3', '', '../k1', '__proto__', 'constructor', 'K1', 'a'.repeat(65), 1, null]),
  }),
  (header, random) => ({ ...header, crit: one(random, [['exp'], ['b64'], [], ['crit']]) }),
  (header, random) => ({
    ...header,
    [one(random, ['b64', 'jku', 'jwk', 'x5u', 'x5c', 'zip', 'cty', 'x', 'constructor'])]: one<unknown>(random, [
      false,
      'x',
      null,
      {},
    ]),
  }),
  ({ alg: _, ...header }) => header,
  ({ typ: _, ...header }) => header,
  ({ kid: _, ...header }) => header,
  (header) => [header],
];

/** Claims that say something else than those of a token. */
const PAYLOAD_REWRITES: ((claims: Record<string, unknown>, random: Random) => unknown)[] = [
  (claims, random) => ({ ...claims, exp: Number(claims.exp) + 1 + random(80_000) }),
  (claims, random) => ({ ...claims, iat: Number(claims.iat) + random(1000) + 1 }),
  (claims) => ({ ...claims, paths: ['/'] }),
  (claims) => ({ ...claims, sid: TEST_CLAIMS.sid, aid: 'other' }),
  ({ bnd: _, bmac: _mac, ...claims }) => ({ ...claims, sub: 'other' }),
  (claims) => ({ ...claims, cty: ['DE'] }),
  (claims) => ({ extra: true, ...claims }),
  (claims) => Object.fromEntries(Object.entries(claims).reverse()),
];

/** The kinds of change: each makes of the parts of a genuine token the text of another one. */
const MUTATIONS: Record<string, (parts: Parts, random: Random) => string> = {
  'a bit flipped': (parts, random) => flip(random, parts.join('.')),
  'several bits flipped': (parts, random) => {
    let token = parts.join('.');
    for (let i = random(4) + 2; i > 0; i--) token = flip(random, token);
    return token;
  },
  'a character replaced': (parts, random) => {
    const token = parts.join('.');
    return splice(token, random(token.length), 1, one(random, BASE64URL));
  },
  'a stranger put in': (parts, random) => {
    const token = parts.join('.');
    return splice(token, random(token.length + 1), random(2), one(random, STRANGERS));
  },
  'neighbours swapped': (parts, random) => {
    const token = parts.join('.');
    const at = random(token.length - 1);
    return splice(token, at, 2, `${token[at + 1]}${token[at]}`);
  },
  'a piece removed': (parts, random) => {
    const token = parts.join('.');
    return splice(token, random(token.length), 1 + random(12));
  },
  'a piece repeated': (parts, random) => {
    const token = parts.join('.');
    const at = random(token.length);
    return splice(token, at, 0, token.slice(at, at + 1 + random(12)));
  },
  'parts of two tokens': (parts, random) => {
    const other = one(random, GENUINE).split('.');
    return parts.map((part, i) => (random(2) ? part : other[i])).join('.');
  },
  'parts in another order': (parts, random) => {
    const [a, b] = [random(4), random(4)];
    return parts.map((part, i) => (i === a ? parts[b] : i === b ? parts[a] : part)).join('.');
  },
  'parts missing or too many': (parts, random) => {
    const list: string[] = [...parts];
    if (random(2)) list.splice(random(4), 1);
    else list.splice(random(5), 0, one(random, ['', ...parts]));
    return list.join('.');
  },
  'cut short': (parts, random) => {
    const token = parts.join('.');
    return random(2) ? token.slice(0, random(token.length)) : token.slice(1 + random(token.length - 1));
  },
  'a part cut short': (parts, random) => {
    const cut = random(4);
    return parts.map((part, i) => (i === cut ? part.slice(0, random(part.length)) : part)).join('.');
  },
  'another case': (parts, random) => {
    const changed = random(4);
    const convert = one(random, [
      (part: string) => part.toLowerCase(),
      (part: string) => part.toUpperCase(),
      (part: string) =>
        part.replace(/[a-z]/i, (letter) => (letter < 'a' ? letter.toLowerCase() : letter.toUpperCase())),
      (part: string) =>
        part.replace(/[a-z](?=[^a-z]*$)/i, (letter) => (letter < 'a' ? letter.toLowerCase() : letter.toUpperCase())),
    ]);
    return parts.map((part, i) => (i === changed ? convert(part) : part)).join('.');
  },
  'encoded in another way': (parts, random) => {
    const changed = 1 + random(3);
    const encode = one(random, [
      // The bits that base64url has to spare at the end.
      (part: string) =>
        splice(part, part.length - 1, 1, BASE64URL[BASE64URL.indexOf(part.at(-1) as string) ^ (1 + random(3))]),
      (part: string) => `${part}${'='.repeat(1 + random(2))}`,
      (part: string) => part.replaceAll('-', '+').replaceAll('_', '/'),
      (part: string) => splice(part, random(part.length), 0, one(random, ['\n', ' ', '\r\n', '\t', '='])),
      (part: string) => Buffer.from(part, 'base64url').toString('hex'),
      (part: string) => encoded(part),
      (part: string) => decoded(part),
      (part: string) =>
        encodeURIComponent(part).replace(/[A-Za-z0-9]/, (letter) => `%${letter.charCodeAt(0).toString(16)}`),
    ]);
    return parts.map((part, i) => (i === changed ? encode(part) : part)).join('.');
  },
  'signed with another key': ([sid, header, payload], random) => {
    const signed = `${header}.${payload}`;
    const right = keyOf(header);
    const keys = [right.bind, '', encoded(right.sign), header, payload, sid, Buffer.alloc(32).toString('base64url')];
    const others = Object.values(KEYS).flatMap(({ sign }) => (sign === right.sign ? [] : [sign]));
    const random32 = Buffer.from(Array.from({ length: 32 }, () => random(256))).toString('base64url');
    return `${sid}.${signed}.${hmac('sha256', one(random, [...keys, ...others, random32]), signed)}`;
  },
  'signed in another way': ([sid, header, payload], random) => {
    const { sign } = keyOf(header);
    const signed = `${header}.${payload}`;
    const signature = one(random, [
      hmac('sha512', sign, signed),
      hmac('sha512', sign, signed).slice(0, 43),
      hmac('sha1', sign, signed),
      hmac('sha256', sign, payload),
      hmac('sha256', sign, `${decoded(header)}.${decoded(payload)}`),
      hmac('sha256', sign, `${sid}.${signed}`),
      '',
      'A'.repeat(43),
      '_'.repeat(43),
    ]);
    return `${sid}.${signed}.${signature}`;
  },
  'another header, correctly signed or not': ([sid, header, payload, signature], random) => {
    const { sign } = keyOf(header);
    const other = encoded(JSON.stringify(one(random, HEADER_REWRITES)(JSON.parse(decoded(header)), random)));
    const signed = `${other}.${payload}`;
    return `${sid}.${signed}.${one(random, [signature, '', hmac('sha256', sign, signed), hmac('sha512', sign, signed)])}`;
  },
  'other claims under the old signature': ([sid, header, payload, signature], random) => {
    const json = JSON.stringify(one(random, PAYLOAD_REWRITES)(JSON.parse(decoded(payload)), random));
    return `${sid}.${header}.${encoded(json)}.${signature}`;
  },
  'the same claims, spelled differently': ([sid, header, payload, signature], random) => {
    const json = decoded(payload);
    const spelling = one(random, [
      ` ${json}`,
      `${json}\n`,
      JSON.stringify(JSON.parse(json), null, 1),
      json.replace('"sid"', '"\\u0073id"'),
    ]);
    return `${sid}.${header}.${encoded(spelling)}.${signature}`;
  },
  'another session id': ([sid, header, payload, signature], random) => {
    const others = [
      sid.toLowerCase(),
      sid.slice(1),
      `${sid}0`,
      `${sid}${sid}`,
      `${sid}%20`,
      `${sid}/`,
      `/${sid}`,
      `.${sid}`,
      '',
      TEST_CLAIMS.sid,
      OTHER.sid,
      'AbCdEf012346',
    ];
    return `${one(random, others)}.${header}.${payload}.${signature}`;
  },
};

/** As node:vm reads a signature. */
const asReadInVm = (token: string) =>
  Buffer.from(token, 'latin1').toString('latin1').replaceAll('+', '-').replaceAll('/', '_');

describeEngines('altered tokens', (engine) => {
  test.each(VARIANTS)('the tokens are accepted as they are, %s', async (variant) => {
    const answers = await outcomes(
      engine,
      GENUINE.map((token) => viewerRequest(`/${token}${PATH}`)),
      { variant, keys: KEYS },
    );
    expect(answers).toEqual(GENUINE.map(() => `allowed ${PATH}`));
  });

  test(`none of ${SAMPLES[engine].toLocaleString('en')} is accepted`, { timeout: 3_600_000 }, async () => {
    const random = numbers(SEED);
    const kinds = Object.entries(MUTATIONS);
    const counts: Record<string, number> = {};
    const wrong: Record<string, string> = {};
    let [asked, turn] = [0, 0];
    while (asked < SAMPLES[engine] && Object.keys(wrong).length < 20) {
      const altered: { kind: string; token: string }[] = [];
      while (altered.length < Math.min(CHUNK, SAMPLES[engine] - asked)) {
        const [kind, mutate] = kinds[turn++ % kinds.length] as (typeof kinds)[number];
        const token = mutate(one(random, GENUINE).split('.') as Parts, random);
        if (!GENUINE.includes(token)) altered.push({ kind, token });
      }
      const variant = VARIANTS[(asked / CHUNK) % 2] ?? 'store';
      const answers = await outcomes(
        engine,
        altered.map(({ token }) => viewerRequest(`/${token}${PATH}`)),
        { variant, keys: KEYS },
      );
      for (const [i, { kind, token }] of altered.entries()) {
        counts[kind] = (counts[kind] ?? 0) + 1;
        if (answers[i]?.startsWith('denied ')) continue;
        const name = GENUINE.includes(asReadInVm(token))
          ? 'spelling of the signature'
          : `${kind}: ${JSON.stringify(token)}`;
        wrong[name] = `${answers[i]} (seed ${SEED}, ${variant})`;
      }
      asked += altered.length;
    }
    expectNothingWrong(wrong);
    // Every kind of change counts for what it is worth.
    for (const kind of Object.keys(MUTATIONS))
      expect([kind, (counts[kind] ?? 0) > asked / kinds.length / 3]).toEqual([kind, true]);
  });
});
