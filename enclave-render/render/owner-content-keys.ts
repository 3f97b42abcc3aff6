import { createPublicKey, type KeyObject, randomBytes } from 'node:crypto';
import type { DataKeys } from '../kms/data-keys.ts';
import { thumbprint } from '../mastering/public-key.ts';
import { unwrapDataKey, wrapForPublicKey } from '../mastering/recipients.ts';
import { contentKeyContext, type NewContentKey } from '../packaging/content-keys.ts';
import type { KeyTable, WrappedContentKey } from '../packaging/key-table.ts';
import { RenderError } from './render-manifest.ts';

/** AES-128. */
const KEY_BITS = 128;
const KEY_ID = 'urn:portcullis:owner-key:';

/**
 * Content keys of HLS that is packaged in an enclave. It has no KMS but for its job key, so they are random, and in the key table each
 * as a JWE (RFC 7516) for the public key of the owner, who puts them under a key of the key server (`contentKeysToKms`).
 */
export function contentKeysForOwner(ownerKey: KeyObject): NewContentKey {
  return async (name) => {
    const plaintext = randomBytes(KEY_BITS / 8);
    const { encryptedKey, keyId } = await wrapForPublicKey(plaintext, ownerKey);
    const jwe = Buffer.from(encryptedKey).toString('base64');
    const wrapped = { name, encryptedKey: jwe, keyId: `${KEY_ID}${keyId}`, context: contentKeyContext(name) };
    return { plaintext, wrapped };
  };
}

/** The 16 bytes of a content key. Rejects with `ERR_RENDER_KEY`. */
async function openContentKey({ name, encryptedKey, keyId }: WrappedContentKey, privateKey: KeyObject) {
  const jwe = Buffer.from(encryptedKey, 'base64').toString('latin1');
  const own = thumbprint(createPublicKey(privateKey));
  const recipients = [{ type: 'public-key' as const, keyId: own, encryptedKey: jwe }];
  if (keyId === `${KEY_ID}${own}`) {
    const opened = await unwrapDataKey({ recipients, keyBits: KEY_BITS }, { privateKey }).catch(() => undefined);
    if (opened) return opened;
  }
  throw new RenderError('ERR_RENDER_KEY', `content key ${name} does not open with the owner's key`);
}

/**
 * Puts the content keys of a rendered title under a KMS key, which a key server can open (docs/key-delivery.md). Anybody can make a key
 * for the owner: the table has to be one of outputs that were verified. Rejects with `ERR_RENDER_KEY`, and with `KmsError`.
 */
export async function contentKeysToKms(
  table: KeyTable,
  privateKey: KeyObject,
  dataKeys: Pick<DataKeys, 'encrypt'>,
  keyId: string,
): Promise<KeyTable> {
  const keys: WrappedContentKey[] = [];
  for (const wrapped of table.keys) {
    const { name } = wrapped;
    const plaintext = await openContentKey(wrapped, privateKey);
    const context = contentKeyContext(name);
    try {
      const { encrypted, keyId: arn } = await dataKeys.encrypt(keyId, plaintext, context);
      keys.push({ name, encryptedKey: Buffer.from(encrypted).toString('base64'), keyId: arn, context });
    } finally {
      plaintext.fill(0);
    }
  }
  return { format: 'portcullis-content-keys/1', keys };
}
