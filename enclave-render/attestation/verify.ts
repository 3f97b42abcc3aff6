import { hash } from 'node:crypto';
import type {
  AttestationDocument,
  AttestationPolicy,
  AttestationProfile,
  Pcrs,
  VerifiedAttestation,
} from './attestation-document.ts';
import { AttestationError, PolicyError } from './attestation-error.ts';
import { isSignedBy, type PublicKey } from './certificate.ts';
import { type CertificateCache, verifyChain } from './chain.ts';
import { type CoseSign1, openCoseSign1, signedBytes } from './cose-sign1.ts';
import { readPayload } from './payload.ts';
import { PROFILES } from './profiles.ts';

/** How far the clock of the caller may be behind that of the module, in milliseconds. */
export const CLOCK_SKEW_MS = 300_000;

/** A register that nothing was measured into. */
const ZERO_PCR = '0'.repeat(96);

/**
 * What a document says, which nobody vouches for: for showing it, and for choosing what to ask of `verifyAttestation`. `document` is
 * a COSE_Sign1 of at most 16,493 bytes. Throws `AttestationError`.
 */
export function parseAttestation(document: Uint8Array): AttestationDocument {
  return readPayload(openCoseSign1(document).payload);
}

/**
 * Verifies an attestation document (AWS Nitro Enclaves, "Verifying the root of trust"), in this order: size, CBOR and COSE, profile,
 * root, chain, signature, time, debug mode, registers, nonce, user data. It proves that the module which signed it measured these
 * registers, and no more: that it is fresh is proven by a nonce of the caller's own. Throws `AttestationError` for a document that is
 * not genuine, `PolicyError` for one that the policy does not allow. With a cache it gives the same answers.
 */
export function verifyAttestation(
  document: Uint8Array,
  policy: AttestationPolicy,
  cache?: CertificateCache,
): VerifiedAttestation {
  const signed = openCoseSign1(document);
  const attestation = readPayload(signed.payload);
  requireProfile(attestation, policy.profile);
  const root = trustedRoot(attestation, policy.roots);
  const chain = verifyChain(root, attestation.cabundle, attestation.certificate, cache);
  requireSignature(signed, chain.key);
  requireTime(attestation.timestamp, chain, policy.at);
  refuseDebugMode(attestation);
  requirePcrs(attestation, policy.pcrs);
  requireNonce(attestation, policy.nonce);
  requireUserData(attestation, policy.userData);
  return { ...attestation, payloadSha384: hash('sha384', signed.payload), root };
}

function requireProfile(attestation: AttestationDocument, profile: AttestationProfile): void {
  if (attestation.profile !== profile)
    throw new AttestationError('ERR_ATTESTATION_PAYLOAD', `the document is not of the profile ${profile}`);
}

/** The first certificate, if the caller trusts it. Which one that is decides its hash, and not its name. */
function trustedRoot({ cabundle }: AttestationDocument, roots: readonly string[]): string {
  const root = hash('sha256', cabundle[0] ?? '');
  if (!roots.includes(root))
    throw new AttestationError('ERR_ATTESTATION_ROOT', 'the document does not begin with a root that is trusted');
  return root;
}

/** RFC 9052 §4.4, ES384 (RFC 9053 §2.1). */
function requireSignature({ payload, signature }: CoseSign1, key: PublicKey): void {
  if (!isSignedBy(key, signedBytes(payload), signature, 'ieee-p1363'))
    throw new AttestationError('ERR_ATTESTATION_SIGNATURE', 'the document is not signed by its certificate');
}

/**
 * The document was signed while every certificate was valid; and the time that is asked about lies neither before that, but for what
 * clocks differ, nor behind the end of any of them.
 */
function requireTime(
  timestamp: number,
  { notBefore, notAfter }: { notBefore: number; notAfter: number },
  at: number | 'document',
): void {
  const refuse = (why: string) => new AttestationError('ERR_ATTESTATION_TIME', why);
  if (!(timestamp >= notBefore && timestamp <= notAfter))
    throw refuse('a certificate was not valid when the document was signed');
  if (at === 'document') return;
  if (!(at >= timestamp - CLOCK_SKEW_MS)) throw refuse('the document was signed after the time in question');
  if (!(at <= notAfter)) throw refuse('a certificate has expired at the time in question');
}

/** Whatever the policy says: who starts an enclave in debug mode can read its memory, and its registers are zero. */
function refuseDebugMode({ profile, pcrs }: AttestationDocument): void {
  if (PROFILES[profile].measured.some((index) => pcrs[index] === ZERO_PCR))
    throw new PolicyError('ERR_ATTESTATION_DEBUG', 'the document is of an enclave in debug mode: nothing was measured');
}

function requirePcrs({ profile, pcrs }: AttestationDocument, expected: Pcrs): void {
  const { decisive } = PROFILES[profile];
  if (!decisive.some((index) => Object.hasOwn(expected, index)))
    throw new PolicyError('ERR_ATTESTATION_PCR', `the policy has to name PCR${decisive.join(' or PCR')}`);
  for (const [index, register] of Object.entries(expected)) {
    if (!Object.hasOwn(pcrs, index) || pcrs[index] !== register)
      throw new PolicyError('ERR_ATTESTATION_PCR', `PCR${index} is not what the policy says`);
  }
}

function requireNonce({ nonce }: AttestationDocument, expected: Uint8Array | 'any'): void {
  if (expected !== 'any' && !isSame(nonce, expected))
    throw new PolicyError('ERR_ATTESTATION_NONCE', 'the document does not have the nonce that was asked for');
}

function requireUserData({ userData }: AttestationDocument, expected: Uint8Array | 'any'): void {
  if (expected !== 'any' && !isSame(userData, expected))
    throw new PolicyError('ERR_ATTESTATION_USER_DATA', 'the document is not bound to what it has to be bound to');
}

/** Absent is the same as nothing, not even as no bytes. */
function isSame(actual: Uint8Array | null, expected: Uint8Array): boolean {
  return actual instanceof Uint8Array && expected instanceof Uint8Array && Buffer.compare(actual, expected) === 0;
}
