import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalIp, isInScope, isUnsafePath, mint, readClaims, redact } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { decide, NOW, parseToken, TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from '../harness/minting.ts';
import { LONG } from '../harness/programs.ts';

const numRuns = LONG ? 20_000 : 500;

const base62 = fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789');
const segment = fc.string({ unit: fc.constantFrom(...'abcXYZ019-_~'), minLength: 1, maxLength: 12 });
const path = fc.array(segment, { minLength: 1, maxLength: 5 }).map((segments) => `/${segments.join('/')}`);
const claims = fc.record({
  sid: fc.string({ unit: base62, minLength: 12, maxLength: 64 }),
  aid: fc.string({ minLength: 1, maxLength: 64 }),
  lifetime: fc.integer({ min: 1, max: 86400 }),
  paths: fc.array(path, { minLength: 1, maxLength: 4 }),
});

describe('mint and verify', () => {
  test('what is minted is verified, below each of its scopes', () => {
    fc.assert(
      fc.property(claims, segment, ({ sid, aid, lifetime, paths }, file) => {
        const token = mint(
          { sid, aid, iat: NOW, exp: NOW + lifetime, sst: NOW, paths },
          TEST_KEY,
          TEST_VIEWING,
          nodeCrypto,
        );
        for (const scope of paths) {
          const uri = `/${token}${scope}/${file}`;
          expect(decide(uri)).toBe('');
          expect(readClaims(nodeCrypto.decode(parseToken(uri).payload))).toMatchObject({ sid, aid });
        }
      }),
      { numRuns },
    );
  });

  test('any changed character of a token is denied', () => {
    const token = mint({ ...TEST_CLAIMS, bnd: ['ip'] }, TEST_KEY, TEST_VIEWING, nodeCrypto);
    const printable = fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code));
    fc.assert(
      fc.property(fc.nat(token.length - 1), printable, (position, character) => {
        fc.pre(token[position] !== character);
        const changed = token.slice(0, position) + character + token.slice(position + 1);
        expect(decide(`/${changed}/aurora/x`)).not.toBe('');
      }),
      { numRuns: numRuns * 4 },
    );
  });

  test('parse never throws, whatever the URI', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.webPath()), (uri) => {
        expect(decide(uri)).not.toBe('');
      }),
      { numRuns },
    );
  });
});

describe('paths', () => {
  test('a scope opens itself and what is below it, nothing beside it', () => {
    fc.assert(
      fc.property(path, segment, (scope, name) => {
        expect(isInScope(scope, [scope])).toBe(true);
        expect(isInScope(`${scope}/${name}`, [scope])).toBe(true);
        expect(isInScope(`${scope}${name}`, [scope])).toBe(false);
      }),
      { numRuns },
    );
  });

  test('a safe path means the same however often it is decoded or resolved', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'/.%25efac\\;a'), maxLength: 16 }), (text) => {
        const candidate = `/${text}`;
        fc.pre(!isUnsafePath(candidate));
        const decoded = decodeURIComponent(candidate.replaceAll(/%[89a-f][0-9a-f]/gi, 'x'));
        expect(new URL(candidate, 'http://h').pathname).toBe(candidate);
        expect(decoded).not.toMatch(/\/\/|\\|\/\.{1,2}(?:[/;]|$)|%/);
      }),
      { numRuns: numRuns * 10 },
    );
  });
});

test('the canonical spelling of an address is its own canonical spelling', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.ipV4Extended()), (text) => {
      const canonical = canonicalIp(text);
      expect(canonicalIp(canonical)).toBe(canonical);
    }),
    { numRuns },
  );
});

test('an IPv6 address has one canonical spelling, the one that URL parsing agrees with', () => {
  fc.assert(
    fc.property(fc.ipV6(), (text) => {
      const compressed = new URL(`http://[${text}]/`).hostname.slice(1, -1);
      expect(canonicalIp(text)).not.toBe('');
      expect(canonicalIp(compressed)).toBe(canonicalIp(text));
    }),
    { numRuns },
  );
});

test('a redacted text never holds the signature of a token that was in it', () => {
  const token = mint(TEST_CLAIMS, TEST_KEY, TEST_VIEWING, nodeCrypto);
  const signature = token.slice(token.lastIndexOf('.') + 1);
  fc.assert(
    fc.property(fc.string(), fc.string(), (before, after) => {
      expect(redact(`${before}${token}${after}`)).not.toContain(signature);
    }),
    { numRuns },
  );
});
