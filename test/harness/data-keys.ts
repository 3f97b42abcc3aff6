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

/** Data keys as long as the test, with the number of those that were made. */
export function temporaryDataKeys(): Pick<DataKeys, 'generate' | 'decrypt'> & { calls: { generate: number } } {
  const { generate, decrypt } = awsLikeDataKeys();
  const calls = { generate: 0 };
  return {
    calls,
    decrypt,
    generate(_keyId, bits, context) {
      calls.generate++;
      return generate(AWS_KEY, bits, context);
    },
  };
}
