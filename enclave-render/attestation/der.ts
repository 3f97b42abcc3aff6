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
    return this.#next(tag).contents;
  }

  /** The next element with its tag and length. */
  readElement(tag: number): Uint8Array {
    return this.#next(tag).element;
  }

  end(): void {
    if (!this.isAtEnd) throw malformed();
  }

  #next(tag: number): { element: Uint8Array; contents: Uint8Array } {
    const from = this.#position;
    if (this.#bytes[from] !== tag) throw malformed();
    const first = this.#bytes[from + 1] ?? 0x80;
    // 0x80 is an indefinite length; more than two bytes of length no certificate of 1,024 bytes needs.
    const lengthBytes = first < 0x80 ? 0 : first - 0x80;
    if (first === 0x80 || lengthBytes > 2) throw malformed();
    let length = lengthBytes === 0 ? first : 0;
    for (let i = 0; i < lengthBytes; i++) length = length * 256 + (this.#bytes[from + 2 + i] ?? 0);
    if (lengthBytes > 0 && length < (lengthBytes === 1 ? 0x80 : 0x100)) throw malformed();
    const start = from + 2 + lengthBytes;
    const end = start + length;
    if (end > this.#bytes.length) throw malformed();
    this.#position = end;
    return { element: this.#bytes.subarray(from, end), contents: this.#bytes.subarray(start, end) };
  }
}

/** A certificate that is not DER, or not of the profile of attestation. */
export function malformed(why = 'it is not strict DER'): AttestationError {
  return new AttestationError('ERR_ATTESTATION_CHAIN', `a certificate of the chain is malformed: ${why}`);
}
