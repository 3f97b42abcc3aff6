import { encode, Tagged } from 'cborg';
import { describe, expect, test } from 'vitest';
import {
  coseSignature,
  documentOf,
  envelope,
  fieldsOf,
  genuineness,
  indefiniteMap,
  issueChain,
  NONCE,
  PROTECTED_HEADER,
  partsOf,
  policyOf,
  REGISTERS,
  signPayload,
  TIMESTAMP,
  verdict,
} from '../../harness/attestation-documents.ts';

const CHAIN = issueChain();
const DOCUMENT = documentOf(CHAIN);
const PAYLOAD = encode(fieldsOf(CHAIN));

/** What is wrong, the code, the document. */
type Negative = [name: string, code: string, document: () => Uint8Array];

describe('refused for its structure', () => {
  const field = (name: string, changes: Record<string, unknown>, code = 'PAYLOAD'): Negative => [
    name,
    code,
    () => documentOf(CHAIN, changes),
  ];
  const zeroes = (n: number) => Buffer.alloc(n, 1);
  const negatives: Negative[] = [
    ['nothing', 'SIZE', () => Buffer.alloc(0)],
    ['more bytes than a document can have', 'SIZE', () => Buffer.concat([DOCUMENT, Buffer.alloc(16_384)])],
    ['a byte behind the end', 'CBOR', () => Buffer.concat([DOCUMENT, Buffer.of(0)])],
    ['a second document behind it', 'CBOR', () => Buffer.concat([DOCUMENT, DOCUMENT])],
    ['the last byte missing', 'CBOR', () => DOCUMENT.subarray(0, -1)],
    ['not CBOR', 'CBOR', () => Buffer.from('{"module_id":"i-0"}')],
    ['base64 of a document', 'CBOR', () => Buffer.from(DOCUMENT.toString('base64'))],
    ['tag 18 twice', 'CBOR', () => Buffer.concat([Buffer.of(0xd2, 0xd2), DOCUMENT])],
    ['tag 98, COSE_Sign', 'CBOR', () => Buffer.concat([Buffer.of(0xd8, 98), DOCUMENT])],
    [
      'an envelope of indefinite length',
      'CBOR',
      () => Buffer.concat([Buffer.of(0x9f), DOCUMENT.subarray(1), Buffer.of(0xff)]),
    ],
    [
      'a length that is not the shortest',
      'CBOR',
      () => Buffer.concat([DOCUMENT.subarray(0, 1), Buffer.of(0x58, 4), DOCUMENT.subarray(2)]),
    ],
    ['a nesting that no stack holds', 'CBOR', () => Buffer.alloc(16_000, 0x81)],
    ['an array of five', 'COSE', () => Buffer.from(encode([...partsOf(DOCUMENT), 0]))],
    ['a map', 'COSE', () => Buffer.from(encode(new Map([[1, 2]])))],
    ['ES256 in its header', 'COSE', () => reheaded(Buffer.from('a10126', 'hex'))],
    ['an empty protected header', 'COSE', () => reheaded(Buffer.alloc(0))],
    ['one more protected header', 'COSE', () => reheaded(Buffer.from('a201382204410a', 'hex'))],
    ['the same header, encoded otherwise', 'COSE', () => reheaded(Buffer.from('a101390022', 'hex'))],
    [
      'an unprotected header',
      'COSE',
      () =>
        Buffer.from(
          encode([PROTECTED_HEADER, new Map([[4, Buffer.of(1)]]), PAYLOAD, coseSignature(PAYLOAD, CHAIN.key)]),
        ),
    ],
    [
      'a payload beside it (detached)',
      'COSE',
      () => Buffer.from(encode([PROTECTED_HEADER, new Map(), null, coseSignature(PAYLOAD, CHAIN.key)])),
    ],
    ['no payload', 'COSE', () => signPayload(Buffer.alloc(0), CHAIN.key)],
    ['a signature of 95 bytes', 'COSE', () => envelope(PAYLOAD, coseSignature(PAYLOAD, CHAIN.key).subarray(1))],
    ['a payload that is not CBOR', 'CBOR', () => signPayload(Buffer.from('what'), CHAIN.key)],
    ['a byte behind the payload', 'CBOR', () => signPayload(Buffer.concat([PAYLOAD, Buffer.of(0)]), CHAIN.key)],
    ['a payload in a tag', 'CBOR', () => signPayload(encode(new Tagged(18, 1)), CHAIN.key)],
    ['a field twice', 'CBOR', () => signPayload(withTwice('nonce', NONCE), CHAIN.key)],
    ['a register twice', 'CBOR', () => signPayload(withRegisterTwice(), CHAIN.key)],
    ['bytes in pieces of indefinite length', 'CBOR', () => signPayload(withNonce('5f4101ff'), CHAIN.key)],
    ['the end of a map in the place of a value', 'CBOR', () => signPayload(withNonce(''), CHAIN.key)],
    ['a map without its end', 'CBOR', () => signPayload(indefiniteMap(fieldsOf(CHAIN)).subarray(0, -1), CHAIN.key)],
    ['a payload that is no map', 'PAYLOAD', () => signPayload(encode([1, 2]), CHAIN.key)],
    field('a field that no document has', { pcrs_more: 1 }),
    field('a number for a field', { module_id: 7 }),
    field('no module id', { module_id: undefined }),
    field('an empty module id', { module_id: '' }),
    field('a module id that a terminal would obey', { module_id: 'i-0\u001b[2J' }),
    field('another digest', { digest: 'SHA256' }),
    field('no digest', { digest: undefined }),
    field('a timestamp of zero', { timestamp: 0 }),
    field('a negative timestamp', { timestamp: -1 }),
    field('a timestamp with a fraction', { timestamp: TIMESTAMP + 0.5 }),
    field('a timestamp that is a text', { timestamp: String(TIMESTAMP) }),
    field('a timestamp behind the year 9999', { timestamp: 253_402_300_800_000 }),
    field('a timestamp that no number holds', { timestamp: 2n ** 60n }, 'CBOR'),
    field('no registers', { pcrs: undefined }),
    field('an empty map of registers', { pcrs: new Map() }),
    field('registers in an array', { pcrs: [...REGISTERS.values()] }),
    field('a register of 32 bytes', { pcrs: new Map([[0, zeroes(32)]]) }),
    field('a register of 49 bytes', { pcrs: new Map([[0, zeroes(49)]]) }),
    field('a register 32', { pcrs: new Map([...REGISTERS, [32, zeroes(48)]]) }),
    field('a register -1', { pcrs: new Map([...REGISTERS, [-1, zeroes(48)]]) }),
    field('a register by name', { pcrs: new Map([['0', zeroes(48)]]) }),
    field('registers of two profiles', { nitrotpm_pcrs: REGISTERS }),
    field('registers of the other profile', { pcrs: undefined, nitrotpm_pcrs: REGISTERS }),
    field('no certificate', { certificate: undefined }),
    field('a certificate of null', { certificate: null }),
    field('a certificate of 1,025 bytes', { certificate: zeroes(1025) }),
    field('no authorities', { cabundle: undefined }),
    field('an empty list of authorities', { cabundle: [] }),
    field('an authority that is a text', { cabundle: ['root'] }),
    field('an empty public key', { public_key: Buffer.alloc(0) }),
    field('a public key of 1,025 bytes', { public_key: zeroes(1025) }),
    field('user data of 513 bytes', { user_data: zeroes(513) }),
    field('a nonce of 513 bytes', { nonce: zeroes(513) }),
    field('a nonce that is a text', { nonce: 'nonce' }),
  ];
  test.each(negatives)('%s: %s', (_, code, document) => {
    expect(verdict(document(), policyOf(CHAIN))).toBe(genuineness(code));
  });
});

/** Signed under another protected header, which it says. */
function reheaded(header: Uint8Array): Buffer {
  return Buffer.from(encode([header, new Map(), PAYLOAD, coseSignature(PAYLOAD, CHAIN.key, header)]));
}

/** A payload whose nonce is written so, in hexadecimal. */
function withNonce(value: string): Buffer {
  const others = indefiniteMap(fieldsOf(CHAIN, { nonce: undefined })).subarray(0, -1);
  return Buffer.concat([others, encode('nonce'), Buffer.from(value, 'hex'), Buffer.of(0xff)]);
}

/** A payload with a field twice. */
function withTwice(name: string, value: unknown): Buffer {
  const entries = indefiniteMap(fieldsOf(CHAIN)).subarray(0, -1);
  return Buffer.concat([entries, encode(name), encode(value), Buffer.of(0xff)]);
}

/** A payload whose PCR0 is there as the policy wants it, and once more. */
function withRegisterTwice(): Buffer {
  const registers = Buffer.concat([
    indefiniteMap(REGISTERS).subarray(0, -1),
    encode(0),
    encode(Buffer.alloc(48, 1)),
    Buffer.of(0xff),
  ]);
  const others = indefiniteMap(fieldsOf(CHAIN, { pcrs: undefined })).subarray(0, -1);
  return Buffer.concat([others, encode('pcrs'), registers, Buffer.of(0xff)]);
}
