import { type KeyObject, X509Certificate } from 'node:crypto';
import { AsnConvert } from '@peculiar/asn1-schema';
import * as asn1 from '@peculiar/asn1-x509';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AttestationError } from '../../../enclave-render/attestation/attestation-error.ts';
import { type Certificate, loadKey, readCertificate } from '../../../enclave-render/attestation/certificate.ts';
import { CertificateCache } from '../../../enclave-render/attestation/chain.ts';
import { parseAttestation } from '../../../enclave-render/attestation/verify.ts';
import {
  describeRealDocuments,
  documentOf,
  issueChain,
  policyOf,
  TIMESTAMP,
  verdict,
} from '../../harness/attestation-documents.ts';
import { LONG } from '../../harness/programs.ts';

const CHAIN = issueChain();

/** Holds what was read against two other readers: OpenSSL, and one that is made of the schemas of RFC 5280. */
function expectReadAlike(der: Uint8Array, read: Certificate): void {
  const node = new X509Certificate(der);
  expect(loadKey(read.key).equals(node.publicKey)).toBe(true);
  expect([new Date(read.notBefore), new Date(read.notAfter)]).toEqual([
    new Date(node.validFrom),
    new Date(node.validTo),
  ]);
  expect(read.isCa).toBe(node.ca);
  const schema = AsnConvert.parse(der, asn1.Certificate);
  expect(Buffer.from(AsnConvert.serialize(schema))).toEqual(Buffer.from(der));
  const { tbsCertificate } = schema;
  const name = (value: asn1.Name) => Buffer.from(AsnConvert.serialize(value));
  expect([Buffer.from(read.issuer), Buffer.from(read.subject)]).toEqual([
    name(tbsCertificate.issuer),
    name(tbsCertificate.subject),
  ]);
  const value = (id: string) => tbsCertificate.extensions?.find(({ extnID }) => extnID === id)?.extnValue.buffer;
  const constraints = AsnConvert.parse(value('2.5.29.19') ?? new ArrayBuffer(0), asn1.BasicConstraints);
  expect(read.pathLength).toBe(constraints.pathLenConstraint ?? (read.isCa ? Number.POSITIVE_INFINITY : 0));
  const usage = AsnConvert.parse(value('2.5.29.15') ?? new ArrayBuffer(0), asn1.KeyUsage).toJSON();
  expect([read.maySignData, read.maySignCertificates]).toEqual([
    usage.includes('digitalSignature'),
    usage.includes('keyCertSign'),
  ]);
}

/** What is refused is refused as it should be; what is read with a bit the other way is read as others do, where they can. */
function expectFlipsReadAlike(der: Uint8Array): void {
  for (let bit = 0; bit < der.length * 8; bit += LONG ? 1 : 37) {
    const flipped = Uint8Array.from(der);
    flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    let read: Certificate;
    let key: KeyObject;
    try {
      read = readCertificate(flipped);
      key = loadKey(read.key);
    } catch (error) {
      expect(error).toBeInstanceOf(AttestationError);
      expect(error).toMatchObject({ code: 'ERR_ATTESTATION_CHAIN' });
      continue;
    }
    let node: X509Certificate;
    try {
      node = new X509Certificate(flipped);
    } catch {
      continue;
    }
    expect(key.equals(node.publicKey)).toBe(true);
    expect([read.notBefore, read.notAfter]).toEqual([Date.parse(node.validFrom), Date.parse(node.validTo)]);
  }
}

describeRealDocuments('certificates of AWS', (documents) => {
  const readable = documents.filter(({ at }) => at !== null).map(({ bytes }) => parseAttestation(bytes));

  test('are read as other readers do', () => {
    for (const { cabundle, certificate } of readable)
      for (const der of [...cabundle, certificate]) expectReadAlike(der, readCertificate(der));
  });

  test('have the path lengths of the documentation', () => {
    for (const { cabundle } of readable) {
      const lengths = cabundle.map((der) => readCertificate(der).pathLength);
      expect(lengths).toEqual([Number.POSITIVE_INFINITY, 2, 1, 0]);
    }
  });

  test('with a bit the other way are refused, or read as others do', () => {
    const [first] = readable;
    if (first === undefined) throw new Error('there is a document that can be read');
    for (const der of first.cabundle) expectFlipsReadAlike(der);
  }, 300_000);
});

test('certificates of our own are read as other readers do', () => {
  for (const der of CHAIN.certificates) {
    expectReadAlike(der, readCertificate(der));
    expectFlipsReadAlike(der);
  }
});

test('anything is refused as a certificate that is malformed', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      expect(() => readCertificate(bytes)).toThrow(expect.objectContaining({ code: 'ERR_ATTESTATION_CHAIN' }));
    }),
  );
});

describe('a cache of certificates', () => {
  const MINUTE = 60_000;
  const sibling = issueChain({ leaf: { notAfter: TIMESTAMP + MINUTE } });
  const expired = issueChain({ zonal: { notAfter: TIMESTAMP - 1000 } });
  const [root, , ...rest] = CHAIN.certificates.slice(0, -1);
  const DOCUMENTS = [
    documentOf(CHAIN),
    documentOf(CHAIN, { timestamp: TIMESTAMP + 5 * MINUTE }),
    // Behind the end of the leaf, which the cache knows.
    documentOf(CHAIN, { timestamp: TIMESTAMP + 200 * MINUTE }),
    documentOf(sibling),
    documentOf(expired),
    // The leaf of one below the authorities of the other, and parts of a chain that is known.
    documentOf(CHAIN, { certificate: sibling.certificates.at(-1) }),
    documentOf(sibling, { cabundle: CHAIN.certificates.slice(0, -1) }),
    documentOf(CHAIN, { cabundle: [root, ...rest] }),
    documentOf(CHAIN, { certificate: CHAIN.certificates[3] }),
    documentOf(CHAIN, { cabundle: CHAIN.certificates }),
    // A signature of somebody else over a known chain.
    documentOf({ ...CHAIN, key: sibling.key }),
  ];
  const TIMES = [
    'document' as const,
    ...[-60 * 1440, -10, -1, 0, 1, 2, 100, 179, 200, 1500, 1440 * 30].map((minutes) => TIMESTAMP + minutes * MINUTE),
  ];
  const ROOTS = [[CHAIN.root], [sibling.root], [CHAIN.root, sibling.root, expired.root], []];

  test('gives the answers that there are without one, in any order', () => {
    const question = fc.record({
      document: fc.constantFrom(...DOCUMENTS),
      at: fc.constantFrom(...TIMES),
      roots: fc.constantFrom(...ROOTS),
    });
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.array(question, { minLength: 2, maxLength: 12 }), (questions) => {
        const cache = new CertificateCache();
        for (const { document, at, roots } of questions) {
          const policy = policyOf(CHAIN, { at, roots });
          const plain = verdict(document, policy);
          seen.add(plain);
          expect(verdict(document, policy, cache)).toBe(plain);
        }
      }),
      { numRuns: LONG ? 300 : 12 },
    );
    expect(seen.size).toBeGreaterThan(2);
  });

  test('keeps nothing that was refused, and no more than so much', () => {
    const cache = new CertificateCache();
    for (const document of DOCUMENTS) verdict(document, policyOf(CHAIN, { roots: [] }), cache);
    expect([cache.authorities.size, cache.leaves.size]).toEqual([0, 0]);
    verdict(documentOf(CHAIN, { certificate: CHAIN.certificates[3] }), policyOf(CHAIN), cache);
    expect(cache.leaves.size).toBe(0);
    expect([cache.authorities.max, cache.leaves.max]).toEqual([256, 1024]);
    verdict(documentOf(CHAIN), policyOf(CHAIN), cache);
    expect([cache.authorities.size, cache.leaves.size]).toEqual([1, 1]);
  });
});
