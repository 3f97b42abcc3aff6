import { createPublicKey, KeyObject, type PublicKeyInput, verify } from 'node:crypto';
import { contextTag, DerReader, malformed, TAG } from './der.ts';

/** A key as it is in a certificate, or loaded: loading is worth while for those that verify more than once. */
export type PublicKey = PublicKeyInput | KeyObject;

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
  key: PublicKey;
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
    const id = view(extension.read(TAG.objectIdentifier)).toString('hex');
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
function basicConstraints(extension: Uint8Array | undefined): Pick<Constraints, 'isCa' | 'pathLength'> {
  if (extension === undefined) return { isCa: false, pathLength: 0 };
  const outer = new DerReader(extension);
  const fields = new DerReader(outer.read(TAG.sequence));
  outer.end();
  const isCa = optionalTrue(fields);
  if (fields.isAtEnd) return { isCa, pathLength: isCa ? Number.POSITIVE_INFINITY : 0 };
  const value = integer(fields.read(TAG.integer));
  const pathLength = value[0] ?? 0x80;
  fields.end();
  if (!isCa || value.length !== 1 || pathLength >= 0x80) throw malformed('its path length is none');
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
  const first = contents[0] ?? 0;
  const second = contents[1] ?? 0;
  const isPadded = contents.length > 1 && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80));
  if (contents.length === 0 || isPadded) throw malformed();
  return contents;
}

/** The bytes of a BIT STRING of which at most so many bits are unused. */
function bitString(contents: Uint8Array, unusedMost: number): Uint8Array {
  const unused = contents[0] ?? 8;
  if (contents.length < 2 || unused > unusedMost) throw malformed();
  return contents.subarray(1);
}

/** RFC 5280 §4.1.2.5: UTCTime up to 2049, GeneralizedTime after that, to the second, in UTC. */
function time(reader: DerReader): number {
  const isUtcTime = reader.isNext(TAG.utcTime);
  const contents = reader.read(isUtcTime ? TAG.utcTime : TAG.generalizedTime);
  const yearDigits = isUtcTime ? 2 : 4;
  if (contents.length !== yearDigits + 11 || contents[yearDigits + 10] !== LETTER_Z) throw noTime();
  const read = digits(contents, 0, yearDigits);
  const year = !isUtcTime ? read : read < 50 ? 2000 + read : 1900 + read;
  const fields = [0, 2, 4, 6, 8].map((offset) => digits(contents, yearDigits + offset, 2));
  const [month = 0, day = 0, hour = 0, minute = 0, second = 0] = fields;
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  // A field that is too large would carry over to the next: 31 February is in no calendar.
  const isDate = date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
  if (!isDate || hour > 23 || minute > 59 || second > 59 || (!isUtcTime && year < 2050)) throw noTime();
  return date.getTime();
}

const LETTER_Z = 0x5a;

function digits(bytes: Uint8Array, from: number, count: number): number {
  let value = 0;
  for (let i = from; i < from + count; i++) {
    const digit = (bytes[i] ?? 0) - 0x30;
    if (!(digit >= 0 && digit <= 9)) throw noTime();
    value = value * 10 + digit;
  }
  return value;
}

const noTime = () => malformed('its validity is not a time of RFC 5280');

/** Whether the point is on the curve OpenSSL checks when it loads the key. */
function publicKey(info: Uint8Array): PublicKeyInput {
  if (info.length !== P384_KEY_BYTES) throw malformed('its key is not of P-384');
  expectBytes(info.subarray(0, P384_KEY.length), P384_KEY, 'its key is not of P-384');
  return { key: view(info), format: 'der', type: 'spki' };
}

/** Loads a key. Throws `ERR_ATTESTATION_CHAIN`. */
export function loadKey(key: PublicKey): KeyObject {
  return withKey(() => (key instanceof KeyObject ? key : createPublicKey(key)));
}

/** Whether this key made this signature, under SHA-384. Throws `ERR_ATTESTATION_CHAIN`. */
export function isSignedBy(
  key: PublicKey,
  bytes: Uint8Array,
  signature: Uint8Array,
  dsaEncoding: 'der' | 'ieee-p1363',
): boolean {
  return withKey(() =>
    verify('sha384', bytes, key instanceof KeyObject ? { key, dsaEncoding } : { ...key, dsaEncoding }, signature),
  );
}

function withKey<Result>(use: () => Result): Result {
  try {
    return use();
  } catch {
    throw malformed('its key is no point of P-384');
  }
}

/** The same bytes: copying them would cost more than reading a certificate. */
const view = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);

function expectBytes(bytes: Uint8Array, expected: Uint8Array, why: string): void {
  if (Buffer.compare(bytes, expected) !== 0) throw malformed(why);
}
