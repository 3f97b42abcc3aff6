import {
  CloudFrontKeyValueStoreClient,
  ConflictException,
  DescribeKeyValueStoreCommand,
  type DescribeKeyValueStoreRequest,
  GetKeyCommand,
  type GetKeyRequest,
  ListKeysCommand,
  type ListKeysRequest,
  ResourceNotFoundException,
  ServiceQuotaExceededException,
  UpdateKeysCommand,
  type UpdateKeysRequest,
  ValidationException,
} from '@aws-sdk/client-cloudfront-keyvaluestore';
import { mockClient } from 'aws-sdk-client-mock';
import { STORE_LIMITS } from '../../edge-functions/store/key-value-store.ts';

export const STORE_ARN = 'arn:aws:cloudfront::123456789012:key-value-store/54947df8-0e9e-4471-a2f9-9af509fb5889';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';

const told = (message: string) => ({ message, $metadata: { requestId: 'r-1' } });

/**
 * CloudFront KeyValueStore in memory behind a real client, at the shapes of the SDK's types: one ETag over the whole
 * store, IfMatch required, pages of ten unless asked for up to 50, at most 50 keys an update, all of it or nothing. A page
 * shows the store as it is when the page is asked for. Never seen: what the real one does between replicas.
 */
export class KeyValueStoreService {
  readonly client = new CloudFrontKeyValueStoreClient({
    region: 'us-east-1',
    credentials: { accessKeyId: 'a', secretAccessKey: 's' },
  });
  /** The names of the calls that came. */
  readonly calls: string[] = [];
  /** Runs before a call is answered: to change the store behind a caller's back, or to throw. */
  before: (call: string) => void = () => undefined;
  #entries = new Map<string, string>();
  #version = 1;

  constructor() {
    const mock = mockClient(this.client);
    mock.on(DescribeKeyValueStoreCommand).callsFake((input) => this.#answer('Describe', () => this.#describe(input)));
    mock.on(GetKeyCommand).callsFake((input) => this.#answer('Get', () => this.#get(input)));
    mock.on(ListKeysCommand).callsFake((input) => this.#answer('List', () => this.#list(input)));
    mock.on(UpdateKeysCommand).callsFake((input) => this.#answer('Update', () => this.#update(input)));
  }

  /** What another writer does. */
  put(key: string, value: string): void {
    this.#entries.set(key, value);
    this.#version++;
  }

  get #etag(): string {
    return `KV${this.#version}`;
  }

  async #answer<Answer>(call: string, answer: () => Answer): Promise<Answer> {
    this.calls.push(call);
    this.before(call);
    return answer();
  }

  #found(arn: string | undefined): void {
    if (arn !== STORE_ARN) throw new ResourceNotFoundException(told('Resource was not found.'));
  }

  #metadata() {
    const sizes = [...this.#entries].map(([key, value]) => Buffer.byteLength(key) + Buffer.byteLength(value));
    const TotalSizeInBytes = sizes.reduce((sum, size) => sum + size, 0);
    return { ItemCount: this.#entries.size, TotalSizeInBytes, ETag: this.#etag };
  }

  #describe({ KvsARN }: DescribeKeyValueStoreRequest) {
    this.#found(KvsARN);
    return { ...this.#metadata(), KvsARN, Created: new Date(0), Status: 'READY' };
  }

  #get({ KvsARN, Key = '' }: GetKeyRequest) {
    this.#found(KvsARN);
    const Value = this.#entries.get(Key);
    if (Value === undefined) throw new ResourceNotFoundException(told('Key was not found.'));
    return { ...this.#metadata(), Key, Value };
  }

  #list({ KvsARN, NextToken, MaxResults = 10 }: ListKeysRequest) {
    this.#found(KvsARN);
    if (MaxResults < 1 || MaxResults > 50) throw new ValidationException(told('MaxResults'));
    const start = Number(NextToken ?? 0);
    const page = [...this.#entries].slice(start, start + MaxResults);
    const Items = page.map(([Key, Value]) => ({ Key, Value }));
    return start + MaxResults < this.#entries.size ? { Items, NextToken: String(start + MaxResults) } : { Items };
  }

  #update({ KvsARN, IfMatch, Puts = [], Deletes = [] }: UpdateKeysRequest) {
    this.#found(KvsARN);
    if (!IfMatch) throw new ValidationException(told('IfMatch is required'));
    if (IfMatch !== this.#etag) throw new ConflictException(told('Resource is not in expected state.'));
    if (Puts.length + Deletes.length > STORE_LIMITS.keysPerUpdate) throw new ValidationException(told('too many keys'));
    const before = this.#entries;
    this.#entries = new Map(before);
    for (const { Key = '', Value = '' } of Puts) this.#entries.set(Key, Value);
    for (const { Key = '' } of Deletes) this.#entries.delete(Key);
    if (this.#metadata().TotalSizeInBytes > STORE_LIMITS.totalBytes) {
      this.#entries = before;
      throw new ServiceQuotaExceededException(told('Limit exceeded.'));
    }
    this.#version++;
    return this.#metadata();
  }
}
