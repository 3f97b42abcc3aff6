export type MasterErrorCode =
  /** The data key is not as long as the mode and `keyBits` say. */
  | 'ERR_MASTER_KEY_LENGTH'
  /** The data key is base64 or hexadecimal text, not the bytes it stands for. */
  | 'ERR_MASTER_KEY_TEXT'
  /** A file with a secret key that others can read. */
  | 'ERR_MASTER_KEY_PERMISSIONS'
  /** A key file that is no such key. */
  | 'ERR_MASTER_KEY_FILE'
  /** The initialization vector is missing, or not as long as the mode takes. */
  | 'ERR_MASTER_IV_LENGTH'
  /** The key and initialization vector of what is there already: never twice. */
  | 'ERR_MASTER_IV_REUSE'
  /** A ciphertext that cannot be one of this mode: not a multiple of 16 bytes, shorter than its tag or header. */
  | 'ERR_MASTER_LENGTH'
  /** More than the mode takes under one key (`gcm`: 2^36 − 32 bytes, NIST SP 800-38D §5.2.1.1). */
  | 'ERR_MASTER_TOO_LONG'
  /** Tag, MAC, frame or digest do not hold: the ciphertext is not what was made, or not with this key. */
  | 'ERR_MASTER_AUTHENTICATION'
  /** A `framed` master whose header was changed, or that belongs to another key. */
  | 'ERR_MASTER_COMMITMENT'
  /** No manifest beside the master, and not all that is needed instead of it. */
  | 'ERR_MASTER_NO_MANIFEST'
  /** A manifest that is no manifest, or says what cannot be. */
  | 'ERR_MASTER_MANIFEST'
  /** A manifest of another file. */
  | 'ERR_MASTER_MANIFEST_MISMATCH'
  /** A signature of the manifest does not hold, or the one that is wanted is missing. */
  | 'ERR_MASTER_SIGNATURE'
  /** None of the recipients is one whose key was given. */
  | 'ERR_MASTER_RECIPIENT'
  /** The source was changed while it was read. */
  | 'ERR_MASTER_SOURCE_CHANGED'
  /** There is an output already. */
  | 'ERR_MASTER_EXISTS'
  /** A `.partial` of a run that was interrupted, or is still going on. */
  | 'ERR_MASTER_UNFINISHED'
  /** What is there cannot be resumed: another source, key or mode. */
  | 'ERR_MASTER_RESUME'
  /** A file cannot be read or written. */
  | 'ERR_MASTER_FILE'
  /** The caller's signal. */
  | 'ERR_MASTER_INTERRUPTED';

/** Why a master could not be made or opened. The message says what to do next, and holds no key and no plaintext. */
export class MasterError extends Error {
  readonly code: MasterErrorCode;
  constructor(code: MasterErrorCode, message: string) {
    super(message);
    this.name = 'MasterError';
    this.code = code;
  }
}

/** The failure of a system call on a file, also one that Node found out first, as `ERR_MASTER_FILE`; any other error as it is. */
export function fileError(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined || !/^(?:E[A-Z0-9]+|ERR_FS_[A-Z0-9_]+)$/.test(code)) return error;
  return new MasterError('ERR_MASTER_FILE', `cannot use ${path}: ${code}`);
}
