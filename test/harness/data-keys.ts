import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { type DataKeys, type EncryptionContext, KmsError } from '../../enclave-render/kms/data-keys.ts';

/** An ARN of AWS KMS that is nobody's. */
export const AWS_KEY = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab';

/**
 * Data keys whose KMS keys have ARNs of AWS, which the keys of this machine cannot have and a job of AWS needs. As long as those of AWS
 * KMS: 168 bytes for a key of 16.
 */
export function awsLikeDataKeys(): DataKeys {
  const material = randomBytes(32);
  const bytesOf = (context: EncryptionContext) => Buffer.from(JSON.stringify(Object.entries(context).sort()));
  const seal = (keyId: string, plaintext: Uint8Array, context: EncryptionContext) => {
    const header = Buffer.alloc(124);
    header.write(keyId);
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', material, iv);
    cipher.setAAD(Buffer.concat([header, bytesOf(context)]));
    return {
      encrypted: Buffer.concat([header, iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]),
      keyId,
    };
  };
  const open = (encrypted: Uint8Array, context: EncryptionContext) => {
    const header = encrypted.subarray(0, 124);
    const decipher = createDecipheriv('aes-256-gcm', material, encrypted.subarray(124, 136), { authTagLength: 16 });
    decipher.setAAD(Buffer.concat([header, bytesOf(context)]));
    decipher.setAuthTag(encrypted.subarray(-16));
    try {
      const plaintext = Buffer.concat([decipher.update(encrypted.subarray(136, -16)), decipher.final()]);
      return { plaintext, keyId: Buffer.from(header).toString().replaceAll('\0', '') };
    } catch {
      throw new KmsError('ERR_KMS_INVALID_CIPHERTEXT', 'the ciphertext or its context is another one');
    }
  };
  return {
    generate: async (keyId, bits, context) => {
      const plaintext = randomBytes(bits / 8);
      return { plaintext, ...seal(keyId, plaintext, context) };
    },
    encrypt: async (keyId, plaintext, context) => seal(keyId, plaintext, context),
    decrypt: async (encrypted, context) => open(encrypted, context),
    reEncrypt: async (encrypted, from, keyId, to) => seal(keyId, open(encrypted, from).plaintext, to),
  };
}

/** The ways in which a key could stand in a text. */
export function spellings(key: Uint8Array): string[] {
  const bytes = Buffer.from(key);
  const unpadded = bytes.toString('base64').replace(/=+$/, '');
  return [
    unpadded,
    bytes.toString('base64url'),
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
    bytes.toString('latin1'),
  ];
}

const KEY_ID = 'arn:aws:kms:local:000000000000:key/00000000-0000-4000-8000-000000000000';

/** Data keys under a key that lives as long as the test: AES-256-GCM with the context as authenticated data. */
export function temporaryDataKeys(): Pick<DataKeys, 'generate' | 'decrypt'> & { calls: { generate: number } } {
  const secret = randomBytes(32);
  const authenticated = (context: EncryptionContext) => JSON.stringify(Object.entries(context).sort());
  const calls = { generate: 0 };
  return {
    calls,
    async generate(_keyId, bits, context) {
      calls.generate++;
      const plaintext = randomBytes(bits / 8);
      const iv = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', secret, iv).setAAD(Buffer.from(authenticated(context)));
      const body = Buffer.concat([cipher.update(plaintext), cipher.final()]);
      return { plaintext, encrypted: Buffer.concat([iv, cipher.getAuthTag(), body]), keyId: KEY_ID };
    },
    async decrypt(encrypted, context) {
      const decipher = createDecipheriv('aes-256-gcm', secret, encrypted.subarray(0, 12), { authTagLength: 16 });
      decipher.setAAD(Buffer.from(authenticated(context))).setAuthTag(encrypted.subarray(12, 28));
      try {
        const plaintext = Buffer.concat([decipher.update(encrypted.subarray(28)), decipher.final()]);
        return { plaintext, keyId: KEY_ID };
      } catch {
        throw new KmsError('ERR_KMS_INVALID_CIPHERTEXT', 'not a ciphertext of this test, or another context');
      }
    },
  };
}
