import { KeyUsage, KeyUsageFlags, type TBSCertificate } from '@peculiar/asn1-x509';
import { encode } from 'cborg';
import { describe, expect, test } from 'vitest';
import {
  type CertificatePlan,
  documentOf,
  element,
  extension,
  fieldsOf,
  genuineness,
  issueChain,
  type Level,
  policyOf,
  signPayload,
  TIMESTAMP,
  verdict,
} from '../../harness/attestation-documents.ts';

const CHAIN = issueChain();
const OTHER_CHAIN = issueChain();
const PAYLOAD = encode(fieldsOf(CHAIN));

describe('refused for its chain', () => {
  /** A document under a chain of its own in which one certificate is another. */
  const chain = (name: string, level: Level, plan: Partial<CertificatePlan>, code = 'CHAIN') =>
    [name, code, level, plan] as const;

  test.each([
    chain('an authority that is none', 'instance', { ca: false, pathLength: undefined }),
    chain('an authority that may not sign certificates', 'zonal', { usage: KeyUsageFlags.digitalSignature }),
    chain('a root that is no authority', 'root', { ca: false }),
    chain('a leaf that is an authority', 'leaf', { ca: true }),
    chain('a leaf that may sign certificates', 'leaf', {
      usage: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyCertSign,
    }),
    chain('a leaf that may not sign', 'leaf', { usage: KeyUsageFlags.keyAgreement }),
    chain('a path that is longer than the region allows', 'regional', { pathLength: 1 }),
    chain('a path that is longer than the zone allows', 'zonal', { pathLength: 0 }),
    chain('a path that is longer than the root allows', 'root', { pathLength: 2 }),
    chain('an authority of another issuer', 'zonal', { issuer: 'somebody else' }),
    chain('an issuer whose name is written otherwise', 'zonal', {
      issuer: 'Regional',
    }),
    chain('a leaf of another issuer', 'leaf', { issuer: 'zonal' }),
    chain('an authority signed by another root', 'regional', { signedBy: OTHER_CHAIN.keys.root }),
    chain('a leaf signed by the zone, not the instance', 'leaf', { signedBy: OTHER_CHAIN.keys.instance }),
    chain('a certificate signed under SHA-256', 'zonal', { hash: 'sha256' }),
    chain('a certificate signed under SHA-512', 'leaf', { hash: 'sha512' }),
    chain('an authority with a key of P-256', 'instance', { curve: 'P-256' }),
    chain('an authority with a key of P-521', 'zonal', { curve: 'P-521' }),
    chain('a critical extension that nobody knows', 'zonal', {
      extensions: [extension('1.2.3.4', true, Buffer.of(5, 0))],
    }),
    chain('name constraints', 'regional', {
      extensions: [extension('2.5.29.30', true, Buffer.of(0x30, 0))],
    }),
    chain('an extension twice', 'leaf', { extensions: [extension('2.5.29.14', false, Buffer.of(4, 0))] }),
    chain('key usage twice', 'leaf', {
      extensions: [extension('2.5.29.15', true, new KeyUsage(KeyUsageFlags.digitalSignature))],
    }),
    chain('no key usage in a leaf', 'leaf', { alter: without('2.5.29.15') }),
    chain('no key usage in an authority', 'instance', { alter: without('2.5.29.15') }),
    chain('no basic constraints in an authority', 'instance', { alter: without('2.5.29.19') }),
    chain('no extensions at all', 'leaf', {
      alter: (signedPart) => {
        delete signedPart.extensions;
      },
    }),
    chain('version 1', 'leaf', {
      alter: (signedPart) => {
        signedPart.version = 0;
      },
    }),
    chain('a unique id of its issuer', 'leaf', {
      alter: (signedPart) => {
        signedPart.issuerUniqueID = new Uint8Array([1]).buffer;
      },
    }),
    chain('a boolean that is false and written down', 'leaf', { alter: rewrite('2.5.29.19', '3003010100') }),
    chain('a boolean that is neither', 'instance', { alter: rewrite('2.5.29.19', '3003010101') }),
    chain('a path length of a leaf', 'leaf', { alter: rewrite('2.5.29.19', '3003020100') }),
    chain('a path length below zero', 'instance', { alter: rewrite('2.5.29.19', '30060101ff0201ff') }),
    chain('a path length of two bytes', 'instance', { alter: rewrite('2.5.29.19', '30070101ff02020100') }),
    chain('a path length with a zero before it', 'instance', { alter: rewrite('2.5.29.19', '30070101ff02020000') }),
    chain('something behind basic constraints', 'instance', { alter: rewrite('2.5.29.19', '30060101ff0201000500') }),
    chain('key usage with a zero bit behind the last', 'leaf', { alter: rewrite('2.5.29.15', '03020080') }),
    chain('key usage of no bits', 'leaf', { alter: rewrite('2.5.29.15', '030100') }),
    chain('a length that is not the shortest', 'leaf', { alterBytes: longerLength }),
    chain('an indefinite length', 'leaf', {
      alterBytes: (der) => Buffer.concat([Buffer.of(0x30, 0x80), body(der), Buffer.of(0, 0)]),
    }),
    chain('something behind the last field', 'leaf', {
      alterBytes: (der) => element(0x30, Buffer.concat([body(der), Buffer.of(5, 0)])),
    }),
    chain('a serial number with a zero before it', 'leaf', { alterBytes: replace('020401020304', '02050001020304') }),
    chain('a date that is in no calendar', 'leaf', {
      alterBytes: replace(date('260301115900Z'), date('260231115900Z')),
    }),
    chain('a date without seconds', 'leaf', { alterBytes: replace(date('260301115900Z'), date('2603011159Z')) }),
    chain('a date with a zone', 'leaf', { alterBytes: replace(date('260301115900Z'), date('260301115900+0000')) }),
    chain('a date of this century as GeneralizedTime', 'leaf', {
      alterBytes: replace(date('260301115900Z'), date('20260301115900Z', 0x18)),
    }),
    chain('a key that is no point of the curve', 'leaf', { alterBytes: offCurve }),
    chain('an authority that has expired', 'zonal', { notAfter: TIMESTAMP - 1000 }, 'TIME'),
    chain('an authority that is not valid yet', 'zonal', { notBefore: TIMESTAMP + 1000 }, 'TIME'),
    chain('a leaf that has expired', 'leaf', { notAfter: TIMESTAMP - 1000 }, 'TIME'),
    chain('a leaf that is not valid yet', 'leaf', { notBefore: TIMESTAMP + 1000 }, 'TIME'),
    chain('a leaf that ends within the second', 'leaf', { notAfter: TIMESTAMP - 123 }, 'TIME'),
  ])('%s: %s', (_, code, level, plan) => {
    const altered = issueChain({ [level]: plan });
    for (const at of [TIMESTAMP, 'document'] as const)
      expect(verdict(documentOf(altered), policyOf(altered, { at }))).toBe(genuineness(code));
  });

  test('and not for being altered: what is rewritten as it was is accepted', () => {
    const same: Partial<CertificatePlan>[] = [
      { alter: rewrite('2.5.29.15', '030206c0') },
      { alter: rewrite('2.5.29.19', '3000') },
      { alterBytes: (der) => element(0x30, body(der)) },
      { alterBytes: replace('020401020304', '020401020304') },
      { extensions: [extension('1.2.3.4', false, Buffer.of(5, 0))] },
      { alter: without('2.5.29.14') },
    ];
    for (const plan of same) {
      const chain = issueChain({ leaf: plan });
      expect(verdict(documentOf(chain), policyOf(chain))).toBe('ok');
    }
  });

  test('a leaf with a key of P-256, whatever signs the document', () => {
    const altered = issueChain({ leaf: { curve: 'P-256' } });
    const document = signPayload(encode(fieldsOf(altered)), OTHER_CHAIN.key);
    expect(verdict(document, policyOf(altered))).toBe(genuineness('CHAIN'));
  });

  test('an authority that is left out', () => {
    const skipping = documentOf(CHAIN, { cabundle: CHAIN.certificates.slice(0, 3) });
    expect(verdict(skipping, policyOf(CHAIN))).toBe(genuineness('CHAIN'));
  });

  test('authorities the other way round', () => {
    const [root, ...others] = CHAIN.certificates.slice(0, -1);
    const turned = documentOf(CHAIN, { cabundle: [root, ...others.reverse()] });
    expect(verdict(turned, policyOf(CHAIN))).toBe(genuineness('CHAIN'));
    const leafFirst = documentOf(CHAIN, { cabundle: CHAIN.certificates.slice(0, -1).reverse() });
    expect(verdict(leafFirst, policyOf(CHAIN))).toBe(genuineness('ROOT'));
  });

  test('a leaf that plays authority for a leaf of its own', () => {
    const forged = issueChain({
      leaf: { signedBy: CHAIN.keys.leaf, issuer: 'leaf' },
    });
    const document = signPayload(
      encode(fieldsOf(forged, { cabundle: CHAIN.certificates, certificate: forged.certificates.at(-1) })),
      forged.key,
    );
    expect(verdict(document, policyOf(CHAIN))).toBe(genuineness('CHAIN'));
  });

  test('a root that is trusted, grafted onto a chain of somebody else', () => {
    const grafted = documentOf(OTHER_CHAIN, {
      cabundle: [CHAIN.certificates[0], ...OTHER_CHAIN.certificates.slice(1, -1)],
    });
    expect(verdict(grafted, policyOf(CHAIN))).toBe(genuineness('CHAIN'));
  });

  test('a trusted root that is there, but not the first', () => {
    const behind = documentOf(OTHER_CHAIN, {
      cabundle: [...OTHER_CHAIN.certificates.slice(0, -1), CHAIN.certificates[0]],
    });
    expect(verdict(behind, policyOf(CHAIN))).toBe(genuineness('ROOT'));
  });

  test('a root of the same name and another key', () => {
    expect(verdict(documentOf(OTHER_CHAIN), policyOf(CHAIN))).toBe(genuineness('ROOT'));
  });

  test('garbage instead of a certificate', () => {
    for (const garbage of [Buffer.of(0x30), Buffer.of(0x30, 0x80, 0, 0), Buffer.alloc(600, 0x30), Buffer.from('leaf')])
      expect(verdict(documentOf(CHAIN, { certificate: garbage }), policyOf(CHAIN))).toBe(genuineness('CHAIN'));
  });

  test('the key of another document is not the key of the leaf', () => {
    expect(verdict(signPayload(PAYLOAD, OTHER_CHAIN.key), policyOf(CHAIN))).toBe(genuineness('SIGNATURE'));
  });
});

type Alteration = (signedPart: TBSCertificate) => void;

function without(id: string): Alteration {
  return (signedPart) => {
    const extensions = signedPart.extensions;
    const index = extensions?.findIndex(({ extnID }) => extnID === id) ?? -1;
    if (index < 0) throw new Error(`there is no extension ${id}`);
    extensions?.splice(index, 1);
  };
}

/** Gives an extension another value, in hexadecimal. */
function rewrite(id: string, value: string): Alteration {
  return (signedPart) => {
    const extension = signedPart.extensions?.find(({ extnID }) => extnID === id);
    if (extension === undefined) throw new Error(`there is no extension ${id}`);
    extension.extnValue.buffer = new Uint8Array(Buffer.from(value, 'hex')).buffer;
  };
}

/** The contents of an element with two bytes of length. */
const body = (der: Buffer) => der.subarray(4);

/** The first length, below the outermost, in one byte more than it needs. */
function longerLength(der: Buffer): Buffer {
  // [0] { INTEGER 2 } is the first field.
  return element(0x30, Buffer.concat([Buffer.from('a08103020102', 'hex'), body(der).subarray(5)]));
}

/** Puts other bytes in the place of the first that are these, in hexadecimal, and mends the length around them. */
function replace(from: string, to: string): (der: Buffer) => Buffer {
  return (der) => {
    const contents = body(der);
    const at = contents.indexOf(Buffer.from(from, 'hex'));
    if (at < 0) throw new Error(`${from} is not there`);
    const rest = contents.subarray(at + from.length / 2);
    return element(0x30, Buffer.concat([contents.subarray(0, at), Buffer.from(to, 'hex'), rest]));
  };
}

/** A time as an element, in hexadecimal. */
function date(text: string, tag = 0x17): string {
  return element(tag, Buffer.from(text)).toString('hex');
}

/** Alters y of the public key. */
function offCurve(der: Buffer): Buffer {
  const altered = Buffer.from(der);
  const y = altered.indexOf(Buffer.from('03620004', 'hex')) + 4 + 48;
  altered[y + 47] = (altered[y + 47] ?? 0) ^ 1;
  return altered;
}
