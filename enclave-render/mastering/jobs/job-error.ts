export type MasterJobErrorCode =
  /** Not a manifest, a job or a pipeline, or a field of it has a value that the service does not take. */
  | 'ERR_MASTER_JOB_INVALID'
  /** A master of a mode that the service cannot read. */
  | 'ERR_MASTER_JOB_MODE'
  /** The data key is not encrypted for the service: another encryption context, or no KMS key at all. */
  | 'ERR_MASTER_JOB_CONTEXT'
  /** The KMS key is not a key of AWS KMS that the service could use. */
  | 'ERR_MASTER_JOB_KMS_KEY'
  /** What should be an encrypted data key is none; perhaps it is the key itself. */
  | 'ERR_MASTER_JOB_KEY'
  /** The data key has 24 or 32 bytes that are the base64 or hexadecimal text of a key. */
  | 'ERR_MASTER_JOB_KEY_TEXT'
  /** `KeyMd5` is neither the MD5 of the encrypted data key nor that of the data key. */
  | 'ERR_MASTER_JOB_KEY_MD5'
  /** An initialization vector that is missing, or has a length that the mode or the service does not take. */
  | 'ERR_MASTER_JOB_IV'
  /** Two files under one key and initialization vector, or in mode `ctr` under counters that meet. */
  | 'ERR_MASTER_JOB_IV_REUSED'
  /** The manifest of an encrypted input is missing, or is that of another master. */
  | 'ERR_MASTER_JOB_MANIFEST'
  /** Not a location in S3 that a job can name. */
  | 'ERR_MASTER_JOB_LOCATION'
  /** No role, or none that the service could assume. */
  | 'ERR_MASTER_JOB_ROLE'
  /** A protection of the outputs that the packaging does not have, or without what it needs. */
  | 'ERR_MASTER_JOB_PROTECTION'
  /** The job asks for something that is not run here. */
  | 'ERR_MASTER_JOB_NOT_RUN'
  /** A preset whose settings are not known here. */
  | 'ERR_MASTER_JOB_PRESET'
  /** The input cannot be decrypted as the job says: tampered with, truncated, or under another key. */
  | 'ERR_MASTER_JOB_INPUT'
  /** The input has a track that the output would not have. */
  | 'ERR_MASTER_JOB_TRACK'
  /** There is no ffmpeg on the PATH. */
  | 'ERR_MASTER_JOB_FFMPEG_MISSING'
  /** ffmpeg failed. */
  | 'ERR_MASTER_JOB_TRANSCODE';

/** Why a job could not be written, run or migrated. The message says what to do next, and holds no key. */
export class MasterJobError extends Error {
  readonly code: MasterJobErrorCode;
  constructor(code: MasterJobErrorCode, message: string) {
    super(message);
    this.name = 'MasterJobError';
    this.code = code;
  }
}
