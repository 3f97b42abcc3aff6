import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bindingValue, type ClaimsSet, canonicalIp, type Viewing } from '../../token/index.ts';
import { describeEngines, mintToken, outcomes, viewerRequest } from '../harness/edge.ts';
import { decide, NOW, TEST_CLAIMS, TEST_VIEWING } from '../harness/minting.ts';
import { LONG } from '../harness/programs.ts';

const numRuns = LONG ? 100_000 : 2000;
/** How many cases a generated batch has that is put to the built function. */
const batch = { numRuns: LONG ? 20_000 : 500, seed: 20261122 };

const letter = fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789');
const segment = fc.string({ unit: fc.constantFrom(...'abcXYZ019-_~.é%'), minLength: 1, maxLength: 8 });
const safeSegment = fc.string({ unit: fc.constantFrom(...'abcXYZ019-_~'), minLength: 1, maxLength: 8 });
const safePath = fc.array(safeSegment, { minLength: 1, maxLength: 4 }).map((segments) => `/${segments.join('/')}`);
const text = fc.oneof(
  fc.string({ minLength: 1, maxLength: 40 }),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
);

const viewing: fc.Arbitrary<Viewing> = fc
  .record({
    ip: fc.oneof(fc.ipV4(), fc.ipV6()),
    method: fc.constantFrom('GET', 'HEAD', 'OPTIONS'),
    country: fc.constantFrom('DE', 'AT', 'BE', 'us', 'US'),
    city: fc.constantFrom('Berlin', 'Graz', 'berlin'),
    userAgent: fc.string({ minLength: 1, maxLength: 12 }),
    device: fc.string({ minLength: 1, maxLength: 12 }),
    parameter: fc.string({ unit: fc.constantFrom(...'ab%20=+'), minLength: 1, maxLength: 6 }),
  })
  .map(({ ip, method, country, city, userAgent, device, parameter }) => ({
    viewer: { ip },
    request: {
      method,
      headers: {
        'cloudfront-viewer-country': { value: country },
        'cloudfront-viewer-city': { value: city },
        'user-agent': { value: userAgent },
        'x-device': { value: device },
      },
      querystring: { d: { value: parameter } },
    },
  }));
const BINDINGS = ['ip', 'network', 'country', 'city', 'user-agent', 'method', 'header:x-device', 'query:d'];
const bindings: fc.Arbitrary<string[]> = fc.uniqueArray(fc.constantFrom(...BINDINGS), { minLength: 1 });

const claims: fc.Arbitrary<Omit<ClaimsSet, 'bmac'>> = fc
  .record(
    {
      sid: fc.string({ unit: letter, minLength: 12, maxLength: 64 }),
      aid: text,
      lifetime: fc.integer({ min: 1, max: 86400 }),
      age: fc.nat(1000),
      session: fc.nat(100_000),
      paths: fc.array(safePath, { minLength: 1, maxLength: 3 }),
      nbf: fc.integer({ min: 0, max: NOW }),
      sub: text,
      cty: fc.constant<string[]>(['DE', 'AT']),
      bnd: bindings.filter((names) => !names.includes('city')),
    },
    { requiredKeys: ['sid', 'aid', 'lifetime', 'age', 'session', 'paths'] },
  )
  .map(({ lifetime, age, session, ...rest }) => ({
    ...rest,
    iat: NOW - Math.min(age, lifetime - 1),
    exp: NOW - Math.min(age, lifetime - 1) + lifetime,
    sst: NOW - Math.min(age, lifetime - 1) - session,
  }));

/** One change of one character: another one, one more, one fewer, or two neighbours swapped. */
const change = fc.record({
  kind: fc.constantFrom('replace', 'insert', 'delete', 'transpose'),
  at: fc.nat(),
  character: fc.oneof(
    fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  ),
});

function changed(text: string, { kind, at, character }: { kind: string; at: number; character: string }): string {
  const i = at % text.length;
  const [before, here, after] = [text.slice(0, i), text[i] as string, text.slice(i + 1)];
  if (kind === 'replace') return before + character + after;
  if (kind === 'insert') return before + character + here + after;
  if (kind === 'delete') return before + after;
  return before + after.slice(0, 1) + here + after.slice(1);
}

describe('what is minted', () => {
  describeEngines('is accepted by the built function', (engine) => {
    test(`${batch.numRuns} claims sets`, async () => {
      const sets = fc.sample(claims, batch);
      const events = sets.map((set) =>
        viewerRequest(`/${mintToken(set)}${set.paths.at(-1)}/x.m4s`, TEST_VIEWING.request),
      );
      const wrong = (await outcomes(engine, events)).flatMap((answer, i) =>
        answer === `allowed ${sets[i]?.paths.at(-1)}/x.m4s` ? [] : [{ answer, claims: sets[i] }],
      );
      expect(wrong.slice(0, 3), `seed ${batch.seed}`).toEqual([]);
    });
  });

  test('is denied after any change of one character', () => {
    const token = mintToken({ ...TEST_CLAIMS, nbf: NOW, sub: 'viewer', bnd: ['ip', 'header:x-device'] });
    expect(decide(`/${token}/aurora/x`)).toBe('');
    fc.assert(
      fc.property(change, (change) => {
        const other = changed(token, change);
        fc.pre(other !== token);
        expect(decide(`/${other}/aurora/x`)).not.toBe('');
      }),
      { numRuns: numRuns * 2 },
    );
  });

  test('is denied when parts of two tokens are put together', () => {
    fc.assert(
      fc.property(claims, claims, fc.nat(14), (one, two, choice) => {
        const tokens = [mintToken(one).split('.'), mintToken(two).split('.')];
        // Every part from one token or the other, but neither token as a whole; headers are the same in both.
        const parts = [0, 1, 2, 3].map((i) => tokens[(choice >> i) & 1]?.[i]);
        const [sid, , payload, signature] = parts;
        fc.pre(!tokens.some((token) => token[0] === sid && token[2] === payload && token[3] === signature));
        expect(decide(`/${parts.join('.')}${one.paths[0]}`)).not.toBe('');
        expect(decide(`/${parts.join('.')}${two.paths[0]}`)).not.toBe('');
      }),
      { numRuns: Math.ceil(numRuns / 4) },
    );
  });
});

describe('the path', () => {
  /** What becomes of a path if everyone on the way decodes and resolves it, several times over. */
  function resolved(path: string): string[] {
    let text = path;
    for (let i = 0; i < 4; i++) {
      text = text.replaceAll(/%([0-9a-f]{2})/gi, (_, code) => String.fromCharCode(Number.parseInt(code, 16)));
      text = text.replaceAll('\\', '/').replaceAll(/;[^/]*/g, '');
    }
    const segments: string[] = [];
    for (const part of text.split('/')) {
      if (part === '..') segments.pop();
      else if (part !== '.' && part !== '') segments.push(part);
    }
    return segments;
  }

  const pieces = fc.array(
    fc.oneof(
      segment,
      fc.constantFrom(
        '.',
        '..',
        '%2e',
        '%2E%2e',
        '%252e',
        '..;x',
        '/',
        '//',
        '\\',
        '%2f',
        '%5c',
        '%c0%ae',
        '%00',
        '?',
        '#',
        '',
      ),
    ),
    { maxLength: 6 },
  );

  test('that is allowed stays in scope, however often it is decoded and resolved', () => {
    fc.assert(
      fc.property(safePath, pieces, fc.boolean(), change, (scope, pieces, below, change) => {
        const path = `${below ? `${scope}/` : '/'}${pieces.join('/')}`;
        for (const candidate of [path, changed(path, change)]) {
          const token = mintToken({ ...TEST_CLAIMS, paths: [scope] });
          if (decide(`/${token}${candidate}`) !== '') continue;
          const inside = scope.split('/').slice(1);
          expect(resolved(candidate).slice(0, inside.length)).toEqual(inside);
        }
      }),
      { numRuns },
    );
  });

  test('that any change takes out of the scope is denied', () => {
    fc.assert(
      fc.property(safePath, safeSegment, change, (scope, name, change) => {
        const token = mintToken({ ...TEST_CLAIMS, paths: [scope] });
        const path = `${scope}/${name}`;
        expect(decide(`/${token}${path}`)).toBe('');
        const other = changed(path, change);
        fc.pre(other !== scope && !other.startsWith(`${scope}/`));
        expect(decide(`/${token}${other}`)).not.toBe('');
      }),
      { numRuns },
    );
  });
});

describe('bindings', () => {
  const same = (names: string[], one: Viewing, other: Viewing) =>
    names.every((name) => bindingValue(name, one) === bindingValue(name, other));
  /** A viewer, and what remains of it when some fields are those of another. */
  const pair = fc.tuple(viewing, viewing, fc.nat(15)).map(([one, two, mask]): [Viewing, Viewing] => {
    const from = (bit: number) => (mask & (1 << bit) ? two : one);
    return [
      one,
      {
        viewer: from(0).viewer,
        request: {
          method: from(1).request.method,
          headers: { ...from(2).request.headers, 'x-device': from(3).request.headers['x-device'] as { value: string } },
          querystring: from(1).request.querystring,
        },
      },
    ];
  });

  test('a request is allowed exactly when every bound canonical value is that of minting', () => {
    let [kept, lost] = [0, 0];
    fc.assert(
      fc.property(pair, bindings, ([minted, asked], bnd) => {
        const token = mintToken({ ...TEST_CLAIMS, bnd }, minted);
        const isSame = same(bnd, minted, asked);
        if (isSame) kept++;
        else lost++;
        expect(decide(`/${token}/aurora/x`, asked)).toBe(isSame ? '' : 'binding-mismatch');
      }),
      { numRuns, seed: batch.seed },
    );
    expect(Math.min(kept, lost)).toBeGreaterThan(numRuns / 20);
  });

  describeEngines('in the built function', (engine) => {
    test(`${batch.numRuns} viewers`, async () => {
      const cases = fc.sample(fc.tuple(pair, bindings), batch);
      const events = cases.map(([[minted, asked], bnd]) => ({
        ...viewerRequest(`/${mintToken({ ...TEST_CLAIMS, bnd }, minted)}/aurora/x`, asked.request),
        viewer: asked.viewer,
      }));
      const answers = await outcomes(engine, events);
      const wrong = cases.flatMap(([[minted, asked], bnd], i) => {
        const expected = same(bnd, minted, asked) ? 'allowed /aurora/x' : 'denied binding-mismatch';
        return answers[i] === expected ? [] : [{ answer: answers[i], expected, minted, asked, bnd }];
      });
      expect(wrong.slice(0, 3), `seed ${batch.seed}`).toEqual([]);
    });

    test('an address is the same in whichever spelling', async () => {
      const addresses = fc.sample(fc.tuple(fc.ipV6(), fc.ipV6()), { ...batch, numRuns: batch.numRuns / 5 });
      const cases = addresses.flatMap(([address, other]) => {
        const compressed = new URL(`http://[${address}]/`).hostname.slice(1, -1);
        const expected = canonicalIp(address) === canonicalIp(other) ? 'allowed /aurora/x' : 'denied binding-mismatch';
        return [
          ...[compressed, compressed.toUpperCase(), canonicalIp(address)].map((ip) => ({
            address,
            ip,
            expected: 'allowed /aurora/x',
          })),
          { address, ip: other, expected },
        ];
      });
      const events = cases.map(({ address, ip }) => {
        const token = mintToken({ ...TEST_CLAIMS, bnd: ['ip'] }, { ...TEST_VIEWING, viewer: { ip: address } });
        return { ...viewerRequest(`/${token}/aurora/x`), viewer: { ip } };
      });
      const answers = await outcomes(engine, events);
      const wrong = cases.flatMap((item, i) => (answers[i] === item.expected ? [] : [{ ...item, answer: answers[i] }]));
      expect(wrong.slice(0, 3), `seed ${batch.seed}`).toEqual([]);
    });
  });

  test('what is no address is none, and a canonical address is its own', () => {
    const almost = fc.string({ unit: fc.constantFrom(...'0123456789abcdefABCDEF:.%/ \n'), maxLength: 48 });
    fc.assert(
      fc.property(
        fc.oneof(
          almost,
          fc.ipV4(),
          fc.ipV6(),
          fc.string(),
          fc.ipV4().map((ip) => `::ffff:${ip}`),
        ),
        (text) => {
          const canonical = canonicalIp(text);
          expect(canonicalIp(canonical)).toBe(canonical);
          expect(canonical).toMatch(/^$|^\d{1,3}(?:\.\d{1,3}){3}$|^[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){7}$/);
        },
      ),
      { numRuns: numRuns * 2 },
    );
  });
});
