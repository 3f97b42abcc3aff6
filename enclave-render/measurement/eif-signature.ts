import { type KeyObject, sign, verify, X509Certificate } from 'node:crypto';
import { decode, encode, rfc8949EncodeOptions } from 'cborg';
import { EifError } from './eif-error.ts';

/** Algorithms of COSE (RFC 9053 §2.1) by the curve of the signing key, as OpenSSL calls it. */
const ALGORITHMS: Record<string, { alg: number; hash: string }> = {
  prime256v1: { alg: -7, hash: 'sha256' },
  secp384r1: { alg: -35, hash: 'sha384' },
  secp521r1: { alg: -36, hash: 'sha512' },
};

/** Most bytes of a signature section: a certificate written as numbers is twice as long as it is. */
export const MAX_SIGNATURE_BYTES = 64 << 10;

/** Who an image is signed by: one certificate in PEM, and its private key. */
export interface EifSigner {
  certificate: string;
  privateKey: KeyObject;
}

/**
 * Content of the signature section of an image with this PCR0: a CBOR array of one map of `signing_certificate` (PEM)
 * and `signature`, a COSE_Sign1 (RFC 9052 §4.2) over a CBOR map of `register_index` 0 and `register_value`. AWS's own
 * writer puts bytes down as arrays of numbers, and its reader takes nothing else. Throws `ERR_EIF_INPUT` when
 * certificate and key do not fit.
 */
export function signPcr0(pcr0: string, { certificate, privateKey }: EifSigner): Uint8Array {
  const { certificate: parsed, alg, hash } = parseCertificate(certificate, 'ERR_EIF_INPUT');
  if (privateKey.type !== 'private' || !parsed.checkPrivateKey(privateKey)) {
    throw new EifError('ERR_EIF_INPUT', 'the signing key is not that of the signing certificate');
  }
  const protectedHeader = encode(new Map([[1, alg]]));
  const payload = registerPayload(pcr0);
  const signed = sign(hash, toBeSigned(protectedHeader, payload), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  const signature = encode([protectedHeader, new Map(), payload, new Uint8Array(signed)]);
  return encode(
    [inOrder({ signing_certificate: numbers(Buffer.from(certificate)), signature: numbers(signature) })],
    ORDERED,
  );
}

/**
 * The certificate that an image with this PCR0 is signed by. That it may sign, and is valid today, is not said: PCR8 is
 * trusted or not, and the Nitro hypervisor looks at its dates. Throws `ERR_EIF_SIGNATURE`.
 */
export function verifyPcr0(section: Uint8Array, pcr0: string): X509Certificate {
  const [entry, ...others] = list(decoded(section));
  if (!(entry instanceof Map) || others.length > 0 || entry.size !== 2) throw refused('it has not exactly one entry');
  const pem = octets(entry.get('signing_certificate')).toString('latin1');
  const { certificate, publicKey, alg, hash } = parseCertificate(pem, 'ERR_EIF_SIGNATURE');
  const [protectedHeader, unprotected, payload, signature, ...rest] = list(decoded(octets(entry.get('signature'))));
  const expected = registerPayload(pcr0);
  if (rest.length > 0 || !isBytes(protectedHeader, encode(new Map([[1, alg]])))) {
    throw refused('it is not a COSE_Sign1 of the algorithm of its certificate');
  }
  if (!(unprotected instanceof Map) || unprotected.size > 0) throw refused('it has unprotected headers');
  if (!isBytes(payload, expected)) throw refused('it is for another image');
  const key = { key: publicKey, dsaEncoding: 'ieee-p1363' as const };
  if (!(signature instanceof Uint8Array) || !verify(hash, toBeSigned(protectedHeader, payload), key, signature)) {
    throw refused('it is not one of its certificate');
  }
  return certificate;
}

/** Writes maps in the order they are in, as AWS's writer does, and not in that of RFC 8949 §4.2.1. */
const ORDERED = { ...rfc8949EncodeOptions, mapSorter: () => 0 };

function inOrder(fields: Record<string, unknown>): Map<string, unknown> {
  return new Map(Object.entries(fields));
}

function registerPayload(pcr0: string): Uint8Array {
  return encode(inOrder({ register_index: 0, register_value: numbers(Buffer.from(pcr0, 'hex')) }), ORDERED);
}

/** Sig_structure of a COSE_Sign1 without external data (RFC 9052 §4.4). */
function toBeSigned(protectedHeader: Uint8Array, payload: Uint8Array): Uint8Array {
  return encode(['Signature1', protectedHeader, new Uint8Array(), payload]);
}

/** The one certificate of a PEM text, with its key and what it signs with. */
function parseCertificate(pem: string, code: 'ERR_EIF_INPUT' | 'ERR_EIF_SIGNATURE') {
  const [block, ...others] = pem.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
  if (block === undefined || others.length > 0) {
    throw new EifError(code, 'the signing certificate is not one certificate in PEM');
  }
  try {
    const certificate = new X509Certificate(block);
    const { publicKey } = certificate;
    const algorithm = ALGORITHMS[publicKey.asymmetricKeyDetails?.namedCurve ?? ''];
    if (algorithm) return { certificate, publicKey, ...algorithm };
  } catch {
    // Node reads the key when it is asked for it, and has no code for one that is none.
  }
  throw new EifError(code, 'the signing certificate has no key on P-256, P-384 or P-521, as enclave images need');
}

function decoded(bytes: Uint8Array): unknown {
  try {
    return decode(bytes, { useMaps: true, rejectDuplicateMapKeys: true, strict: true, allowIndefinite: false });
  } catch {
    throw refused('it is not strict CBOR');
  }
}

function list(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw refused('it is not an array');
  return value;
}

function numbers(bytes: Uint8Array): number[] {
  return [...bytes];
}

function octets(value: unknown): Buffer {
  const all = list(value);
  if (!all.every((each) => Number.isInteger(each) && (each as number) >= 0 && (each as number) <= 255)) {
    throw refused('it has something else than bytes');
  }
  return Buffer.from(all as number[]);
}

function isBytes(value: unknown, expected: Uint8Array): value is Uint8Array {
  return value instanceof Uint8Array && Buffer.compare(value, expected) === 0;
}

function refused(why: string): EifError {
  return new EifError('ERR_EIF_SIGNATURE', `the signature section is not a signature of this image: ${why}`);
}
