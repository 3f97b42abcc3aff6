export type EifErrorCode =
  /** The file does not begin with the header of an image that we know. */
  | 'ERR_EIF_HEADER'
  /** A section is unknown, missing, there twice, out of order, or other than the header says. */
  | 'ERR_EIF_SECTION'
  /** The file is shorter or longer than its header says. */
  | 'ERR_EIF_LENGTH'
  /** The checksum is another. */
  | 'ERR_EIF_CRC'
  /** The signature section is malformed, or not a signature of this image. */
  | 'ERR_EIF_SIGNATURE'
  /** What an image is to be built of cannot be used. */
  | 'ERR_EIF_INPUT'
  /** A file could not be read or written. */
  | 'ERR_EIF_FILE';

/** Why an enclave image was not measured or built. */
export class EifError extends Error {
  readonly code: EifErrorCode;
  constructor(code: EifErrorCode, message: string) {
    super(message);
    this.name = 'EifError';
    this.code = code;
  }
}
