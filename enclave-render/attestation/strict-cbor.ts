import { decode } from 'cborg';
import { AttestationError } from './attestation-error.ts';

/**
 * CBOR (RFC 8949) that can be read in one way only: shortest lengths, no key twice, no tags, nothing behind the end, no undefined
 * or NaN. Maps become `Map`. Throws `ERR_ATTESTATION_CBOR`.
 */
export function decodeStrictly(bytes: Uint8Array, allowIndefinite: boolean): unknown {
  try {
    return decode(bytes, {
      strict: true,
      useMaps: true,
      rejectDuplicateMapKeys: true,
      allowIndefinite,
      allowUndefined: false,
      allowBigInt: false,
      allowInfinity: false,
      allowNaN: false,
    });
  } catch {
    // Deep nesting ends here too, as an overflow of the stack.
    throw new AttestationError('ERR_ATTESTATION_CBOR', 'the document is not strict CBOR');
  }
}
