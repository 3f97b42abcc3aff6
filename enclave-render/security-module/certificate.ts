import { createHash, type KeyObject, sign } from 'node:crypto';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  AuthorityKeyIdentifier,
  BasicConstraints,
  Certificate,
  CRLDistributionPoints,
  DistributionPoint,
  DistributionPointName,
  Extension,
  Extensions,
  GeneralName,
  id_ce_authorityKeyIdentifier,
  id_ce_basicConstraints,
  id_ce_cRLDistributionPoints,
  id_ce_keyUsage,
  id_ce_subjectKeyIdentifier,
  KeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
  Version,
} from '@peculiar/asn1-x509';

/** ecdsa-with-SHA384 (RFC 5758 §3.2). */
const ECDSA_WITH_SHA384 = '1.2.840.10045.4.3.3';
/** Attributes of names (RFC 5280 §4.1.2.4, appendix A.1). */
const ATTRIBUTES = { O: '2.5.4.10', OU: '2.5.4.11', CN: '2.5.4.3' };

/** What a certificate of the simulated chain says. */
export interface CertificateContent {
  /** Unsigned, big-endian, its first bit not set. */
  serialNumber: Uint8Array;
  /** At most 64 characters (ub-common-name). */
  commonName: string;
  publicKey: KeyObject;
  notBefore: Date;
  notAfter: Date;
  /** A certification authority, with how many may be below it, or `false` for the leaf. */
  authority: { pathLength?: number } | false;
  keyUsage: (keyof typeof KeyUsageFlags)[];
  /** URL of a revocation list. */
  revocationList?: string;
}

/** Who signs a certificate: P-384. */
export interface Issuer {
  commonName: string;
  privateKey: KeyObject;
  publicKey: KeyObject;
}

/**
 * A certificate (RFC 5280 §4.1) in DER, signed by ECDSA with SHA-384, with the extensions that those of AWS Nitro
 * attestation have: basic constraints and key usage, of authorities the key identifiers, and of some where their
 * revocation list is.
 */
export function issueCertificate(content: CertificateContent, issuer: Issuer): Buffer {
  const { authority, revocationList } = content;
  const isRoot = issuer.publicKey.equals(content.publicKey);
  const pathLength = authority === false ? undefined : authority.pathLength;
  const constraints = new BasicConstraints({
    cA: authority !== false,
    ...(pathLength !== undefined && { pathLenConstraint: pathLength }),
  });
  const usage = content.keyUsage.reduce((flags, flag) => flags | KeyUsageFlags[flag], 0);
  const extensions = [extension(id_ce_basicConstraints, constraints, true)];
  if (authority !== false) {
    const own = new SubjectKeyIdentifier(keyIdentifier(content.publicKey));
    const above = new AuthorityKeyIdentifier({ keyIdentifier: new KeyIdentifier(keyIdentifier(issuer.publicKey)) });
    if (!isRoot) extensions.push(extension(id_ce_authorityKeyIdentifier, above));
    extensions.push(extension(id_ce_subjectKeyIdentifier, own));
  }
  extensions.push(extension(id_ce_keyUsage, new KeyUsage(usage), authority !== false));
  if (revocationList !== undefined) {
    const name = new DistributionPointName({
      fullName: [new GeneralName({ uniformResourceIdentifier: revocationList })],
    });
    const points = new CRLDistributionPoints([new DistributionPoint({ distributionPoint: name })]);
    extensions.push(extension(id_ce_cRLDistributionPoints, points));
  }
  const algorithm = new AlgorithmIdentifier({ algorithm: ECDSA_WITH_SHA384 });
  const tbsCertificate = new TBSCertificate({
    version: Version.v3,
    serialNumber: arrayBuffer(content.serialNumber),
    signature: algorithm,
    issuer: nameOf(issuer.commonName),
    validity: new Validity({ notBefore: content.notBefore, notAfter: content.notAfter }),
    subject: nameOf(content.commonName),
    subjectPublicKeyInfo: publicKeyInfo(content.publicKey),
    extensions: new Extensions(extensions),
  });
  const signatureValue = sign('sha384', new Uint8Array(AsnConvert.serialize(tbsCertificate)), issuer.privateKey);
  const signed = { tbsCertificate, signatureAlgorithm: algorithm, signatureValue: arrayBuffer(signatureValue) };
  return Buffer.from(AsnConvert.serialize(new Certificate(signed)));
}

/** Names say in each part that nothing here is of AWS. */
function nameOf(commonName: string): Name {
  const parts = { O: 'Portcullis', OU: 'Simulation', CN: commonName };
  return new Name(
    Object.entries(parts).map(([type, utf8String]) => {
      const value = new AttributeValue({ utf8String });
      return new RelativeDistinguishedName([
        new AttributeTypeAndValue({ type: ATTRIBUTES[type as keyof typeof ATTRIBUTES], value }),
      ]);
    }),
  );
}

function extension(extnID: string, value: object, critical = false): Extension {
  return new Extension({ extnID, critical, extnValue: new OctetString(AsnConvert.serialize(value)) });
}

/** SHA-1 of the key (RFC 5280 §4.2.1.2, method 1): a name for it, which nothing trusts. */
function keyIdentifier(key: KeyObject): ArrayBuffer {
  return arrayBuffer(
    createHash('sha1')
      .update(new Uint8Array(publicKeyInfo(key).subjectPublicKey))
      .digest(),
  );
}

function publicKeyInfo(key: KeyObject): SubjectPublicKeyInfo {
  return AsnConvert.parse(key.export({ type: 'spki', format: 'der' }), SubjectPublicKeyInfo);
}

function arrayBuffer(bytes: Uint8Array): ArrayBuffer {
  return new Uint8Array(bytes).buffer;
}
