import { createPublicKey, type KeyObject } from 'node:crypto';
import { contextTag, DerReader, malformed, TAG } from './der.ts';

/** The parts of an X.509 certificate (RFC 5280 §4.1) that decide whether a chain holds. */
export interface Certificate {
  /** TBSCertificate with its tag: what is signed. */
  signedPart: Uint8Array;
  /** ECDSA-Sig-Value (RFC 5480 Appendix A) in DER. */
  signature: Uint8Array;
  /** Names in DER: they are compared by bytes (RFC 5280 §7.1 allows it), and not read. */
  issuer: Uint8Array;
  subject: Uint8Array;
  /** Milliseconds since the epoch, both inclusive. */
  notBefore: number;
  notAfter: number;
  key: KeyObject;
  isCa: boolean;
  /** How many certificate authorities may follow below it (RFC 5280 §4.2.1.9); `Infinity` without a limit. */
  pathLength: number;
  maySignData: boolean;
  maySignCertificates: boolean;
}

const hex = (text: string) => Buffer.from(text, 'hex');

/** `[0] { INTEGER 2 }`. */
const VERSION_3 = hex('020102');
/** AlgorithmIdentifier of ecdsa-with-SHA384 without parameters (RFC 5758 §3.2). */
const ECDSA_WITH_SHA384 = hex('06082a8648ce3d040303');
/** SubjectPublicKeyInfo of a P-384 key up to its point, which is uncompressed (RFC 5480 §2). */
const P384_KEY = hex('3076301006072a8648ce3d020106052b8104002203620004');
const P384_KEY_BYTES = 120;
/** Object identifiers `2.5.29.15` and `2.5.29.19`. */
const KEY_USAGE = '551d0f';
const BASIC_CONSTRAINTS = '551d13';

/**
 * Reads a certificate as AWS issues them for attestation, and refuses all others: version 3, ES384 by P-384 keys, no unique ids, no
 * critical extension but basic constraints and key usage, none twice. Each element that is read has one encoding only. Node's
 * `X509Certificate` shows neither key usage nor path length, and reading with a library what is compared to constants here takes
 * longer than verifying. Throws `ERR_ATTESTATION_CHAIN`.
 */
export function readCertificate(der: Uint8Array): Certificate {
  const outer = new DerReader(der);
  const certificate = new DerReader(outer.read(TAG.sequence));
  outer.end();
  const signedPart = certificate.readElement(TAG.sequence);
  expectBytes(certificate.read(TAG.sequence), ECDSA_WITH_SHA384, 'it is not signed under ES384');
  const signature = bitString(certificate.read(TAG.bitString), 0);
  certificate.end();

  const fields = new DerReader(new DerReader(signedPart).read(TAG.sequence));
  expectBytes(fields.read(contextTag(0)), VERSION_3, 'it is not of version 3');
  integer(fields.read(TAG.integer));
  expectBytes(fields.read(TAG.sequence), ECDSA_WITH_SHA384, 'it is not signed under ES384');
  const issuer = fields.readElement(TAG.sequence);
  const validity = new DerReader(fields.read(TAG.sequence));
  const notBefore = time(validity);
  const notAfter = time(validity);
  validity.end();
  const subject = fields.readElement(TAG.sequence);
  const key = publicKey(fields.readElement(TAG.sequence));
  const extensions = readExtensions(new DerReader(fields.read(contextTag(3))));
  fields.end();
  return { signedPart, signature, issuer, subject, notBefore, notAfter, key, ...extensions };
}

type Constraints = Pick<Certificate, 'isCa' | 'pathLength' | 'maySignData' | 'maySignCertificates'>;

/** RFC 5280 §4.2. An extension that is not critical and not known is passed over. */
function readExtensions(wrapper: DerReader): Constraints {
  const list = new DerReader(wrapper.read(TAG.sequence));
  wrapper.end();
  const found = new Map<string, Uint8Array>();
  do {
    const extension = new DerReader(list.read(TAG.sequence));
    const id = Buffer.from(extension.read(TAG.objectIdentifier)).toString('hex');
    const isCritical = optionalTrue(extension);
    const value = extension.read(TAG.octetString);
    extension.end();
    if (found.has(id)) throw malformed('it has an extension twice');
    if (isCritical && id !== KEY_USAGE && id !== BASIC_CONSTRAINTS)
      throw malformed('it has a critical extension that is not known');
    found.set(id, value);
  } while (!list.isAtEnd);
  return { ...basicConstraints(found.get(BASIC_CONSTRAINTS)), ...keyUsage(found.get(KEY_USAGE)) };
}

/** RFC 5280 §4.2.1.9. Without it a certificate is no authority. */
function basicConstraints(value: Uint8Array | undefined): Pick<Constraints, 'isCa' | 'pathLength'> {
  if (value === undefined) return { isCa: false, pathLength: 0 };
  const outer = new DerReader(value);
  const fields = new DerReader(outer.read(TAG.sequence));
  outer.end();
  const isCa = optionalTrue(fields);
  if (fields.isAtEnd) return { isCa, pathLength: isCa ? Number.POSITIVE_INFINITY : 0 };
  const [pathLength = 0x80, ...more] = integer(fields.read(TAG.integer));
  fields.end();
  if (!isCa || pathLength > 0x7f || more.length > 0) throw malformed('its path length is none');
  return { isCa, pathLength };
}

/** RFC 5280 §4.2.1.3. Without it a certificate may sign nothing. */
function keyUsage(value: Uint8Array | undefined): Pick<Constraints, 'maySignData' | 'maySignCertificates'> {
  if (value === undefined) return { maySignData: false, maySignCertificates: false };
  const outer = new DerReader(value);
  const contents = outer.read(TAG.bitString);
  outer.end();
  const bits = bitString(contents, 7);
  const last = bits.at(-1) ?? 0;
  // Of a list of named bits those that are zero at its end are left out (X.690 §11.2.2).
  if (last === 0 || 31 - Math.clz32(last & -last) !== contents[0]) throw malformed('its key usage is not strict DER');
  const first = bits[0] ?? 0;
  return { maySignData: (first & 0x80) !== 0, maySignCertificates: (first & 0x04) !== 0 };
}

/** A BOOLEAN DEFAULT FALSE: there and true, or not there (X.690 §11.1, §11.5). */
function optionalTrue(reader: DerReader): boolean {
  if (!reader.isNext(TAG.boolean)) return false;
  expectBytes(reader.read(TAG.boolean), Uint8Array.of(0xff), 'it has a boolean that is not strict DER');
  return true;
}

function integer(contents: Uint8Array): Uint8Array {
  const [first = 0, second = 0] = contents;
  const isPadded = contents.length > 1 && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
  if (contents.length === 0 || isPadded) throw malformed();
  return contents;
}

/** The bytes of a BIT STRING of which at most so many bits are unused. */
function bitString(contents: Uint8Array, unusedMost: number): Uint8Array {
  const [unused = 8] = contents;
  if (contents.length < 2 || unused > unusedMost) throw malformed();
  return contents.subarray(1);
}

/** RFC 5280 §4.1.2.5: UTCTime up to 2049, GeneralizedTime after that, to the second, in UTC. */
function time(reader: DerReader): number {
  const isUtcTime = reader.isNext(TAG.utcTime);
  const text = Buffer.from(reader.read(isUtcTime ? TAG.utcTime : TAG.generalizedTime)).toString('latin1');
  const pattern = isUtcTime ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/ : /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = (pattern.exec(text) ?? [])
    .slice(1)
    .map(Number);
  const fullYear = isUtcTime ? year + (year < 50 ? 2000 : 1900) : year;
  const milliseconds = Date.UTC(fullYear, month - 1, day, hour, minute, second);
  const again = new Date(milliseconds).toISOString().replace(/\D/g, '').slice(0, 14);
  if (`${again.slice(isUtcTime ? 2 : 0)}Z` !== text || (!isUtcTime && fullYear < 2050))
    throw malformed('its validity is not a time of RFC 5280');
  return milliseconds;
}

/** OpenSSL checks that the point is on the curve. */
function publicKey(info: Uint8Array): KeyObject {
  if (info.length !== P384_KEY_BYTES) throw malformed('its key is not of P-384');
  expectBytes(info.subarray(0, P384_KEY.length), P384_KEY, 'its key is not of P-384');
  try {
    return createPublicKey({ key: Buffer.from(info), format: 'der', type: 'spki' });
  } catch {
    throw malformed('its key is no point of P-384');
  }
}

function expectBytes(bytes: Uint8Array, expected: Uint8Array, why: string): void {
  if (Buffer.compare(bytes, expected) !== 0) throw malformed(why);
}
