/**
 * The primitives a verifier needs, handed in by whoever runs it: `crypto` of the CloudFront runtime at the edge,
 * `node:crypto` everywhere else. `token/` itself has no platform.
 */
export interface TokenCrypto {
  /**
   * Whether `mac` is the HMAC-SHA-256 (RFC 2104) of UTF-8 `text` under the base64url-encoded `key`, in canonical base64url
   * without padding; compared without early exit.
   */
  isMac(key: string, text: string, mac: string): boolean;
  /** Decodes base64url (RFC 4648 §5) to UTF-8 text; '' unless `encoded` is the canonical, unpadded encoding. */
  decode(encoded: string): string;
}

/** What minting needs beyond verifying. */
export interface MintCrypto extends TokenCrypto {
  /**
   * HMAC-SHA-256 (RFC 2104) under a base64url-encoded `key`: of UTF-8 `text`, as base64url without padding, 43 characters.
   * In two steps, because a key serves many tokens.
   */
  hmac(key: string): (text: string) => string;
  /** Encodes UTF-8 `text` as base64url without padding (RFC 4648 §5). */
  encode(text: string): string;
}
