import type { EncryptionContext } from '../kms/data-keys.ts';

/** A key that segments are encrypted with (HLS `METHOD=AES-128`), as it is kept: encrypted by KMS. */
export interface WrappedContentKey {
  /** Letters, digits and `-`: players get it as `keys/<name>.key`, relative to the title's folder. */
  name: string;
  /** Base64 of the 16 bytes encrypted by KMS. */
  encryptedKey: string;
  /** ARN of the KMS key. */
  keyId: string;
  context: EncryptionContext;
}

/** File `keys.json` of a packaged title: for the key server, never served. */
export interface KeyTable {
  format: 'portcullis-content-keys/1';
  keys: WrappedContentKey[];
}
