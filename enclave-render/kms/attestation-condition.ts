import * as v from 'valibot';
import type { VerifiedAttestation } from '../attestation/attestation-document.ts';
import { AttestationError, PolicyError } from '../attestation/attestation-error.ts';
import { verifyAttestation } from '../attestation/verify.ts';
import { KmsError } from './data-keys.ts';

const register = v.pipe(v.string(), v.regex(/^[0-9a-f]{96}$/));

/**
 * Registers that an enclave must have for a key to decrypt for it, by index in lower-case hexadecimal: what a key policy of AWS says
 * with `kms:RecipientAttestation:PCR<n>` (`ImageSha384` is PCR0). PCR0 is among them.
 */
export const AttestationConditionSchema = v.strictObject({
  pcrs: v.pipe(
    v.record(v.pipe(v.string(), v.regex(/^(?:[0-9]|[12][0-9]|3[01])$/)), register),
    v.check((pcrs) => pcrs['0'] !== undefined, 'PCR0, the image, has to be among them'),
  ),
});

export type AttestationCondition = v.InferOutput<typeof AttestationConditionSchema>;

/** How old a document may be when KMS is asked, in milliseconds (AWS KMS, "Cryptographic attestation for Nitro Enclaves"). */
const MAX_AGE_MS = 300_000;

/**
 * Holds a document to the condition of a key. Throws `ERR_KMS_VALIDATION` for one that is not genuine or too old, `ERR_KMS_ACCESS`
 * for an enclave that the condition does not name; the message says which check it was. `now` in milliseconds since the epoch.
 */
export function requireAttested(
  document: Uint8Array,
  { pcrs }: AttestationCondition,
  roots: readonly string[],
  now: number,
): VerifiedAttestation {
  try {
    const policy = { profile: 'nitro', roots, at: now, pcrs, nonce: 'any', userData: 'any' } as const;
    const attestation = verifyAttestation(document, policy);
    if (now - attestation.timestamp <= MAX_AGE_MS) return attestation;
  } catch (error) {
    if (error instanceof PolicyError) {
      throw new KmsError(
        'ERR_KMS_ACCESS',
        `the key does not decrypt for this enclave (${error.code}): ${error.message}`,
      );
    }
    if (error instanceof AttestationError) {
      throw new KmsError('ERR_KMS_VALIDATION', `the attestation document is refused (${error.code}): ${error.message}`);
    }
    throw error;
  }
  throw new KmsError('ERR_KMS_VALIDATION', 'the attestation document is older than five minutes: ask the module again');
}
