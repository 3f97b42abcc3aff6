import type { DataKeyBits, EncryptionContext } from '../kms/data-keys.ts';

/**
 * How a master is encrypted. `gcm`, `ctr` and `cbc` have the byte layout that AWS Elemental MediaConvert reads: raw ciphertext
 * without a header, in `gcm` with the 16 bytes of the tag at the end. `framed` is our archive (docs/mastering.md).
 */
export type MasterMode = 'gcm' | 'ctr' | 'cbc' | 'framed';

/** Who can open a master: its data key, encrypted for them. */
export type Recipient =
  /** Whoever may decrypt with a KMS key in this context. */
  | { type: 'kms'; keyId: string; context: EncryptionContext; encryptedKey: string }
  /** The owner of a private key: a JWE (RFC 7516) of the data key, ECDH-ES+A256KW or RSA-OAEP-256. */
  | { type: 'public-key'; keyId: string; encryptedKey: string };

/**
 * What stands beside a master, as `<master>.manifest.json`: all that is needed to open it but a key. Binary values are base64.
 * No name or title stands in it: it travels with the ciphertext.
 */
export interface MasterManifest {
  format: 'portcullis-master/1';
  mode: MasterMode;
  keyBits: DataKeyBits;
  /** Initialization vector: 16 bytes (`ctr`, `cbc`), 12 or 16 (`gcm`); absent in `framed`, which derives keys of its own. */
  iv?: string;
  plaintextBytes: number;
  ciphertextBytes: number;
  /** Hexadecimal. Of what an enclave sealed it is absent: whoever stores that is not to recognise a plaintext that they can guess. */
  plaintextSha256?: string;
  ciphertextSha256: string;
  /**
   * Of the modes that authenticate nothing themselves (`ctr`, `cbc`): HMAC-SHA-256 over the IV and the 32 bytes of the ciphertext's
   * SHA-256, under a key derived from the data key.
   */
  mac?: string;
  /** Seconds since the epoch. */
  createdAt: number;
  recipients: Recipient[];
  /**
   * Over everything but `recipients` and `signatures`, so that a master can be put under another key: HMAC-SHA-256 under a key
   * derived from the data key, and Ed25519 of whoever made it, if a signing key was given.
   */
  signatures: { algorithm: 'HS256' | 'EdDSA'; keyId?: string; value: string }[];
}
