import { createHash } from 'node:crypto';

/** Bytes of a register: SHA-384. */
export const PCR_BYTES = 48;

/**
 * A register that was extended once, from zero, with `value`: SHA-384(0⁴⁸ ‖ value), hexadecimal. PCR0 to PCR2 and PCR8
 * are extended with the SHA-384 of what they measure, PCR3 and PCR4 with the role ARN and the instance id themselves
 * (AWS Nitro Enclaves user guide, "Where to get an enclave's measurements").
 */
export function extendedPcr(value: Uint8Array | string): string {
  return createHash('sha384').update(new Uint8Array(PCR_BYTES)).update(value).digest('hex');
}
