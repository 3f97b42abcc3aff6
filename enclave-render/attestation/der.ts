import { AttestationError } from './attestation-error.ts';

/** Tags of X.690 §8 that certificates have. */
export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  objectIdentifier: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const;

/** The tag `[n]` of an explicit or constructed field. */
export const contextTag = (n: number): number => 0xa0 | n;

/**
 * Reads DER (X.690 §10) element by element: lengths are definite and the shortest, an element ends within what holds it, and `end`
 * says that nothing is behind the last. Throws `ERR_ATTESTATION_CHAIN`.
 */
export class DerReader {
  readonly #bytes: Uint8Array;
  /** Where the next element begins. */
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Whether the next element has this tag. */
  isNext(tag: number): boolean {
    return this.#bytes[this.#position] === tag;
  }

  get isAtEnd(): boolean {
    return this.#position === this.#bytes.length;
  }

  /** The contents of the next element. */
  read(tag: number): Uint8Array {
    const start = this.#pass(tag);
    return this.#bytes.subarray(start, this.#position);
  }

  /** The next element with its tag and length. */
  readElement(tag: number): Uint8Array {
    const from = this.#position;
    this.#pass(tag);
    return this.#bytes.subarray(from, this.#position);
  }

  end(): void {
    if (!this.isAtEnd) throw malformed();
  }

  /** Goes behind the next element, and says where its contents start. */
  #pass(tag: number): number {
    const bytes = this.#bytes;
    const from = this.#position;
    if (bytes[from] !== tag) throw malformed();
    let start = from + 2;
    let length = bytes[from + 1] ?? 0x80;
    if (length >= 0x80) {
      // An indefinite length, 0x80, has no bytes; more than two no certificate of 1,024 bytes needs.
      const lengthBytes = length - 0x80;
      if (lengthBytes === 1) length = bytes[start] ?? 0;
      else if (lengthBytes === 2) length = (bytes[start] ?? 0) * 256 + (bytes[start + 1] ?? 0);
      else throw malformed();
      if (length < (lengthBytes === 1 ? 0x80 : 0x100)) throw malformed();
      start += lengthBytes;
    }
    if (start + length > bytes.length) throw malformed();
    this.#position = start + length;
    return start;
  }
}

/** A certificate that is not DER, or not of the profile of attestation. */
export function malformed(why = 'it is not strict DER'): AttestationError {
  return new AttestationError('ERR_ATTESTATION_CHAIN', `a certificate of the chain is malformed: ${why}`);
}
