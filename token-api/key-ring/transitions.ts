import {
  CLOCK_TOLERANCE_SECONDS,
  createKey,
  isCompatKey,
  type KeyRing,
  KeyRingError,
  type RingKey,
  secondsOf,
  timestamp,
} from './key-ring.ts';

/** How long keys stay in their states, in seconds. */
export interface KeyTimes {
  /** How long a key has to be published before it is minted with: by then every edge location has it. */
  bakeSeconds: number;
  /** For how long after it was read a minter may use a ring. */
  maxStaleSeconds: number;
  maxTokenLifetimeSeconds: number;
  leewaySeconds: number;
}

/** How many retired keys a ring remembers, without their secrets, for those who read it. */
const REMEMBERED = 10;

/** From when on a key that was demoted at `demotedAt` verifies nothing any more: then its last token has expired. */
export function retiresAt(demotedAt: number, times: KeyTimes): number {
  return demotedAt + times.maxStaleSeconds + times.maxTokenLifetimeSeconds + times.leewaySeconds;
}

/** When a published key may be minted with; undefined while it is not known to be published. Seconds since the epoch. */
export function activatesAt({ publishedAt }: RingKey, { bakeSeconds }: KeyTimes): number | undefined {
  return publishedAt === undefined ? undefined : secondsOf(publishedAt) + bakeSeconds;
}

/** The key of ours that is `next`. */
export function nextKey(ring: KeyRing): RingKey | undefined {
  return ring.keys.find((key) => key.state === 'next' && !isCompatKey(key));
}

/**
 * The ring with what is due at `now` (seconds since the epoch); the very same object when nothing is. Call it when all
 * keys of the ring are published. `added` are those that had to be published just then: they are as good as new.
 *
 * A time is written down when something is seen, which is never before it happened: so a ring that took effect late, or
 * whose writer stopped half-way, delays the next step and never hastens it. Throws `ERR_RING_CLOCK` when the ring holds
 * times that are yet to come.
 */
export function advanceRing(ring: KeyRing, now: number, times: KeyTimes, added: string[] = []): KeyRing {
  checkClock(ring, now);
  const next = nextKey(ring);
  const activates = next && !added.includes(next.kid) ? activatesAt(next, times) : undefined;
  const isBaked = activates !== undefined && activates <= now;
  const keys = ring.keys.map((key): RingKey => {
    if (isCompatKey(key)) return key;
    if (key === next) {
      if (isBaked) return { ...key, state: 'current', activatedAt: timestamp(now) };
      return activates === undefined ? { ...key, publishedAt: timestamp(now) } : key;
    }
    if (key.state === 'current') return isBaked ? { ...key, state: 'previous' } : key;
    if (key.state !== 'previous') return key;
    if (key.demotedAt === undefined) return { ...key, demotedAt: timestamp(now) };
    return retiresAt(secondsOf(key.demotedAt), times) <= now ? retired(key, now) : key;
  });
  const forgotten = new Set(keys.filter((key) => key.state === 'retired' && !isCompatKey(key)).slice(0, -REMEMBERED));
  const isChanged = forgotten.size > 0 || keys.some((key, i) => key !== ring.keys[i]);
  return isChanged ? { version: 1, keys: keys.filter((key) => !forgotten.has(key)) } : ring;
}

/**
 * The ring with a further key, `next`, which the rotation `run` makes; of a placeholder a ring with that key alone. Throws
 * `ERR_RING_CONFLICT` while the key that is next already is not current yet.
 */
export function withNextKey(ring: KeyRing | null, run: string, now: number): KeyRing {
  const next = ring && nextKey(ring);
  if (next) {
    const message = `key '${next.kid}' is next already and becomes current when it has been at every edge for long enough`;
    throw new KeyRingError('ERR_RING_CONFLICT', message);
  }
  return { version: 1, keys: [...(ring?.keys ?? []), { ...createKey('next', now), run }] };
}

/**
 * The ring without a key that somebody else may have or had: retired at once, whatever was minted with it. When that leaves
 * none to mint with, now or later, the rotation `run` makes another. Throws `ERR_KEY_UNKNOWN`.
 */
export function withoutKey(ring: KeyRing, kid: string, run: string, now: number): KeyRing {
  const compromised = ring.keys.find((key) => key.kid === kid && !isCompatKey(key));
  if (!compromised) {
    if (ring.keys.some((key) => key.kid === kid && isCompatKey(key))) {
      const advice = 'remove it from the ring, then build and publish the function of the dialect compat again';
      throw new KeyRingError('ERR_KEY_UNKNOWN', `key '${kid}' is one of the AWS solution v1: ${advice}`);
    }
    const known = ring.keys.filter((key) => !isCompatKey(key)).map((key) => key.kid);
    throw new KeyRingError('ERR_KEY_UNKNOWN', `the ring has no key '${kid}'; it has ${known.join(', ')}`);
  }
  // One that is retired already opens nothing itself, but sessions that it was renewed into may go on.
  const dropped = compromised.state === 'retired' ? compromised : retired(compromised, now);
  const keys = ring.keys.map((key) => (key === compromised ? { ...dropped, compromised: true } : key));
  const left: KeyRing = { version: 1, keys };
  const canMint = keys.some((key) => !isCompatKey(key) && (key.state === 'current' || key.state === 'next'));
  return canMint ? left : withNextKey(left, run, now);
}

function retired(key: RingKey, now: number): RingKey {
  return { ...key, secret: '', state: 'retired', retiredAt: timestamp(now) };
}

function checkClock(ring: KeyRing, now: number): void {
  // Retired keys wait for nothing: a wrong clock that wrote their times must not stop the others.
  const times = ring.keys
    .filter(({ state }) => state !== 'retired')
    .flatMap((key) => [key.createdAt, key.publishedAt, key.activatedAt, key.demotedAt].flatMap((time) => time ?? []));
  if (!times.some((time) => secondsOf(time) > now + CLOCK_TOLERANCE_SECONDS)) return;
  const message = `the clock says ${timestamp(now)}, which is before times in the key ring: set the clock of this machine`;
  throw new KeyRingError('ERR_RING_CLOCK', message);
}
