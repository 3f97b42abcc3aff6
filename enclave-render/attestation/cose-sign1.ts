import { encode } from 'cborg';
import { AttestationError } from './attestation-error.ts';
import { decodeStrictly } from './strict-cbor.ts';

/** Most bytes of a payload (AWS Nitro Enclaves, "Attestation document specification"). */
const PAYLOAD_BYTES = 16_384;
/** Tag, array, headers and lengths: 13 bytes; signature: 96. */
const DOCUMENT_BYTES = PAYLOAD_BYTES + 13 + 96;

/** The tag of COSE_Sign1 (RFC 9052 §2), which may be there or not. */
const TAG_18 = 0xd2;
/** `{1: -35}`: ES384 (RFC 9053 §2.1), and nothing else. */
const PROTECTED_HEADER = Uint8Array.of(0xa1, 0x01, 0x38, 0x22);
const SIGNATURE_BYTES = 96;

/** The parts of a COSE_Sign1 (RFC 9052 §4.2) under ES384. */
export interface CoseSign1 {
  payload: Uint8Array;
  /** r ‖ s, 48 bytes each. With s also n − s verifies: a document is not to be known by these bytes. */
  signature: Uint8Array;
}

/** Takes a document apart. Throws `ERR_ATTESTATION_SIZE`, `ERR_ATTESTATION_CBOR` and `ERR_ATTESTATION_COSE`. */
export function openCoseSign1(document: Uint8Array): CoseSign1 {
  if (document.byteLength === 0 || document.byteLength > DOCUMENT_BYTES)
    throw new AttestationError('ERR_ATTESTATION_SIZE', `a document has 1 to ${DOCUMENT_BYTES} bytes`);
  // Outside of the payload nothing is signed, so that nothing may be written in two ways: no indefinite lengths.
  const parts = decodeStrictly(document[0] === TAG_18 ? document.subarray(1) : document, false);
  if (!Array.isArray(parts) || parts.length !== 4) throw notCose('it is not an array of four');
  const [protectedHeader, unprotectedHeader, payload, signature] = parts as unknown[];
  if (!(protectedHeader instanceof Uint8Array) || Buffer.compare(protectedHeader, PROTECTED_HEADER) !== 0)
    throw notCose('its protected header is not that of ES384');
  if (!(unprotectedHeader instanceof Map) || unprotectedHeader.size !== 0)
    throw notCose('its unprotected header is not empty');
  if (!(payload instanceof Uint8Array) || payload.length === 0 || payload.length > PAYLOAD_BYTES)
    throw notCose('it has no payload');
  if (!(signature instanceof Uint8Array) || signature.length !== SIGNATURE_BYTES)
    throw notCose('its signature has not the length of one');
  return { payload, signature };
}

/** Sig_structure (RFC 9052 §4.4) without external data, up to its last part: the payload. */
const SIGNED_FIRST = Buffer.from(encode(['Signature1', PROTECTED_HEADER, new Uint8Array(0), null])).subarray(0, -1);

/** What is signed: Sig_structure. */
export function signedBytes(payload: Uint8Array): Uint8Array {
  return Buffer.concat([SIGNED_FIRST, encode(payload)]);
}

const notCose = (why: string) => new AttestationError('ERR_ATTESTATION_COSE', `not a COSE_Sign1 under ES384: ${why}`);
