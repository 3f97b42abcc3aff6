/** Limits of CloudFront KeyValueStore (AWS, "Quotas on CloudFront KeyValueStore"), in bytes unless named otherwise. */
export const STORE_LIMITS = {
  totalBytes: 5 * 1024 * 1024,
  keyBytes: 512,
  valueBytes: 1024,
  keysPerUpdate: 50,
} as const;

export type EntryMap = ReadonlyMap<string, string>;

/** One change of the store; all of it or nothing is applied. */
export interface StoreUpdate {
  puts: { key: string; value: string }[];
  deletes: string[];
}

export type StoreErrorCode =
  /** Somebody else wrote meanwhile. */
  | 'ERR_STORE_ETAG'
  /** A limit would be passed. */
  | 'ERR_STORE_LIMIT'
  | 'ERR_STORE_FILE'
  | 'ERR_STORE_COMMAND'
  /** There is no such store. */
  | 'ERR_STORE_MISSING'
  /** No AWS credentials, or none that AWS accepts. */
  | 'ERR_STORE_CREDENTIALS'
  /** The credentials do not permit it. */
  | 'ERR_STORE_DENIED'
  | 'ERR_STORE_THROTTLED'
  /** No connection, no reply in time, or a fault of the service: an update may have been applied. */
  | 'ERR_STORE_UNAVAILABLE'
  /** The service refused for another reason, or answered something that its API reference does not provide for. */
  | 'ERR_STORE_REFUSED';

/** Why the store cannot be read or changed; the message says what to do next and quotes no entry: those hold keys. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;
  constructor(code: StoreErrorCode, message: string) {
    super(message);
    this.name = 'StoreError';
    this.code = code;
  }
}

/** The key-value store beside the edge function, with CloudFront's semantics: one ETag over the whole store. */
export interface KeyValueStore {
  /** All entries with the ETag they belong to. Expensive on AWS. */
  list(): Promise<{ entries: EntryMap; etag: string }>;
  /** The ETag of the store as it is now. Cheap. */
  etag(): Promise<string>;
  /**
   * Applies at most `keysPerUpdate` changes if the store still has this ETag and resolves to the new one. Rejects with
   * `ERR_STORE_ETAG` when somebody else wrote meanwhile, `ERR_STORE_LIMIT` when a limit would be passed.
   */
  update(change: StoreUpdate, ifMatch: string): Promise<string>;
}

/** Throws `ERR_STORE_LIMIT` when `entries` would not fit. */
export function checkStoreLimits(entries: EntryMap): void {
  let total = 0;
  for (const [key, value] of entries) {
    const keyBytes = Buffer.byteLength(key);
    const valueBytes = Buffer.byteLength(value);
    total += keyBytes + valueBytes;
    if (keyBytes > STORE_LIMITS.keyBytes || valueBytes > STORE_LIMITS.valueBytes) {
      throw new StoreError('ERR_STORE_LIMIT', `an entry has ${keyBytes} + ${valueBytes} bytes, at most 512 + 1024 fit`);
    }
  }
  if (total > STORE_LIMITS.totalBytes) {
    throw new StoreError('ERR_STORE_LIMIT', `the entries have ${total} bytes, at most ${STORE_LIMITS.totalBytes} fit`);
  }
}

/** Throws `ERR_STORE_LIMIT` when a change has more keys than one update takes, or an entry that would never fit. */
export function checkUpdateLimits({ puts, deletes }: StoreUpdate): void {
  if (puts.length + deletes.length > STORE_LIMITS.keysPerUpdate) {
    throw new StoreError('ERR_STORE_LIMIT', `at most ${STORE_LIMITS.keysPerUpdate} keys can be changed at once`);
  }
  checkStoreLimits(new Map(puts.map(({ key, value }) => [key, value])));
}
