import * as v from 'valibot';
import type { EncryptionContext } from '../kms/data-keys.ts';
import { PackagingError } from './errors.ts';

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

const KeyTableSchema = v.strictObject({
  format: v.literal('portcullis-content-keys/1'),
  keys: v.array(
    v.strictObject({
      name: v.pipe(v.string(), v.regex(/^[\w-]+$/)),
      encryptedKey: v.pipe(v.string(), v.base64(), v.maxLength(8192)),
      keyId: v.pipe(v.string(), v.nonEmpty()),
      context: v.record(v.string(), v.string()),
    }),
  ),
});

/** Reads a key table strictly. Throws `ERR_PACKAGE_KEY_TABLE` with the path of the offending field, not its content. */
export function parseKeyTable(json: string): KeyTable {
  let content: unknown;
  try {
    content = JSON.parse(json);
  } catch {
    throw new PackagingError('ERR_PACKAGE_KEY_TABLE', 'the table of content keys is not JSON: package the title again');
  }
  const result = v.safeParse(KeyTableSchema, content);
  if (result.success) return result.output;
  const field = v.getDotPath(result.issues[0]) ?? 'content';
  throw new PackagingError(
    'ERR_PACKAGE_KEY_TABLE',
    `the table of content keys is damaged at ${field}: package the title again`,
  );
}
