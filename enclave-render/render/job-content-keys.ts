import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import type { DataKeys } from '../kms/data-keys.ts';
import { contentKeyContext, type NewContentKey } from '../packaging/content-keys.ts';
import type { KeyTable, WrappedContentKey } from '../packaging/key-table.ts';
import { RenderError } from './render-manifest.ts';

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** AES-128. */
const KEY_BYTES = 16;
const KEY_ID = 'urn:portcullis:job-key:';

/** HKDF-SHA-256 (RFC 5869): one key for the content keys of a job, of its job key of 32 bytes. */
function wrappingKey(jobKey: Uint8Array, jobId: string): Buffer {
  return Buffer.from(hkdfSync('sha256', jobKey, Buffer.from(jobId), 'portcullis-render/1 content keys', 32));
}

/**
 * Content keys of HLS that is packaged in an enclave. It has no KMS but for its job key, so they are random and in the key table under
 * a key derived from the job key: AES-256-GCM, nonce, ciphertext and tag, with the name of the key as associated data. Whoever may
 * open the job key in KMS puts them under a key of the key server (`contentKeysToKms`); the parent never can.
 */
export function contentKeysUnderJobKey(jobKey: Uint8Array, jobId: string): NewContentKey {
  const key = wrappingKey(jobKey, jobId);
  return async (name) => {
    const plaintext = randomBytes(KEY_BYTES);
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(name));
    const sealed = Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
    const context = contentKeyContext(name);
    return {
      plaintext,
      wrapped: { name, encryptedKey: sealed.toString('base64'), keyId: `${KEY_ID}${jobId}`, context },
    };
  };
}

/** The 16 bytes of a content key of that job. Throws `ERR_RENDER_KEY`. */
function openContentKey(key: Buffer, { name, encryptedKey }: WrappedContentKey): Buffer {
  const sealed = Buffer.from(encryptedKey, 'base64');
  try {
    if (sealed.length !== NONCE_BYTES + KEY_BYTES + TAG_BYTES) throw new RangeError();
    const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(name)).setAuthTag(sealed.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
  } catch {
    throw new RenderError('ERR_RENDER_KEY', `content key ${name} does not open with the key of this job`);
  }
}

/**
 * Puts the content keys of a rendered title under a KMS key, which a key server can open (docs/key-delivery.md). `jobKey`: 32 bytes,
 * which the caller overwrites. Rejects with `ERR_RENDER_KEY` for a table of another job or a changed one, and with `KmsError`.
 */
export async function contentKeysToKms(
  table: KeyTable,
  jobKey: Uint8Array,
  jobId: string,
  dataKeys: Pick<DataKeys, 'encrypt'>,
  keyId: string,
): Promise<KeyTable> {
  const key = wrappingKey(jobKey, jobId);
  const keys: WrappedContentKey[] = [];
  try {
    for (const wrapped of table.keys) {
      const plaintext = openContentKey(key, wrapped);
      const context = contentKeyContext(wrapped.name);
      try {
        const { encrypted, keyId: arn } = await dataKeys.encrypt(keyId, plaintext, context);
        keys.push({ name: wrapped.name, encryptedKey: Buffer.from(encrypted).toString('base64'), keyId: arn, context });
      } finally {
        plaintext.fill(0);
      }
    }
  } finally {
    key.fill(0);
  }
  return { format: 'portcullis-content-keys/1', keys };
}
