import type { Readable } from 'node:stream';

/** How the store itself encrypts an object (Amazon S3, "Protecting data with encryption"). */
export type ObjectEncryption =
  | { type: 'SSE-S3' }
  | { type: 'SSE-KMS' | 'DSSE-KMS'; keyId?: string; context?: Readonly<Record<string, string>> }
  /** 32 bytes that the store forgets; they are needed again to read. */
  | { type: 'SSE-C'; key: Uint8Array };

export interface PutOptions {
  /** The bucket's default when there is none. */
  encryption?: ObjectEncryption | undefined;
  contentType?: string | undefined;
  /** Refuses when there is an object of that name. */
  ifAbsent?: boolean | undefined;
  /** Length of the source. One that holds another number of bytes is refused; without it S3 takes 156 GiB at most. */
  bytes?: number | undefined;
  /** Told how many bytes have been taken. */
  onProgress?: ((bytes: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** What a store knows of an object. */
export interface ObjectInfo {
  key: string;
  bytes: number;
  etag: string;
  contentType?: string | undefined;
  /** As the store reports it, never with a key. */
  encryption?: { type: ObjectEncryption['type']; keyId?: string | undefined } | undefined;
  /** SHA-256 of the content in base64, when the store has one of the whole object. */
  sha256?: string | undefined;
}

/** A bucket: S3 (`s3.ts`), or a folder (`files.ts`). All reject with `StorageError`; what it means is said at the codes. */
export interface ObjectStore {
  /**
   * Stores what a stream holds; a source that fails, or a signal, leaves nothing behind and rejects with the error of the source,
   * or the reason of the signal.
   */
  put(key: string, source: Readable, options?: PutOptions): Promise<ObjectInfo>;
  /**
   * `sseKey`: the 32 bytes of an object under SSE-C. `range`: first and last byte; a last one behind the end means the end.
   * The body fails with `StorageError` too: what came before an error is not to be used.
   */
  get(
    key: string,
    options?: { sseKey?: Uint8Array | undefined; range?: [first: number, last: number] | undefined },
  ): Promise<{ info: ObjectInfo; body: Readable }>;
  head(key: string, options?: { sseKey?: Uint8Array | undefined }): Promise<ObjectInfo>;
  /** All objects whose keys begin so, in the order of the bytes of their keys. */
  list(prefix: string): AsyncIterable<ObjectInfo>;
  /** Also when there is none. */
  delete(key: string): Promise<void>;
}

export type StorageErrorCode =
  | 'ERR_STORAGE_NOT_FOUND'
  | 'ERR_STORAGE_EXISTS'
  /** No permission, no credentials; a policy refused it. */
  | 'ERR_STORAGE_ACCESS'
  /** A name, an encryption or a key that the store does not take. */
  | 'ERR_STORAGE_INVALID'
  /** What arrived is not what was sent. */
  | 'ERR_STORAGE_CHECKSUM'
  | 'ERR_STORAGE_UNAVAILABLE';

/** Why an object could not be stored or read. The message says what to do next, and holds no key. */
export class StorageError extends Error {
  readonly code: StorageErrorCode;
  constructor(code: StorageErrorCode, message: string) {
    super(message);
    this.name = 'StorageError';
    this.code = code;
  }
}

/** Longest key in bytes of UTF-8 (Amazon S3, "Naming Amazon S3 objects"). */
const MAX_KEY_BYTES = 1024;

/**
 * Refuses a key that means something else in another store or to a tool between: absolute, with segments that are empty, `.` or
 * `..`, with controls. Throws `ERR_STORAGE_INVALID`.
 */
export function checkKey(key: string): void {
  const refuse = (why: string) => {
    const rule = 'a key is segments with / between them, none of them empty, . or ..';
    throw new StorageError('ERR_STORAGE_INVALID', `object key ${JSON.stringify(key)} ${why}: ${rule}`);
  };
  if (key === '') refuse('is empty');
  if (Buffer.byteLength(key) > MAX_KEY_BYTES) refuse(`is longer than ${MAX_KEY_BYTES} bytes`);
  if (/\p{Cc}/u.test(key) || /\p{Cs}/u.test(key)) refuse('has a control character, or half of one');
  if (key.split('/').some((segment) => ['', '.', '..'].includes(segment))) refuse('is no safe path');
}

/** Refuses a range that is none, whatever the object. Throws `ERR_STORAGE_INVALID`. */
export function checkRange([first, last]: [first: number, last: number]): void {
  if (Number.isSafeInteger(first) && Number.isSafeInteger(last) && first >= 0 && first <= last) return;
  throw new StorageError('ERR_STORAGE_INVALID', `range ${first}-${last}: first and last byte, counted from 0`);
}

/** Refuses what is no name of a bucket (Amazon S3, "General purpose bucket naming rules"). Throws `ERR_STORAGE_INVALID`. */
export function checkBucketName(bucket: string): void {
  if (/^(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) return;
  const rule = '3 to 63 lower-case letters, digits, dots and hyphens';
  throw new StorageError('ERR_STORAGE_INVALID', `${JSON.stringify(bucket)} is no bucket name: ${rule}`);
}
