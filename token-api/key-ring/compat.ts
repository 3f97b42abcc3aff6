import { createHash } from 'node:crypto';
import type { VerificationKey } from '../../token/index.ts';
import { isSecretFile, readKeyFile } from './file.ts';
import { isCompatKey, type KeyRing, KeyRingError, parseKeyRing, type RingKey, verificationKeys } from './key-ring.ts';

/** Block length of SHA-256, in bytes: HMAC replaces a longer key by its hash (RFC 2104 §2). */
const BLOCK_BYTES = 64;

/** A key that tokens of the AWS solution v1 are minted with; `key` is its HMAC key, base64url. */
export interface CompatMintingKey {
  kid: string;
  key: string;
}

/**
 * The HMAC key of a secret of the AWS solution v1, base64url. That solution uses the text of the secret as the key, not
 * the bytes that its hexadecimal digits stand for. A text longer than a block is replaced by its hash, as HMAC would do
 * at every call: the same MACs for less work, and nobody can read the secret off a built function.
 */
export function compatKey(secret: string): string {
  const text = Buffer.from(secret);
  const key = text.length > BLOCK_BYTES ? createHash('sha256').update(text).digest() : text;
  return key.toString('base64url');
}

/**
 * Reads a key ring file, or a secret of the AWS solution v1, `{"<kid>":"<secret>"}`, as a ring of compatibility keys, of
 * which the first is current. Throws `KeyRingError` as `readKeyRing` does.
 */
export async function readCompatRing(path: string): Promise<KeyRing> {
  return compatRing(await readKeyFile(path));
}

/** A key ring as it is, or a secret of the AWS solution v1 as a ring of compatibility keys. Throws `ERR_RING_INVALID`. */
export function compatRing(content: unknown): KeyRing {
  if (!isSecretFile(content)) return parseKeyRing(content);
  const keys = Object.entries(content).map(([kid, secret], index) => ({
    kid,
    secret,
    use: 'compat',
    state: index === 0 ? 'current' : 'previous',
    createdAt: 0,
  }));
  return parseKeyRing({ version: 1, keys });
}

/**
 * The ring with the keys of the AWS solution v1's two secrets, of which the first is current, in place of those that it
 * had of that solution under the same ids; what else was current of them becomes previous. The keys of ours stay.
 */
export function withCompatKeys(ring: KeyRing, primary: unknown, secondary: unknown): KeyRing {
  const read = (content: unknown, state: 'current' | 'previous') => {
    if (!isSecretFile(content)) {
      const message = 'a secret of the AWS solution v1 is {"<key id>":"<128 hexadecimal digits>"}';
      throw new KeyRingError('ERR_RING_INVALID', message);
    }
    return compatRing(content).keys.map((key, i) => ({ ...key, state: i === 0 ? state : ('previous' as const) }));
  };
  const imported = [...read(primary, 'current'), ...(secondary === undefined ? [] : read(secondary, 'previous'))];
  const other = imported.find(({ kid, secret }) =>
    ring.keys.some((key) => isCompatKey(key) && key.kid === kid && key.secret !== secret),
  );
  if (other) {
    const message = `the ring has another secret under the id '${other.kid}' already: take that key out first`;
    throw new KeyRingError('ERR_RING_CONFLICT', message);
  }
  const kids = new Set(imported.map(({ kid }) => kid));
  const kept = ring.keys
    .filter((key) => !isCompatKey(key) || !kids.has(key.kid))
    .map((key) => (isCompatKey(key) && key.state === 'current' ? { ...key, state: 'previous' as const } : key));
  const isFirst = ({ kid, secret }: RingKey, i: number) =>
    imported.findIndex((key) => key.kid === kid && key.secret === secret) === i;
  return parseKeyRing({ ...ring, keys: [...kept, ...imported.filter(isFirst)] });
}

/** What the edge accepts, by key id: keys of ours, compatibility keys, or one of each under the same key id. */
export function edgeKeys(ring: KeyRing): Record<string, Partial<VerificationKey> & { compat?: string }> {
  const ours = verificationKeys(ring);
  const accepted = ring.keys.filter((key) => isCompatKey(key) && key.state !== 'retired');
  return {
    ...ours,
    ...Object.fromEntries(accepted.map(({ kid, secret }) => [kid, { ...ours[kid], compat: compatKey(secret) }])),
  };
}

/** The key that tokens of the AWS solution v1 are minted with: the current one, else a previous one. Throws `ERR_RING_INVALID`. */
export function compatMintingKey(ring: KeyRing): CompatMintingKey {
  const keys = ring.keys.filter(isCompatKey);
  const key = keys.find(({ state }) => state === 'current') ?? keys.find(({ state }) => state === 'previous');
  if (!key) throw new KeyRingError('ERR_RING_INVALID', "key ring: no key with use 'compat' is current or previous");
  return { kid: key.kid, key: compatKey(key.secret) };
}

/** The ids of compatibility keys that are not the 128 hexadecimal digits which the AWS solution v1 makes. */
export function unusualCompatKeys(ring: KeyRing): string[] {
  return ring.keys.filter((key) => isCompatKey(key) && !/^[\da-f]{128}$/i.test(key.secret)).map(({ kid }) => kid);
}
