/** What a ciphertext of KMS is bound to: authenticated, not encrypted, and logged in clear (AWS KMS, "Encryption context"). */
export type EncryptionContext = Readonly<Record<string, string>>;

/** Lengths of a data key in bits. */
export type DataKeyBits = 128 | 192 | 256;

/** A data key, in clear and as KMS encrypted it. Whoever holds one overwrites `plaintext` with zeroes when done. */
export interface DataKey {
  plaintext: Uint8Array;
  /** `CiphertextBlob` of KMS: it says itself which key it is under. */
  encrypted: Uint8Array;
  /** ARN of the KMS key. */
  keyId: string;
}

/**
 * The part of AWS KMS that mastering needs: AWS itself (`kms.ts`), or keys on this machine with the same semantics
 * (`embedded.ts`). Key ids are what KMS takes: id, ARN, `alias/name` or ARN of an alias. All reject with `KmsError`.
 */
export interface DataKeys {
  /** GenerateDataKey: a new key of so many bits, and the same under the KMS key. */
  generate(keyId: string, bits: DataKeyBits, context: EncryptionContext): Promise<DataKey>;
  /** Encrypt: at most 4,096 bytes. */
  encrypt(
    keyId: string,
    plaintext: Uint8Array,
    context: EncryptionContext,
  ): Promise<{ encrypted: Uint8Array; keyId: string }>;
  /** Decrypt; with `keyId`, only what is under that key. `context` must be the one of the encryption. */
  decrypt(
    encrypted: Uint8Array,
    context: EncryptionContext,
    keyId?: string,
  ): Promise<{ plaintext: Uint8Array; keyId: string }>;
  /** ReEncrypt: puts a ciphertext under another key or context; the plaintext stays in KMS. */
  reEncrypt(
    encrypted: Uint8Array,
    from: EncryptionContext,
    keyId: string,
    to: EncryptionContext,
  ): Promise<{ encrypted: Uint8Array; keyId: string }>;
}

/** A key that KMS encrypted for an enclave: CMS EnvelopedData (RFC 5652 §6), which anybody can make; see `commitment.ts`. */
export interface KeyForRecipient {
  ciphertextForRecipient: Uint8Array;
  /** ARN of the KMS key. */
  keyId: string;
}

/**
 * Decrypt with `Recipient` (AWS KMS API): the plaintext goes to nobody but the enclave whose attestation document it is, encrypted to
 * the public key in that document, and only if its registers are those of the key's policy. All reject with `KmsError`.
 */
export interface AttestedDataKeys {
  decryptForRecipient(
    encrypted: Uint8Array,
    context: EncryptionContext,
    attestationDocument: Uint8Array,
    keyId?: string,
  ): Promise<KeyForRecipient>;
}

export type KmsErrorCode =
  /** No such key or alias (NotFoundException). */
  | 'ERR_KMS_NOT_FOUND'
  /** An alias of this name is there already (AlreadyExistsException). */
  | 'ERR_KMS_ALREADY_EXISTS'
  /** The key is disabled (DisabledException). */
  | 'ERR_KMS_DISABLED'
  /** The key is pending deletion or import, or of a kind that cannot do this (KMSInvalidStateException, InvalidKeyUsageException). */
  | 'ERR_KMS_INVALID_STATE'
  /** Not a ciphertext of this KMS, tampered with, or another context (InvalidCiphertextException). */
  | 'ERR_KMS_INVALID_CIPHERTEXT'
  /** Under another key than the one that was named (IncorrectKeyException). */
  | 'ERR_KMS_INCORRECT_KEY'
  /** An argument that KMS does not take (ValidationException). */
  | 'ERR_KMS_VALIDATION'
  /** No permission, no credentials; also a ciphertext under a key that is not there (AccessDeniedException). */
  | 'ERR_KMS_ACCESS'
  /** KMS did not answer, or asked to come again later. */
  | 'ERR_KMS_UNAVAILABLE'
  /** The keystore of this machine cannot be used: readable by others, damaged, under another passphrase. */
  | 'ERR_KMS_KEYSTORE';

/** Why KMS did not do it. The message says what to do next; it holds no key material, and contexts only as the caller gave them. */
export class KmsError extends Error {
  readonly code: KmsErrorCode;
  constructor(code: KmsErrorCode, message: string) {
    super(message);
    this.name = 'KmsError';
    this.code = code;
  }
}
