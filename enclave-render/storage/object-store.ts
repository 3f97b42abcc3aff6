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

/** A bucket: S3 (`s3.ts`), or a folder (`files.ts`). All reject with `StorageError`. */
export interface ObjectStore {
  /** Stores what a stream holds; a source that fails leaves nothing behind. */
  put(key: string, source: Readable, options?: PutOptions): Promise<ObjectInfo>;
  /** `sseKey`: the 32 bytes of an object under SSE-C. `range`: first and last byte. */
  get(
    key: string,
    options?: { sseKey?: Uint8Array | undefined; range?: [first: number, last: number] | undefined },
  ): Promise<{ info: ObjectInfo; body: Readable }>;
  head(key: string, options?: { sseKey?: Uint8Array | undefined }): Promise<ObjectInfo>;
  /** All objects whose keys begin so, in order. */
  list(prefix: string): AsyncIterable<ObjectInfo>;
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
