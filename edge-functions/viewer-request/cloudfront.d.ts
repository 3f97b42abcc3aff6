/** The module that CloudFront Functions runtime 2.0 provides, as far as it is used here. */
declare module 'cloudfront' {
  interface KeyValueStoreHandle {
    /** Rejects when the key does not exist. */
    get(key: string, options?: { format: 'string' | 'json' | 'bytes' }): Promise<unknown>;
    exists(key: string): Promise<boolean>;
  }
  const cf: {
    kvs(): KeyValueStoreHandle;
    /** Puts text, at most 800 bytes, into the field `viewer-request-log-data` of the access log; the last call counts. */
    logCustomData(text: string): void;
  };
  export default cf;
}
