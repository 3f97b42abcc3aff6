import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { type EncryptionContext, KmsError } from './data-keys.ts';
import { canonicalContext } from './encryption-context.ts';

/**
 * A ciphertext of the embedded KMS:
 *
 *   magic "PKM1" (4) · key id, a UUID (16) · version of the key (4, big endian) · salt (32) · IV (12) · context tag (32) ·
 *   ciphertext (as long as the plaintext) · GCM tag (16)
 *
 * AES-256-GCM (NIST SP 800-38D); everything before the ciphertext is additional authenticated data. The key is derived for this
 * ciphertext alone, by HKDF-SHA-256 (RFC 5869) from the key material and the salt, so that a key may encrypt any number of
 * times. The context tag is HMAC-SHA-256 over the canonical context, under a second derived key: it binds the ciphertext to its
 * context, and tells a wrong context from damage without saying what the right one is.
 */
const MAGIC = Buffer.from('PKM1');
const [KEY_ID_AT, VERSION_AT, SALT_AT, IV_AT, CONTEXT_AT, CIPHERTEXT_AT] = [4, 20, 24, 56, 68, 100];
const TAG_BYTES = 16;

/** What GCM adds to a plaintext here, in bytes. */
export const OVERHEAD_BYTES = CIPHERTEXT_AT + TAG_BYTES;

/** Which key something is under. */
export interface KeyVersion {
  /** UUID. */
  keyId: string;
  /** From 1. */
  version: number;
}

/** Encrypts under 32 bytes of key material. */
export function seal(
  { keyId, version }: KeyVersion,
  material: Uint8Array,
  plaintext: Uint8Array,
  context: EncryptionContext,
): Uint8Array {
  const header = Buffer.alloc(CIPHERTEXT_AT);
  MAGIC.copy(header);
  header.write(keyId.replaceAll('-', ''), KEY_ID_AT, 'hex');
  header.writeUInt32BE(version, VERSION_AT);
  randomBytes(CONTEXT_AT - SALT_AT).copy(header, SALT_AT);
  const { encryptionKey, contextKey } = derive(material, header);
  contextTag(contextKey, context).copy(header, CONTEXT_AT);
  const cipher = createCipheriv('aes-256-gcm', encryptionKey, header.subarray(IV_AT, CONTEXT_AT), {
    authTagLength: TAG_BYTES,
  });
  cipher.setAAD(header);
  const sealed = Buffer.concat([header, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  encryptionKey.fill(0);
  return new Uint8Array(sealed);
}

/** Which key a ciphertext says it is under, of which nothing is verified yet. Throws `ERR_KMS_INVALID_CIPHERTEXT`. */
export function keyVersionOf(ciphertext: Uint8Array): KeyVersion {
  const bytes = Buffer.from(ciphertext.buffer, ciphertext.byteOffset, ciphertext.byteLength);
  if (bytes.length <= OVERHEAD_BYTES || !bytes.subarray(0, KEY_ID_AT).equals(MAGIC)) {
    throw invalid('this is no ciphertext of the embedded KMS; one of AWS KMS needs mastering.kms.provider aws');
  }
  const hex = bytes.toString('hex', KEY_ID_AT, VERSION_AT);
  const keyId = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  return { keyId, version: bytes.readUInt32BE(VERSION_AT) };
}

/**
 * Decrypts what `seal` made under this key material. Throws `ERR_KMS_INVALID_CIPHERTEXT`; nothing is released before the tag and
 * the context are verified.
 */
export function open(material: Uint8Array, ciphertext: Uint8Array, context: EncryptionContext): Uint8Array {
  const header = Buffer.from(ciphertext.subarray(0, CIPHERTEXT_AT));
  const { encryptionKey, contextKey } = derive(material, header);
  const decipher = createDecipheriv('aes-256-gcm', encryptionKey, header.subarray(IV_AT, CONTEXT_AT), {
    authTagLength: TAG_BYTES,
  });
  encryptionKey.fill(0);
  decipher.setAAD(header);
  decipher.setAuthTag(ciphertext.subarray(-TAG_BYTES));
  const plaintext = decipher.update(ciphertext.subarray(CIPHERTEXT_AT, -TAG_BYTES));
  try {
    decipher.final();
  } catch {
    plaintext.fill(0);
    throw invalid(
      'the ciphertext was tampered with, is damaged or incomplete, or the key in the keystore is another one',
    );
  }
  if (!timingSafeEqual(contextTag(contextKey, context), header.subarray(CONTEXT_AT, CIPHERTEXT_AT))) {
    plaintext.fill(0);
    throw invalid(
      'the ciphertext is intact, but the encryption context is not the one it was made with: give exactly the same pairs',
    );
  }
  const released = Uint8Array.from(plaintext);
  plaintext.fill(0);
  return released;
}

function derive(material: Uint8Array, header: Uint8Array) {
  const salt = header.subarray(SALT_AT, IV_AT);
  const derived = Buffer.from(hkdfSync('sha256', material, salt, 'portcullis embedded kms, ciphertext 1', 64));
  return { encryptionKey: derived.subarray(0, 32), contextKey: derived.subarray(32) };
}

function contextTag(contextKey: Uint8Array, context: EncryptionContext): Buffer {
  return createHmac('sha256', contextKey).update(canonicalContext(context)).digest();
}

function invalid(message: string): KmsError {
  return new KmsError('ERR_KMS_INVALID_CIPHERTEXT', message);
}
