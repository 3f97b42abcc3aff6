/**
 * The two keys of a ring entry, base64url, 32 bytes each. Separate, because a viewer chooses what the binding key
 * signs: with one key, a User-Agent spelled like `<header>.<payload>` would be a signing oracle.
 */
export interface VerificationKey {
  sign: string;
  bind: string;
}

/** A key that tokens are minted with. */
export interface MintingKey extends VerificationKey {
  kid: string;
  /** Seconds since the epoch before which the key was not in use: a clock that shows less is wrong. */
  notBefore?: number;
}

/** HKDF-SHA-256 `info` (RFC 5869 §3.2) under which each key is derived from the 32-byte ring secret; the salt is empty. */
export const KEY_LABELS: Record<keyof VerificationKey, string> = {
  sign: 'portcullis/v1/signing',
  bind: 'portcullis/v1/binding',
};
