import { createPublicKey, type KeyObject } from 'node:crypto';
import { CompactEncrypt, compactDecrypt } from 'jose';
import type { DataKey, DataKeyBits, DataKeys, EncryptionContext } from '../kms/data-keys.ts';
import { explainContext } from '../kms/encryption-context.ts';
import type { MasterManifest, Recipient } from './manifest.ts';
import { MasterError } from './master-error.ts';
import { thumbprint } from './public-key.ts';

/** A KMS key, and the context that data keys are encrypted in. */
export interface KmsRecipient {
  dataKeys: DataKeys;
  keyId: string;
  context: EncryptionContext;
}

/** What a master can be opened with: at least one of these. */
export interface OpeningKeys {
  dataKeys?: DataKeys | undefined;
  /** The context to decrypt in, of a caller who knows it; the one that the manifest says unless given. */
  context?: EncryptionContext | undefined;
  /** Of a recipient: EC (P-256, P-384, P-521), X25519 or RSA. */
  privateKey?: KeyObject | undefined;
  /** The data key itself. */
  dataKey?: Uint8Array | undefined;
}

const CONTENT_ENCRYPTION = 'A256GCM';

/** Algorithm of the JWE (RFC 7518 §4) by the type of key. */
function algorithmOf(key: KeyObject): 'ECDH-ES+A256KW' | 'RSA-OAEP-256' {
  if (key.asymmetricKeyType === 'rsa' && (key.asymmetricKeyDetails?.modulusLength ?? 0) >= 2048) return 'RSA-OAEP-256';
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType === 'ec' && ['prime256v1', 'secp384r1', 'secp521r1'].includes(curve ?? ''))
    return 'ECDH-ES+A256KW';
  if (key.asymmetricKeyType === 'x25519') return 'ECDH-ES+A256KW';
  throw new MasterError(
    'ERR_MASTER_RECIPIENT',
    'a recipient has an EC key (P-256, P-384, P-521), an X25519 key, or an RSA key of 2048 bits or more',
  );
}

/** Encrypts a data key for the owner of a public key. Throws `ERR_MASTER_RECIPIENT`. */
export async function wrapForPublicKey(dataKey: Uint8Array, key: KeyObject): Promise<Recipient> {
  const alg = algorithmOf(key);
  const keyId = thumbprint(key);
  const jwe = new CompactEncrypt(dataKey).setProtectedHeader({ alg, enc: CONTENT_ENCRYPTION, kid: keyId });
  return { type: 'public-key', keyId, encryptedKey: await jwe.encrypt(key) };
}

/** Encrypts a data key with a KMS key. Rejects with `KmsError`. */
export async function wrapForKms(dataKey: Uint8Array, { dataKeys, keyId, context }: KmsRecipient): Promise<Recipient> {
  return kmsRecipient(await dataKeys.encrypt(keyId, dataKey, context), context);
}

/** A new data key of a KMS key, with what it is to be opened by. Rejects with `KmsError`. */
export async function generateDataKey(
  { dataKeys, keyId, context }: KmsRecipient,
  bits: DataKeyBits,
): Promise<{ dataKey: Uint8Array; recipient: Recipient }> {
  const made = await dataKeys.generate(keyId, bits, context);
  return { dataKey: made.plaintext, recipient: kmsRecipient(made, context) };
}

function kmsRecipient(
  { encrypted, keyId }: Pick<DataKey, 'encrypted' | 'keyId'>,
  context: EncryptionContext,
): Recipient {
  return { type: 'kms', keyId, context, encryptedKey: Buffer.from(encrypted).toString('base64') };
}

/**
 * The data key of a master, from what the caller has. Throws `ERR_MASTER_RECIPIENT` when that is none of the recipients,
 * `ERR_MASTER_KEY_LENGTH`, `KmsError` when KMS refuses.
 */
export async function unwrapDataKey(
  { recipients, keyBits }: Pick<MasterManifest, 'recipients' | 'keyBits'>,
  keys: OpeningKeys,
): Promise<Uint8Array> {
  const dataKey = keys.dataKey ? Uint8Array.from(keys.dataKey) : await unwrap(recipients, keys);
  if (dataKey.length * 8 === keyBits) return dataKey;
  dataKey.fill(0);
  throw new MasterError(
    'ERR_MASTER_KEY_LENGTH',
    `the data key has ${dataKey.length} bytes, the manifest speaks of ${keyBits / 8}: it is the key of another master`,
  );
}

async function unwrap(recipients: Recipient[], { dataKeys, context, privateKey }: OpeningKeys): Promise<Uint8Array> {
  if (privateKey) {
    const mine = thumbprint(createPublicKey(privateKey));
    const recipient = recipients.find(({ type, keyId }) => type === 'public-key' && keyId === mine);
    if (recipient) return unwrapWithPrivateKey(recipient.encryptedKey, privateKey);
  }
  let refusal: unknown;
  for (const recipient of dataKeys ? recipients : []) {
    if (recipient.type !== 'kms') continue;
    const supplied = context ?? recipient.context;
    try {
      const encrypted = Buffer.from(recipient.encryptedKey, 'base64');
      return (await dataKeys?.decrypt(encrypted, supplied, recipient.keyId))?.plaintext as Uint8Array;
    } catch (error) {
      // The manifest says in which context it is: whoever reads the error sees that one, and which one was used.
      refusal ??= explainContext(error, recipient.context, supplied);
    }
  }
  if (refusal) throw refusal;
  const who = recipients.map(({ type, keyId }) => `${type} ${keyId}`).join(', ') || 'nobody';
  throw new MasterError('ERR_MASTER_RECIPIENT', `the master is for ${who}: give one of their keys, or the data key`);
}

async function unwrapWithPrivateKey(jwe: string, privateKey: KeyObject): Promise<Uint8Array> {
  try {
    const { plaintext } = await compactDecrypt(jwe, privateKey, {
      keyManagementAlgorithms: [algorithmOf(privateKey)],
      contentEncryptionAlgorithms: [CONTENT_ENCRYPTION],
    });
    return plaintext;
  } catch {
    throw new MasterError('ERR_MASTER_RECIPIENT', 'the encrypted key for this private key was changed');
  }
}
