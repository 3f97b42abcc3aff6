import {
  CloudFrontKeyValueStoreClient,
  DescribeKeyValueStoreCommand,
  GetKeyCommand,
  ListKeysCommand,
  type ListKeysCommandOutput,
  UpdateKeysCommand,
} from '@aws-sdk/client-cloudfront-keyvaluestore';
// Registers SigV4A, which the client signs with and does not bring along.
import '@aws-sdk/signature-v4a';
import { type AwsFailure, awsFailure } from './aws-failure.ts';
import {
  checkUpdateLimits,
  type EntryMap,
  type KeyValueStore,
  STORE_LIMITS,
  StoreError,
  type StoreErrorCode,
  type StoreUpdate,
} from './key-value-store.ts';

/** Entries a page, the most that ListKeys gives. */
const PAGE = 50;

/** How often the store is read when others keep changing it meanwhile. */
const ATTEMPTS = 5;

const CODES: Record<AwsFailure['cause'], StoreErrorCode> = {
  credentials: 'ERR_STORE_CREDENTIALS',
  denied: 'ERR_STORE_DENIED',
  throttled: 'ERR_STORE_THROTTLED',
  unreachable: 'ERR_STORE_UNAVAILABLE',
  failed: 'ERR_STORE_UNAVAILABLE',
  refused: 'ERR_STORE_REFUSED',
  answer: 'ERR_STORE_REFUSED',
};

const ACTIONS = ['DescribeKeyValueStore', 'GetKey', 'ListKeys', 'UpdateKeys']
  .map((a) => `cloudfront-keyvaluestore:${a}`)
  .join(', ');

/** What ValidationException stands for is in its text alone, which may quote entries: it is looked at, never passed on. */
const STALE_ETAG = /pre-?condition|if-?match|\betag\b/i;
const TOO_LARGE = /size|length|limit|exceed|too (?:large|long|many)|at most|maximum/i;

/**
 * CloudFront KeyValueStore as a `KeyValueStore`: DescribeKeyValueStore for the ETag, GetKey, ListKeys, UpdateKeys (Amazon
 * CloudFront API Reference, "Amazon CloudFront KeyValueStore"; quotas: Developer Guide). Listing takes a call for every
 * 50 entries. Replicas have a change after some seconds, with no promise from AWS.
 *
 * Rejects with `StoreError`: `ERR_STORE_ETAG`, `_LIMIT`, `_MISSING`, `_CREDENTIALS`, `_DENIED`, `_THROTTLED`,
 * `_UNAVAILABLE`, `_REFUSED`. Throttling and faults are reported once the client has tried as often as it is set to.
 */
export class AwsKeyValueStore implements KeyValueStore {
  readonly #client: CloudFrontKeyValueStoreClient;
  readonly #arn: string;

  /**
   * `arn`: `arn:aws:cloudfront::<account>:key-value-store/<id>`. The client needs a region for its credentials; session
   * tokens of the global STS endpoint are not accepted for SigV4A (set AWS_STS_REGIONAL_ENDPOINTS=regional).
   */
  constructor(client: CloudFrontKeyValueStoreClient, arn: string) {
    this.#client = client;
    this.#arn = arn;
  }

  async list(): Promise<{ entries: EntryMap; etag: string }> {
    let etag = await this.etag();
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const entries = await this.#entries();
      const before = etag;
      etag = await this.etag();
      // Pages belong to no version: only what did not change while they were read is one state of the store.
      if (etag === before) return { entries, etag };
    }
    const message = `it changed each of the ${ATTEMPTS} times it was read: try again when less is published`;
    throw this.#error('ERR_STORE_ETAG', message);
  }

  async update({ puts, deletes }: StoreUpdate, ifMatch: string): Promise<string> {
    checkUpdateLimits({ puts, deletes });
    const command = new UpdateKeysCommand({
      KvsARN: this.#arn,
      IfMatch: ifMatch,
      Puts: puts.map(({ key, value }) => ({ Key: key, Value: value })),
      Deletes: deletes.map((key) => ({ Key: key })),
    });
    const { ETag } = await this.#client.send(command).catch((error) => this.#refuse(error));
    return this.#required(ETag);
  }

  async etag(): Promise<string> {
    const command = new DescribeKeyValueStoreCommand({ KvsARN: this.#arn });
    const { ETag } = await this.#client.send(command).catch((error) => this.#refuse(error));
    return this.#required(ETag);
  }

  /** The value of one key, in one call however large the store is; undefined when it has none. */
  async get(key: string): Promise<string | undefined> {
    const command = new GetKeyCommand({ KvsARN: this.#arn, Key: key });
    const { Value } = await this.#client.send(command).catch((error: Error) => {
      // Also of a store that is not there: the answer does not say which.
      if (error.name === 'ResourceNotFoundException') return { Value: undefined };
      return this.#refuse(error);
    });
    return Value;
  }

  async #entries(): Promise<Map<string, string>> {
    const entries = new Map<string, string>();
    let NextToken: string | undefined;
    do {
      const command: ListKeysCommand = new ListKeysCommand({ KvsARN: this.#arn, MaxResults: PAGE, NextToken });
      const page: ListKeysCommandOutput = await this.#client.send(command).catch((error) => this.#refuse(error));
      for (const { Key, Value } of page.Items ?? []) entries.set(this.#required(Key), this.#required(Value));
      NextToken = page.NextToken;
    } while (NextToken);
    return entries;
  }

  #required(value: string | undefined): string {
    if (value !== undefined) return value;
    throw this.#error('ERR_STORE_REFUSED', 'the answer lacks a field: what answered is not CloudFront KeyValueStore');
  }

  /** Throws the error of a call in our words. What is no error of the call is thrown as it is. */
  #refuse(error: unknown): never {
    const { name, message } = error as Error;
    const invalid = name === 'ValidationException';
    if (name === 'ConflictException' || (invalid && STALE_ETAG.test(message))) {
      throw this.#error('ERR_STORE_ETAG', 'the store was changed by somebody else: read it again');
    }
    if (name === 'ServiceQuotaExceededException' || (invalid && TOO_LARGE.test(message))) {
      const limits = `${STORE_LIMITS.totalBytes} bytes in all, ${STORE_LIMITS.keyBytes} a key, ${STORE_LIMITS.valueBytes} a value`;
      throw this.#error('ERR_STORE_LIMIT', `a limit of CloudFront would be passed (${limits}): remove entries first`);
    }
    if (name === 'ResourceNotFoundException') {
      throw this.#error(
        'ERR_STORE_MISSING',
        'there is no such store: aws cloudfront list-key-value-stores shows the ARNs',
      );
    }
    const failure = awsFailure(error, 'CloudFront KeyValueStore', `${ACTIONS} on ${this.#arn}`);
    throw failure ? this.#error(CODES[failure.cause], `${failure.advice} (${failure.detail})`) : error;
  }

  #error(code: StoreErrorCode, message: string): StoreError {
    return new StoreError(code, `key-value store ${this.#arn}: ${message}`);
  }
}

/** A client for the account of the environment. KeyValueStore is called in us-east-1, whatever region is set. */
export function keyValueStoreClient(): CloudFrontKeyValueStoreClient {
  return new CloudFrontKeyValueStoreClient({ region: 'us-east-1' });
}
