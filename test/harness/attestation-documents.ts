import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AsnConvert, OctetString } from '@peculiar/asn1-schema';
import {
  AlgorithmIdentifier,
  AttributeTypeAndValue,
  AttributeValue,
  BasicConstraints,
  Extension,
  Extensions,
  id_ce_basicConstraints,
  id_ce_keyUsage,
  id_ce_subjectKeyIdentifier,
  KeyUsage,
  KeyUsageFlags,
  Name,
  RelativeDistinguishedName,
  SubjectKeyIdentifier,
  SubjectPublicKeyInfo,
  TBSCertificate,
  Validity,
} from '@peculiar/asn1-x509';
import { decode, encode } from 'cborg';
import { describe, test } from 'vitest';
import type { AttestationPolicy } from '../../enclave-render/attestation/attestation-document.ts';
import { AttestationError, PolicyError } from '../../enclave-render/attestation/attestation-error.ts';
import type { CertificateCache } from '../../enclave-render/attestation/chain.ts';
import { verifyAttestation } from '../../enclave-render/attestation/verify.ts';
import { packagePath } from '../../local/package-root.ts';

/** When the documents here are signed: no test reads a clock. */
export const TIMESTAMP = Date.UTC(2026, 2, 1, 12, 0, 0, 123);
const MINUTE = 60_000;
const DAY = 1440 * MINUTE;

/** The certificates above a document, as AWS issues them. */
export const LEVELS = ['root', 'regional', 'zonal', 'instance', 'leaf'] as const;
export type Level = (typeof LEVELS)[number];

/** What a certificate of a level is; a test says what is to be different. */
export interface CertificatePlan {
  notBefore: number;
  notAfter: number;
  ca: boolean;
  pathLength: number | undefined;
  usage: KeyUsageFlags;
  extensions: Extension[];
  curve: 'P-256' | 'P-384' | 'P-521';
  hash: keyof typeof ECDSA_WITH;
  /** Who it says that issued it, and whose key signs it, if not the one above. */
  issuer: string | undefined;
  signedBy: KeyObject | undefined;
  /** Alters what is signed, before it is signed. */
  alter: ((signedPart: TBSCertificate) => void) | undefined;
  alterBytes: ((signedPart: Buffer) => Buffer) | undefined;
}

/** Object identifiers of ecdsa-with-SHA… (RFC 5758 §3.2). */
const ECDSA_WITH = { sha256: '1.2.840.10045.4.3.2', sha384: '1.2.840.10045.4.3.3', sha512: '1.2.840.10045.4.3.4' };

const AUTHORITY: Omit<CertificatePlan, 'notBefore' | 'notAfter' | 'pathLength'> = {
  ca: true,
  usage: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign,
  extensions: [],
  curve: 'P-384',
  hash: 'sha384',
  issuer: undefined,
  signedBy: undefined,
  alter: undefined,
  alterBytes: undefined,
};

const PLANS: Record<Level, CertificatePlan> = {
  root: { ...AUTHORITY, ...around(3000 * DAY, 8000 * DAY), pathLength: undefined },
  regional: { ...AUTHORITY, ...around(3 * DAY, 17 * DAY), pathLength: 2 },
  zonal: { ...AUTHORITY, ...around(DAY, 5 * DAY), pathLength: 1 },
  instance: { ...AUTHORITY, ...around(60 * MINUTE, 1380 * MINUTE), pathLength: 0, usage: KeyUsageFlags.keyCertSign },
  leaf: {
    ...AUTHORITY,
    ...around(MINUTE, 179 * MINUTE),
    ca: false,
    pathLength: undefined,
    usage: KeyUsageFlags.digitalSignature | KeyUsageFlags.nonRepudiation,
  },
};

/** To the second, as certificates have it. */
function around(before: number, after: number): { notBefore: number; notAfter: number } {
  return { notBefore: TIMESTAMP - 123 - before, notAfter: TIMESTAMP - 123 + after };
}

export interface TestChain {
  /** The root first, the leaf last. */
  certificates: Uint8Array[];
  /** SHA-256 of the root, hexadecimal. */
  root: string;
  /** Private ones by level. */
  keys: Partial<Record<Level, KeyObject>>;
  /** Private, of the leaf. */
  key: KeyObject;
}

/** A chain under a root of its own, with what is planned otherwise. */
export function issueChain(changes: Partial<Record<Level, Partial<CertificatePlan>>> = {}): TestChain {
  const keys: Partial<Record<Level, KeyObject>> = {};
  const certificates: Uint8Array[] = [];
  let above: Level = 'root';
  let key: KeyObject | undefined;
  for (const level of LEVELS) {
    const plan = { ...PLANS[level], ...changes[level] };
    const pair = generateKeyPairSync('ec', { namedCurve: plan.curve });
    certificates.push(issue(level, plan, pair.publicKey, plan.signedBy ?? key ?? pair.privateKey, above));
    key = pair.privateKey;
    keys[level] = key;
    above = level;
  }
  const [root] = certificates;
  if (root === undefined || key === undefined) throw new Error('there is no level');
  return { certificates, root: sha256(root), keys, key };
}

function issue(level: Level, plan: CertificatePlan, publicKey: KeyObject, signer: KeyObject, above: Level): Uint8Array {
  const spki = publicKey.export({ format: 'der', type: 'spki' });
  const algorithm = new AlgorithmIdentifier({ algorithm: ECDSA_WITH[plan.hash] });
  const constraints = plan.pathLength === undefined ? {} : { pathLenConstraint: plan.pathLength };
  const signedPart = new TBSCertificate({
    version: 2,
    serialNumber: Uint8Array.of(1, 2, 3, 4).buffer,
    signature: algorithm,
    issuer: nameOf(plan.issuer ?? above),
    validity: new Validity({ notBefore: new Date(plan.notBefore), notAfter: new Date(plan.notAfter) }),
    subject: nameOf(level),
    subjectPublicKeyInfo: AsnConvert.parse(spki, SubjectPublicKeyInfo),
    extensions: new Extensions([
      extension(id_ce_basicConstraints, true, new BasicConstraints({ cA: plan.ca, ...constraints })),
      extension(id_ce_keyUsage, true, new KeyUsage(plan.usage)),
      extension(id_ce_subjectKeyIdentifier, false, new SubjectKeyIdentifier(Buffer.from(sha256(spki), 'hex'))),
      ...plan.extensions,
    ]),
  });
  plan.alter?.(signedPart);
  const serialized = Buffer.from(AsnConvert.serialize(signedPart));
  const signed = plan.alterBytes?.(serialized) ?? serialized;
  const signature = sign(plan.hash, signed, { key: signer, dsaEncoding: 'der' });
  const certificate = element(
    0x30,
    Buffer.concat([
      signed,
      Buffer.from(AsnConvert.serialize(algorithm)),
      element(0x03, Buffer.concat([Buffer.of(0), signature])),
    ]),
  );
  return new Uint8Array(certificate);
}

/** An extension with a value of its type, or with these bytes. */
export function extension(id: string, critical: boolean, value: object): Extension {
  const der = value instanceof Uint8Array ? value : AsnConvert.serialize(value);
  return new Extension({ extnID: id, critical, extnValue: new OctetString(der) });
}

/** A name with nothing but a common name. */
function nameOf(commonName: string): Name {
  const value = new AttributeValue({ utf8String: commonName });
  return new Name([new RelativeDistinguishedName([new AttributeTypeAndValue({ type: '2.5.4.3', value })])]);
}

/** An element of DER. */
export function element(tag: number, contents: Uint8Array): Buffer {
  const length = contents.length;
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...head), contents]);
}

/** Registers of the documents here, distinct and none of them zero. */
export const REGISTERS = new Map(
  [0, 1, 2, 3, 4, 8].map((index) => [index, createHash('sha384').update(`register ${index}`).digest()]),
);
export const NONCE = Buffer.from('a nonce of the caller');
export const USER_DATA = Buffer.from('what it is bound to');

/** The fields of a payload under a chain, with what a test wants otherwise; `undefined` leaves a field out. */
export function fieldsOf(chain: TestChain, changes: Record<string, unknown> = {}): Map<string, unknown> {
  const fields = new Map<string, unknown>([
    ['module_id', 'i-0123456789abcdef0-enc0123456789abcdef'],
    ['digest', 'SHA384'],
    ['timestamp', TIMESTAMP],
    ['pcrs', REGISTERS],
    ['certificate', chain.certificates.at(-1)],
    ['cabundle', chain.certificates.slice(0, -1)],
    ['public_key', null],
    ['user_data', USER_DATA],
    ['nonce', NONCE],
  ]);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) fields.delete(name);
    else fields.set(name, value);
  }
  return fields;
}

/** A COSE_Sign1 over a payload, ES384. */
export function signPayload(payload: Uint8Array, key: KeyObject): Buffer {
  return envelope(payload, coseSignature(payload, key));
}

export const PROTECTED_HEADER = Buffer.from('a1013822', 'hex');

/** r ‖ s over the Sig_structure. */
export function coseSignature(payload: Uint8Array, key: KeyObject, header: Uint8Array = PROTECTED_HEADER): Buffer {
  const structure = encode(['Signature1', header, new Uint8Array(0), payload]);
  return sign('sha384', structure, { key, dsaEncoding: 'ieee-p1363' });
}

export function envelope(payload: Uint8Array, signature: Uint8Array): Buffer {
  return Buffer.from(encode([PROTECTED_HEADER, new Map(), payload, signature]));
}

/** A document under a chain. */
export function documentOf(chain: TestChain, changes: Record<string, unknown> = {}): Buffer {
  return signPayload(encode(fieldsOf(chain, changes)), chain.key);
}

const hexOf = (registers: Map<number, Uint8Array>) =>
  Object.fromEntries([...registers].map(([index, value]) => [index, Buffer.from(value).toString('hex')]));

/** What `documentOf` is accepted by. */
export function policyOf(chain: TestChain, changes: Partial<AttestationPolicy> = {}): AttestationPolicy {
  return {
    profile: 'nitro',
    roots: [chain.root],
    at: TIMESTAMP,
    pcrs: hexOf(REGISTERS),
    nonce: NONCE,
    userData: USER_DATA,
    ...changes,
  };
}

/** `ok`, or by which error a document is refused. */
export function verdict(document: Uint8Array, policy: AttestationPolicy, cache?: CertificateCache): string {
  try {
    verifyAttestation(document, policy, cache);
    return 'ok';
  } catch (error) {
    if (error instanceof AttestationError || error instanceof PolicyError) return `${error.name} ${error.code}`;
    return `not an error of ours: ${String(error)}`;
  }
}

/** As `verdict` says it: not genuine. */
export const genuineness = (code: string) => `AttestationError ERR_ATTESTATION_${code}`;
/** Genuine, and not allowed. */
export const permission = (code: string) => `PolicyError ERR_ATTESTATION_${code}`;

/** A document taken apart: protected header, unprotected header, payload, signature. */
export function partsOf(document: Uint8Array): [Uint8Array, Map<unknown, unknown>, Uint8Array, Uint8Array] {
  return decode(document, { useMaps: true });
}

/** A map of indefinite length, as AWS writes it since 2026. */
export function indefiniteMap(fields: Map<unknown, unknown>): Buffer {
  const entries = [...fields].flatMap(([key, value]) => [encode(key), encode(value)]);
  return Buffer.concat([Buffer.of(0xbf), ...entries, Buffer.of(0xff)]);
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** A document that AWS signed, with what is expected of it at its own timestamp. */
export interface RealDocument {
  file: string;
  bytes: Buffer;
  /** Milliseconds since the epoch; of a document that cannot be read there is none. */
  at: number | null;
  expect: 'VALID' | 'VALID_SIGNATURE_DEBUG_REJECT' | 'REJECT:CBOR';
}

const REAL = packagePath('..', 'shared', 'attestation');

/** A suite over documents that AWS signed; skipped, and named in the summary, where they are not there. */
export function describeRealDocuments(name: string, run: (documents: RealDocument[]) => void): void {
  const index = join(REAL, 'INDEX.json');
  if (!existsSync(index)) {
    test.skip(`${name} (third-party documents not present)`, () => undefined);
    return;
  }
  type Sample = { file: string; verifyAt: string | null; expect: RealDocument['expect'] };
  const { samples } = JSON.parse(readFileSync(index, 'utf8')) as { samples: Sample[] };
  const documents = samples.map(({ file, verifyAt, expect }) => ({
    file: join(REAL, file),
    bytes: readFileSync(join(REAL, file)),
    at: verifyAt === null ? null : Date.parse(verifyAt),
    expect,
  }));
  describe(name, () => run(documents));
}
