import { createHash, type KeyObject } from 'node:crypto';

/** The members of a public JWK that name it, in the order of RFC 7638 §3.2. */
const REQUIRED: Record<string, string[]> = {
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
};

/** JWK thumbprint of a public key (RFC 7638), SHA-256 in base64url: what manifests name a key by. */
export function thumbprint(key: KeyObject): string {
  const jwk = key.export({ format: 'jwk' }) as Record<string, string>;
  const members = (REQUIRED[jwk.kty ?? ''] ?? []).map((name) => [name, jwk[name]]);
  return createHash('sha256')
    .update(JSON.stringify(Object.fromEntries(members)))
    .digest('base64url');
}
