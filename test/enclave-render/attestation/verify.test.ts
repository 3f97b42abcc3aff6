import { createHash } from 'node:crypto';
import { encode } from 'cborg';
import { describe, expect, test } from 'vitest';
import {
  type AttestationPolicy,
  AWS_NITRO_ROOT,
  type Pcrs,
} from '../../../enclave-render/attestation/attestation-document.ts';
import { CertificateCache } from '../../../enclave-render/attestation/chain.ts';
import { CLOCK_SKEW_MS, parseAttestation, verifyAttestation } from '../../../enclave-render/attestation/verify.ts';
import {
  coseSignature,
  describeRealDocuments,
  documentOf,
  envelope,
  fieldsOf,
  genuineness,
  indefiniteMap,
  issueChain,
  NONCE,
  partsOf,
  permission,
  policyOf,
  REGISTERS,
  signPayload,
  TIMESTAMP,
  USER_DATA,
  verdict,
} from '../../harness/attestation-documents.ts';
import { LONG } from '../../harness/programs.ts';

const CHAIN = issueChain();
const OTHER_CHAIN = issueChain();
const DOCUMENT = documentOf(CHAIN);
const PAYLOAD = encode(fieldsOf(CHAIN));

const P384_ORDER = BigInt(
  '0xffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
);
const bytes48 = (value: bigint) => Buffer.from(value.toString(16).padStart(96, '0'), 'hex');

/** Registers as a NitroTPM has them, each of bytes of its own. */
const TPM_REGISTERS = new Map([0, 1, 2, 3, 4, 5, 6, 7, 12, 23].map((index) => [index, Buffer.alloc(48, 16 + index)]));

/** In milliseconds; 36,000 verifications in the long run. */
const FLIPS_TIMEOUT = 600_000;

/** The policy that a document of AWS is held to: everything of it that cannot be known is what it says itself. */
function realPolicy(document: Uint8Array, at: number | 'document', changes: Partial<AttestationPolicy> = {}) {
  const { pcrs, nonce, userData } = parseAttestation(document);
  return {
    profile: 'nitro' as const,
    roots: [AWS_NITRO_ROOT],
    at,
    pcrs,
    nonce: nonce ?? ('any' as const),
    userData: userData ?? ('any' as const),
    ...changes,
  };
}

describeRealDocuments('documents that AWS signed', (documents) => {
  test.each(documents)('$file is what is expected of it, at its own timestamp', ({ bytes, at, expect: expected }) => {
    if (expected === 'REJECT:CBOR' || at === null) {
      expect(() => parseAttestation(bytes)).toThrow(expect.objectContaining({ code: 'ERR_ATTESTATION_CBOR' }));
      return;
    }
    const answer = expected === 'VALID' ? 'ok' : permission('DEBUG');
    expect(parseAttestation(bytes).timestamp).toBe(at);
    expect(verdict(bytes, realPolicy(bytes, at))).toBe(answer);
    expect(verdict(bytes, realPolicy(bytes, 'document'))).toBe(answer);
    // A policy that asks for nothing, or for the registers of debug mode, does not let it in either.
    expect(verdict(bytes, realPolicy(bytes, at, { pcrs: {} }))).toBe(
      expected === 'VALID' ? permission('PCR') : permission('DEBUG'),
    );
    expect(verdict(bytes, realPolicy(bytes, at, { roots: [CHAIN.root] }))).toBe(genuineness('ROOT'));
  });

  test.each(documents)('$file is refused at the clock of today', ({ bytes, at }) => {
    if (at === null) return;
    // The last of them expired in January 2026; whatever this machine takes for today is later than that.
    expect(verdict(bytes, realPolicy(bytes, Date.now()))).toBe(genuineness('TIME'));
  });

  test('do not lend their root to a document of ours', () => {
    for (const { bytes, at } of documents) {
      if (at === null) continue;
      const { cabundle } = parseAttestation(bytes);
      const own = CHAIN.certificates.slice(1, -1);
      const grafted = documentOf(CHAIN, { cabundle: [cabundle[0], ...own] });
      expect(verdict(grafted, policyOf(CHAIN, { roots: [AWS_NITRO_ROOT] }))).toBe(genuineness('CHAIN'));
      // Nor all of their authorities.
      const deeper = documentOf(CHAIN, { cabundle });
      expect(verdict(deeper, policyOf(CHAIN, { roots: [AWS_NITRO_ROOT] }))).toBe(genuineness('CHAIN'));
    }
  });

  test('do not take a signature, a payload or a leaf from each other', () => {
    const [first, second] = documents.filter(({ expect: expected }) => expected === 'VALID');
    if (first === undefined || second === undefined) throw new Error('there are documents that are valid');
    const swapped = Buffer.concat([first.bytes.subarray(0, -96), second.bytes.subarray(-96)]);
    expect(verdict(swapped, realPolicy(first.bytes, 'document'))).toBe(genuineness('SIGNATURE'));
  });

  test(
    'are refused with any bit of one of them the other way',
    () => {
      const valid = documents.find(({ expect: expected }) => expected === 'VALID');
      if (valid === undefined) throw new Error('there is a document that is valid');
      expectEveryFlipRefused(valid.bytes, realPolicy(valid.bytes, 'document'));
    },
    FLIPS_TIMEOUT,
  );
});

test('a document of a chain of our own is accepted under its root, and known by its payload', () => {
  const { certificate, cabundle, ...said } = verifyAttestation(DOCUMENT, policyOf(CHAIN));
  expect([...cabundle, certificate]).toEqual(CHAIN.certificates);
  expect(said).toEqual({
    profile: 'nitro',
    moduleId: 'i-0123456789abcdef0-enc0123456789abcdef',
    timestamp: TIMESTAMP,
    pcrs: policyOf(CHAIN).pcrs,
    publicKey: null,
    userData: new Uint8Array(USER_DATA),
    nonce: new Uint8Array(NONCE),
    payloadSha384: createHash('sha384').update(PAYLOAD).digest('hex'),
    root: CHAIN.root,
  });
});

describe('accepted as well', () => {
  const accepts = (name: string, document: () => Uint8Array, changes: Partial<AttestationPolicy> = {}) =>
    test(name, () => expect(verdict(document(), policyOf(CHAIN, changes))).toBe('ok'));

  accepts('tag 18 before it', () => Buffer.concat([Buffer.of(0xd2), DOCUMENT]));
  accepts('maps of indefinite length', () => signPayload(indefiniteMap(fieldsOf(CHAIN)), CHAIN.key));
  accepts('fields in another order', () =>
    signPayload(
      Buffer.concat([Buffer.of(0xa9), ...[...fieldsOf(CHAIN)].reverse().flatMap(([k, v]) => [encode(k), encode(v)])]),
      CHAIN.key,
    ),
  );
  accepts('a field that is left out instead of null', () => documentOf(CHAIN, { public_key: undefined }));
  accepts(
    'a register with an index far above their number',
    () => documentOf(CHAIN, { pcrs: new Map([...REGISTERS, [31, Buffer.alloc(48, 7)]]) }),
    { pcrs: { ...policyOf(CHAIN).pcrs, 31: '07'.repeat(48) } },
  );
  accepts('registers that the policy does not name', () => DOCUMENT, { pcrs: pick('0') });
  accepts('any nonce and user data, when that is said', () => DOCUMENT, { nonce: 'any', userData: 'any' });
  accepts('a root of several', () => DOCUMENT, { roots: [AWS_NITRO_ROOT, CHAIN.root] });
  accepts('a clock that is five minutes behind', () => DOCUMENT, { at: TIMESTAMP - CLOCK_SKEW_MS });
  accepts('a clock at the last moment of the leaf', () => DOCUMENT, { at: TIMESTAMP - 123 + 179 * 60_000 });
  accepts('its own timestamp, years later', () => DOCUMENT, { at: 'document' });
  accepts('the other signature that anybody can make of a signature', () => malleated(DOCUMENT));

  test('a document of a NitroTPM, by its own profile', () => {
    const document = documentOf(CHAIN, { pcrs: undefined, nitrotpm_pcrs: TPM_REGISTERS });
    const policy = policyOf(CHAIN, { profile: 'nitrotpm', pcrs: { 4: '14'.repeat(48), 12: '1c'.repeat(48) } });
    expect(verdict(document, policy)).toBe('ok');
    expect(verdict(document, { ...policy, profile: 'nitro' })).toBe(genuineness('PAYLOAD'));
    expect(verdict(document, { ...policy, pcrs: { 4: '15'.repeat(48) } })).toBe(permission('PCR'));
    // They are the same on every machine, or of what somebody chose to extend.
    expect(verdict(document, { ...policy, pcrs: { 0: '10'.repeat(48), 12: '1c'.repeat(48) } })).toBe(permission('PCR'));
    const nothing = documentOf(CHAIN, { pcrs: undefined, nitrotpm_pcrs: new Map([[4, Buffer.alloc(48)]]) });
    expect(verdict(nothing, { ...policy, pcrs: { 4: '00'.repeat(48) } })).toBe(permission('DEBUG'));
  });
});

test('a malleated signature makes other bytes and the same payload hash', () => {
  const other = malleated(DOCUMENT);
  expect(other.equals(DOCUMENT)).toBe(false);
  const hashes = [DOCUMENT, other].map((document) => verifyAttestation(document, policyOf(CHAIN)).payloadSha384);
  expect(hashes[0]).toBe(hashes[1]);
});

describe('refused for its signature', () => {
  const signature = coseSignature(PAYLOAD, CHAIN.key);
  const [r, s] = [signature.subarray(0, 48), signature.subarray(48)];
  const zero = Buffer.alloc(48);
  test.each<[string, Uint8Array]>([
    ['all zero', Buffer.alloc(96)],
    ['all ones', Buffer.alloc(96, 0xff)],
    ['r of zero', Buffer.concat([zero, s])],
    ['s of zero', Buffer.concat([r, zero])],
    ['r of the order', Buffer.concat([bytes48(P384_ORDER), s])],
    ['s of the order', Buffer.concat([r, bytes48(P384_ORDER)])],
    ['r and s changed over', Buffer.concat([s, r])],
    ['of another payload', coseSignature(encode(fieldsOf(CHAIN, { nonce: null })), CHAIN.key)],
    ['with another context', coseSignature(PAYLOAD, CHAIN.key, Buffer.alloc(0))],
  ])('%s', (_, other) => {
    expect(verdict(envelope(PAYLOAD, other), policyOf(CHAIN))).toBe(genuineness('SIGNATURE'));
  });
});

describe('refused for what the caller asks', () => {
  const debug = (...indices: number[]) =>
    new Map([...REGISTERS].map(([index, value]) => [index, indices.includes(index) ? Buffer.alloc(48) : value]));
  const zero = '00'.repeat(48);
  test.each<[string, string, Partial<AttestationPolicy>, Record<string, unknown>?]>([
    ['no root at all', genuineness('ROOT'), { roots: [] }],
    ['the root of AWS', genuineness('ROOT'), { roots: [AWS_NITRO_ROOT] }],
    ['a root in capitals', genuineness('ROOT'), { roots: [CHAIN.root.toUpperCase()] }],
    ['a time before the document', genuineness('TIME'), { at: TIMESTAMP - CLOCK_SKEW_MS - 1 }],
    ['a time behind the end of the leaf', genuineness('TIME'), { at: TIMESTAMP - 122 + 179 * 60_000 }],
    ['a time that is none', genuineness('TIME'), { at: Number.NaN }],
    ['a time at the end of all', genuineness('TIME'), { at: Number.POSITIVE_INFINITY }],
    ['debug mode', permission('DEBUG'), {}, { pcrs: debug(0, 1, 2) }],
    [
      'debug mode, and registers of zero asked for',
      permission('DEBUG'),
      { pcrs: { 0: zero } },
      { pcrs: debug(0, 1, 2) },
    ],
    ['debug mode, and no register asked for', permission('DEBUG'), { pcrs: {} }, { pcrs: debug(0, 1, 2) }],
    ['PCR0 of zero alone', permission('DEBUG'), {}, { pcrs: debug(0) }],
    ['no registers', permission('PCR'), { pcrs: {} }],
    ['PCR8 alone', permission('PCR'), { pcrs: pick('8') }],
    ['PCR1 and PCR2 without PCR0', permission('PCR'), { pcrs: pick('1', '2') }],
    ['another PCR0', permission('PCR'), { pcrs: { 0: '11'.repeat(48) } }],
    ['PCR0 in capitals', permission('PCR'), { pcrs: { 0: policyOf(CHAIN).pcrs['0']?.toUpperCase() ?? '' } }],
    ['an empty PCR0', permission('PCR'), { pcrs: { 0: '' } }],
    ['the first half of PCR0', permission('PCR'), { pcrs: { 0: policyOf(CHAIN).pcrs['0']?.slice(0, 48) ?? '' } }],
    ['another PCR8 beside PCR0', permission('PCR'), { pcrs: { ...pick('0'), 8: '11'.repeat(48) } }],
    ['a register that the document does not have', permission('PCR'), { pcrs: { ...pick('0'), 5: zero } }],
    ['a register that every object has', permission('PCR'), { pcrs: { ...pick('0'), constructor: zero } }],
    ['another nonce', permission('NONCE'), { nonce: Buffer.from('another') }],
    ['a nonce that it begins with', permission('NONCE'), { nonce: NONCE.subarray(0, 5) }],
    ['an empty nonce', permission('NONCE'), { nonce: Buffer.alloc(0) }],
    ['a nonce, of a document that has none', permission('NONCE'), {}, { nonce: null }],
    ['an empty nonce, of a document that has none', permission('NONCE'), { nonce: Buffer.alloc(0) }, { nonce: null }],
    ['no nonce that a caller forgot', permission('NONCE'), { nonce: undefined as unknown as 'any' }, { nonce: null }],
    ['other user data', permission('USER_DATA'), { userData: Buffer.from('another') }],
    ['user data, of a document that has none', permission('USER_DATA'), {}, { user_data: null }],
  ])('%s: %s', (_, expected, policy, changes) => {
    expect(verdict(documentOf(CHAIN, changes), policyOf(CHAIN, policy))).toBe(expected);
  });

  test('in the order of the checks: a document with everything wrong is refused for the first', () => {
    const [Time, Chain] = [issueChain({ leaf: { notAfter: TIMESTAMP - 1000 } }), issueChain({ leaf: { ca: true } })];
    const wrong = { pcrs: debug(0, 1, 2), nonce: null, user_data: null };
    const none = { pcrs: {}, nonce: Buffer.of(1), userData: Buffer.of(1) };
    const unsigned = (chain: typeof CHAIN) => signPayload(encode(fieldsOf(chain, wrong)), OTHER_CHAIN.key);
    const codes = [
      verdict(unsigned(Chain), policyOf(Chain, { ...none, roots: [] })),
      verdict(unsigned(Chain), policyOf(Chain, none)),
      verdict(unsigned(Time), policyOf(Time, none)),
      verdict(documentOf(Time, wrong), policyOf(Time, none)),
      verdict(documentOf(CHAIN, wrong), policyOf(CHAIN, none)),
      verdict(documentOf(CHAIN, { ...wrong, pcrs: REGISTERS }), policyOf(CHAIN, none)),
      verdict(documentOf(CHAIN, { nonce: null, user_data: null }), policyOf(CHAIN, { ...none, pcrs: pick('0') })),
      verdict(documentOf(CHAIN, { user_data: null }), policyOf(CHAIN, { userData: Buffer.of(1) })),
    ];
    expect(codes.map((code) => code.replace(/.*ERR_ATTESTATION_/, ''))).toEqual([
      'ROOT',
      'CHAIN',
      'SIGNATURE',
      'TIME',
      'DEBUG',
      'PCR',
      'NONCE',
      'USER_DATA',
    ]);
  });
});

test('no message says what a document says', () => {
  const secret = { module_id: 'i-secret', user_data: Buffer.from('secret'), nonce: Buffer.from('secret') };
  for (const policy of [{}, { roots: [] }, { at: 0 }, { pcrs: {} }, { nonce: 'any' as const }]) {
    try {
      verifyAttestation(documentOf(CHAIN, secret), policyOf(CHAIN, policy));
      expect.unreachable();
    } catch (error) {
      expect(String(error)).not.toContain('secret');
    }
  }
});

test(
  'a document is refused with any of its bits the other way',
  () => {
    expectEveryFlipRefused(DOCUMENT, policyOf(CHAIN));
  },
  FLIPS_TIMEOUT,
);

test('a document is refused when it ends early, wherever', () => {
  for (let length = 0; length < DOCUMENT.length; length += LONG ? 1 : 23)
    expect(verdict(DOCUMENT.subarray(0, length), policyOf(CHAIN))).toMatch(
      /^AttestationError ERR_ATTESTATION_(SIZE|CBOR)$/,
    );
});

/** All of them in the long run, else one in 61, which comes to every bit of a byte and to every part of a document. */
function expectEveryFlipRefused(document: Uint8Array, policy: AttestationPolicy): void {
  const cache = new CertificateCache();
  expect(verdict(document, policy, cache)).toBe('ok');
  for (let bit = 0; bit < document.length * 8; bit += LONG ? 1 : 61) {
    const flipped = Uint8Array.from(document);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    const refused = verdict(flipped, policy, cache);
    if (!refused.startsWith('AttestationError ')) expect.fail(`bit ${bit}: ${refused}`);
  }
}

/** The registers that a policy names, as they are. */
function pick(...indices: string[]): Pcrs {
  const { pcrs } = policyOf(CHAIN);
  return Object.fromEntries(indices.map((index) => [index, pcrs[index] ?? '']));
}

/** With n − s for s: it verifies under the same key, and nobody needs that key to make it. */
function malleated(document: Uint8Array): Buffer {
  const [, , payload, signature] = partsOf(document);
  const s = BigInt(`0x${Buffer.from(signature.subarray(48)).toString('hex')}`);
  return envelope(payload, Buffer.concat([signature.subarray(0, 48), bytes48(P384_ORDER - s)]));
}
