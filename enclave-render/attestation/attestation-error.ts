export type AttestationErrorCode =
  /** Longer than a document can be, or nothing. */
  | 'ERR_ATTESTATION_SIZE'
  /** Not strict CBOR (RFC 8949): a key twice, bytes behind the end, a length that does not fit. */
  | 'ERR_ATTESTATION_CBOR'
  /** Not a COSE_Sign1 (RFC 9052 §4.2) with the protected header of ES384 and a signature of 96 bytes. */
  | 'ERR_ATTESTATION_COSE'
  /** A field of the payload is missing, of another type, out of its bounds, or none of the profile. */
  | 'ERR_ATTESTATION_PAYLOAD'
  /** The chain does not begin with a root that the caller trusts. */
  | 'ERR_ATTESTATION_ROOT'
  /** A certificate is malformed, not signed by the one before it, may not sign, or is too deep. */
  | 'ERR_ATTESTATION_CHAIN'
  /** The signature is not that of the leaf certificate over this payload. */
  | 'ERR_ATTESTATION_SIGNATURE'
  /** A certificate was not valid at the time in question, or the document is not of that time. */
  | 'ERR_ATTESTATION_TIME';

/** A document is not genuine. The message says which check failed, and nothing that the document says. */
export class AttestationError extends Error {
  readonly code: AttestationErrorCode;
  constructor(code: AttestationErrorCode, message: string) {
    super(message);
    this.name = 'AttestationError';
    this.code = code;
  }
}

export type PolicyErrorCode =
  /** Of an enclave in debug mode, whose PCR0 to PCR2 are zero: whoever started it can read its memory. */
  | 'ERR_ATTESTATION_DEBUG'
  /** A PCR is missing or another than the policy says, or the policy names none that counts. */
  | 'ERR_ATTESTATION_PCR'
  /** Not the nonce that was asked for. */
  | 'ERR_ATTESTATION_NONCE'
  /** Not bound to what it was asked to be bound to. */
  | 'ERR_ATTESTATION_USER_DATA';

/** A document is genuine, but not what the caller's policy allows. */
export class PolicyError extends Error {
  readonly code: PolicyErrorCode;
  constructor(code: PolicyErrorCode, message: string) {
    super(message);
    this.name = 'PolicyError';
    this.code = code;
  }
}
