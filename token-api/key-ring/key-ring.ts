import { hkdfSync, randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { KEY_ID, KEY_LABELS, type MintingKey, type VerificationKey } from '../../token/index.ts';

export type KeyRingErrorCode = 'ERR_RING_FILE' | 'ERR_RING_PERMISSIONS' | 'ERR_RING_INVALID';

/** Why a key ring cannot be used. Never carries a secret. */
export class KeyRingError extends Error {
  readonly code: KeyRingErrorCode;
  constructor(code: KeyRingErrorCode, message: string) {
    super(message);
    this.name = 'KeyRingError';
    this.code = code;
  }
}

function isSecret(text: string): boolean {
  const bytes = Buffer.from(text, 'base64url');
  return bytes.length === 32 && bytes.toString('base64url') === text;
}

/** Whether a key is one of the AWS solution v1 (`use: 'compat'`): it never verifies our tokens, nor ours its tokens. */
export function isCompatKey(key: object): boolean {
  return (key as { use?: unknown }).use === 'compat';
}

/** Whether text can be the secret of such a key. That solution makes 128 hexadecimal digits; less than 16 characters can be guessed. */
function isCompatSecret(text: string): boolean {
  return /^[!-~]{16,256}$/.test(text);
}

const KeyRingSchema = v.pipe(
  v.object({
    version: v.literal(1),
    keys: v.array(
      v.pipe(
        v.looseObject({
          kid: v.pipe(v.string(), v.regex(KEY_ID, 'must be 1–64 letters, digits, _ or -')),
          secret: v.string(),
          state: v.picklist(['next', 'current', 'previous', 'retired']),
          createdAt: v.union([v.pipe(v.string(), v.isoTimestamp()), v.pipe(v.number(), v.integer(), v.minValue(0))]),
        }),
        v.forward(
          v.check((key) => isCompatKey(key) || isSecret(key.secret), 'must be 32 bytes as base64url without padding'),
          ['secret'],
        ),
        v.forward(
          v.check((key) => !isCompatKey(key) || isCompatSecret(key.secret), 'must be 16–256 printable characters'),
          ['secret'],
        ),
      ),
    ),
  }),
  // A key id may name one key of each kind: neither verifies what the other signed.
  v.check(
    ({ keys }) => new Set(keys.map((key) => `${key.kid} ${isCompatKey(key)}`)).size === keys.length,
    'two keys have the same kid',
  ),
  v.check(
    ({ keys }) => keys.length > 0 && currentCount(keys, false) === (keys.every(isCompatKey) ? 0 : 1),
    'exactly one key must be current',
  ),
  v.check(({ keys }) => currentCount(keys, true) <= 1, 'two compatibility keys are current'),
);

function currentCount(keys: { state: string }[], ofCompat: boolean): number {
  return keys.filter((key) => key.state === 'current' && isCompatKey(key) === ofCompat).length;
}

/** The keys in use and their states. `createdAt`: ISO 8601, or seconds since the epoch. Those with `use: 'compat'` are read by `compat.ts`. */
export type KeyRing = v.InferOutput<typeof KeyRingSchema>;

/** Checks a ring. Throws `ERR_RING_INVALID` with the path of what is wrong, never its value. */
export function parseKeyRing(input: unknown): KeyRing {
  const result = v.safeParse(KeyRingSchema, input);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue);
  const message = issue.kind === 'schema' ? `expected ${issue.expected}` : issue.message;
  throw new KeyRingError('ERR_RING_INVALID', `key ring: ${path ? `${path}: ` : ''}${message}`);
}

/** The 32-byte signing and binding keys of a ring secret (HKDF-SHA-256, RFC 5869, empty salt), base64url. */
export function deriveKeys(secret: string): VerificationKey {
  const derive = (label: string) =>
    Buffer.from(hkdfSync('sha256', Buffer.from(secret, 'base64url'), '', label, 32)).toString('base64url');
  return { sign: derive(KEY_LABELS.sign), bind: derive(KEY_LABELS.bind) };
}

/** The key that tokens are minted with: the current one. */
export function mintingKey(ring: KeyRing): MintingKey {
  const current = ring.keys.find((key) => key.state === 'current' && !isCompatKey(key));
  if (!current) throw new KeyRingError('ERR_RING_INVALID', 'key ring: exactly one key must be current');
  return { kid: current.kid, ...deriveKeys(current.secret) };
}

/** The keys of ours that the edge accepts, by key id: all but the retired ones. */
export function verificationKeys(ring: KeyRing): Record<string, VerificationKey> {
  const accepted = ring.keys.filter((key) => key.state !== 'retired' && !isCompatKey(key));
  return Object.fromEntries(accepted.map(({ kid, secret }) => [kid, deriveKeys(secret)]));
}

/** A new ring with one current key. `now`: seconds since the epoch. */
export function createKeyRing(now: number): KeyRing {
  const createdAt = new Date(now * 1000).toISOString();
  const kid = `k${createdAt.slice(0, 10).replaceAll('-', '')}-${randomBytes(3).toString('hex')}`;
  return { version: 1, keys: [{ kid, secret: randomBytes(32).toString('base64url'), state: 'current', createdAt }] };
}
