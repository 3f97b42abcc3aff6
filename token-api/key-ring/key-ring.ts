import { hkdfSync, randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { KEY_ID, KEY_LABELS, type MintingKey, type VerificationKey } from '../../token/index.ts';

export type KeyRingErrorCode =
  /** It cannot be read or written; also when a file is locked for too long. */
  | 'ERR_RING_FILE'
  | 'ERR_RING_PERMISSIONS'
  /** What is there is no key ring. */
  | 'ERR_RING_INVALID'
  /** There is none, or not yet: a placeholder. */
  | 'ERR_RING_MISSING'
  /** It is not the ring that the edge has keys of. */
  | 'ERR_RING_FOREIGN'
  /** Somebody else changed it meanwhile; nothing was changed. */
  | 'ERR_RING_CONFLICT'
  /** No key may be minted with for now: the next one has not been published for long enough. */
  | 'ERR_RING_PAUSED'
  /** It was last read longer ago than it may be used. */
  | 'ERR_RING_STALE'
  /** The clock is before times that are in the ring. */
  | 'ERR_RING_CLOCK'
  /** Secrets Manager refuses, throttles, or cannot be reached. */
  | 'ERR_RING_DENIED'
  | 'ERR_RING_THROTTLED'
  | 'ERR_RING_UNREACHABLE'
  | 'ERR_RING_REFUSED'
  /** No key of the ring has this id. */
  | 'ERR_KEY_UNKNOWN';

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

const Time = v.union([v.pipe(v.string(), v.isoTimestamp()), v.pipe(v.number(), v.integer(), v.minValue(0))]);

/** A key in its ring; `retired` ones lose their secret, so that it cannot leak any more. */
const KeySchema = v.pipe(
  v.looseObject({
    kid: v.pipe(v.string(), v.regex(KEY_ID, 'must be 1–64 letters, digits, _ or -')),
    secret: v.optional(v.string(), ''),
    state: v.picklist(['next', 'current', 'previous', 'retired']),
    createdAt: Time,
    /** From when on every edge location is sure to get it: when it was first seen published. */
    publishedAt: v.optional(Time),
    /** When it became current. */
    activatedAt: v.optional(Time),
    /** When it was first seen not to be current any more; it retires so and so long after. */
    demotedAt: v.optional(Time),
    retiredAt: v.optional(Time),
    /** Whether it was retired at once because somebody else may have it. */
    compromised: v.optional(v.boolean()),
    /** The rotation that made it: its ClientRequestToken. */
    run: v.optional(v.string()),
  }),
  v.forward(
    v.check(
      (key) => isCompatKey(key) || (key.secret === '' && key.state === 'retired') || isSecret(key.secret),
      'must be 32 bytes as base64url without padding',
    ),
    ['secret'],
  ),
  v.forward(
    v.check((key) => !isCompatKey(key) || isCompatSecret(key.secret), 'must be 16–256 printable characters'),
    ['secret'],
  ),
);

const KeyRingSchema = v.pipe(
  v.object({
    version: v.literal(1),
    keys: v.array(KeySchema),
    /** In a ring that a rotation prepared: the version that it was made of, and when. */
    basedOn: v.optional(v.string()),
    preparedAt: v.optional(Time),
  }),
  // A key id may name one key of each kind: neither verifies what the other signed.
  v.check(
    ({ keys }) => new Set(keys.map((key) => `${key.kid} ${isCompatKey(key)}`)).size === keys.length,
    'two keys have the same kid',
  ),
  v.check(({ keys }) => hasMintingKey(keys), 'exactly one key must be current, or none and one next'),
  v.check(
    ({ keys }) => keys.filter((key) => !isCompatKey(key) && key.state === 'next').length <= 1,
    'two keys are next',
  ),
  v.check(({ keys }) => currentCount(keys, true) <= 1, 'two compatibility keys are current'),
);

/** Whether there is a key to mint with, now or, while a new ring or a compromised key leaves none, once the next has baked. */
function hasMintingKey(keys: { state: string }[]): boolean {
  if (keys.length > 0 && keys.every(isCompatKey)) return true;
  const current = currentCount(keys, false);
  return current === 1 || (current === 0 && keys.some((key) => !isCompatKey(key) && key.state === 'next'));
}

function currentCount(keys: { state: string }[], ofCompat: boolean): number {
  return keys.filter((key) => key.state === 'current' && isCompatKey(key) === ofCompat).length;
}

/** The keys in use and their states. Times: ISO 8601, or seconds since the epoch. Those with `use: 'compat'` are read by `compat.ts`. */
export type KeyRing = v.InferOutput<typeof KeyRingSchema>;

/** A key of a ring. */
export type RingKey = KeyRing['keys'][number];

/** By how much clocks of two machines may differ before one of them is taken to be wrong, in seconds. */
export const CLOCK_TOLERANCE_SECONDS = 60;

/** A time of a ring in seconds since the epoch. */
export function secondsOf(time: string | number): number {
  return typeof time === 'number' ? time : Math.floor(Date.parse(time) / 1000);
}

/** A time as rings have it. `now`: seconds since the epoch. */
export function timestamp(now: number): string {
  return new Date(now * 1000).toISOString().replace('.000Z', 'Z');
}

/** Whether this is what stands for a ring before the first rotation: one without keys. It must never be minted with. */
export function isPlaceholder(input: unknown): boolean {
  const { version, keys } = (input ?? {}) as { version?: unknown; keys?: unknown };
  return version === 1 && Array.isArray(keys) && keys.length === 0;
}

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

/**
 * The key that tokens are minted with: the current one. Throws `ERR_RING_PAUSED` when there is none for now,
 * `ERR_RING_INVALID` in a ring of compatibility keys alone.
 */
export function mintingKey(ring: KeyRing): MintingKey {
  const current = ring.keys.find((key) => key.state === 'current' && !isCompatKey(key));
  if (!current) {
    if (!ring.keys.some((key) => key.state === 'next' && !isCompatKey(key)))
      throw new KeyRingError('ERR_RING_INVALID', 'key ring: exactly one key must be current');
    const message = 'no key is current: minting pauses until the next key has been at every edge for long enough';
    throw new KeyRingError('ERR_RING_PAUSED', message);
  }
  // Whoever's clock is further behind would mint tokens that have expired, or mint with a key that is none yet.
  const times = [current.createdAt, current.publishedAt, current.activatedAt].flatMap((time) => time ?? []);
  const notBefore = Math.max(...times.map(secondsOf)) - CLOCK_TOLERANCE_SECONDS;
  return { kid: current.kid, ...deriveKeys(current.secret), notBefore: Math.max(notBefore, 0) };
}

/**
 * The key that a key ring mints with: `ring` is what `JSON.parse` makes of the file or secret that holds it. Throws what
 * `parseKeyRing` and `mintingKey` throw.
 */
export function currentKey(ring: unknown): MintingKey {
  return mintingKey(parseKeyRing(ring));
}

/** The keys of ours that the edge accepts, by key id: all but the retired ones. */
export function verificationKeys(ring: KeyRing): Record<string, VerificationKey> {
  const accepted = ring.keys.filter((key) => key.state !== 'retired' && !isCompatKey(key));
  return Object.fromEntries(accepted.map(({ kid, secret }) => [kid, deriveKeys(secret)]));
}

/** A new key with 32 random bytes. `now`: seconds since the epoch. */
export function createKey(state: RingKey['state'], now: number): RingKey {
  const createdAt = timestamp(now);
  const kid = `k${createdAt.slice(0, 10).replaceAll('-', '')}-${randomBytes(3).toString('hex')}`;
  return { kid, secret: randomBytes(32).toString('base64url'), state, createdAt };
}

/** A new ring with one current key, for an edge that nothing was minted for yet. `now`: seconds since the epoch. */
export function createKeyRing(now: number): KeyRing {
  return { version: 1, keys: [{ ...createKey('current', now), activatedAt: timestamp(now) }] };
}
