/** Of which security module a document is: they share COSE and chain, and differ in the name of their registers. */
export type AttestationProfile = 'nitro' | 'nitrotpm';

/** Registers by index, in lower-case hexadecimal of 48 bytes (SHA-384). */
export type Pcrs = Readonly<Record<string, string>>;

/** What an attestation document says (AWS Nitro Enclaves user guide, "Attestation document"), decoded and not yet believed. */
export interface AttestationDocument {
  profile: AttestationProfile;
  /** `i-…-enc…`: new with every launch. */
  moduleId: string;
  /** Milliseconds since the epoch, by the module's clock. */
  timestamp: number;
  pcrs: Pcrs;
  /** DER of the leaf certificate, and of those above it, the root first. */
  certificate: Uint8Array;
  cabundle: Uint8Array[];
  publicKey: Uint8Array | null;
  userData: Uint8Array | null;
  nonce: Uint8Array | null;
}

/** A document that was found genuine and allowed. */
export interface VerifiedAttestation extends AttestationDocument {
  /** SHA-384 of the signed payload, hexadecimal: what the document is known by, since its signature can be written in two ways. */
  payloadSha384: string;
  /** SHA-256 of the root certificate, hexadecimal. */
  root: string;
}

/**
 * What a document is held to. Nothing has a default: what is not to be checked is said in a word.
 */
export interface AttestationPolicy {
  profile: AttestationProfile;
  /** SHA-256 fingerprints of the root certificates that are trusted, hexadecimal; at least one. */
  roots: readonly string[];
  /** When it has to hold, in milliseconds since the epoch; `document` is its own timestamp, for what was accepted before. */
  at: number | 'document';
  /** Registers that it must have; at least PCR0, of `nitrotpm` PCR4 or PCR7. PCR8 counts only together with PCR0. */
  pcrs: Pcrs;
  nonce: Uint8Array | 'any';
  userData: Uint8Array | 'any';
}

/** SHA-256 of the certificate `aws.nitro-enclaves`, the root of all Nitro attestation (AWS Nitro Enclaves user guide). */
export const AWS_NITRO_ROOT = '641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b';
