import type { MintingKey, VerificationKey } from '../../token/index.ts';
import { type KeyRing, KeyRingError, mintingKey, verificationKeys } from './key-ring.ts';

/** What a cached ring is made of. */
export interface CachedKeyRingOptions {
  /** Reads the ring: `store.current`. */
  read: () => Promise<{ ring: KeyRing | null }>;
  /** How old a ring may be before it is read again in the background, in seconds. */
  refreshSeconds: number;
  /** How old a ring may be and still be used, in seconds: keys retire no earlier than that after they were demoted. */
  maxStaleSeconds: number;
  /** Told of every refresh: the age of the ring that is in use after it, in seconds, and the error when it failed. */
  onRefresh: (ageSeconds: number, error?: Error) => void;
  /** Seconds of the wall clock, and of one that is never set: the larger of two ages counts, since either may jump. */
  now: () => number;
  uptime: () => number;
}

/** A key ring that is read now and then, and used in between. */
export interface CachedKeyRing {
  /**
   * Resolves when the ring may be used: at once while it is fresh, or old but not too old, in which case it is read in the
   * background. Rejects with `ERR_RING_STALE` when it is too old and cannot be read.
   */
  ready(): Promise<void>;
  /** The key to mint with. Throws `ERR_RING_STALE`, `ERR_RING_PAUSED`. */
  mintingKey(): MintingKey;
  /** The key that verifies what was minted under a key id; undefined when none does. Throws `ERR_RING_STALE`. */
  verificationKey(kid: string): VerificationKey | undefined;
  /** Reads the ring now, as after a rotation. Rejects when it cannot be read. */
  refresh(): Promise<void>;
  /** How long ago the ring was read, in seconds. */
  ageSeconds(): number;
}

interface Snapshot {
  ring: KeyRing;
  keys: Record<string, VerificationKey>;
  minting: MintingKey | KeyRingError;
  readAt: number;
  readAtUptime: number;
}

/** Opens a cached ring. Rejects when it cannot be read at first, which `onRefresh` is not told of. */
export async function openCachedKeyRing(options: CachedKeyRingOptions): Promise<CachedKeyRing> {
  const { read, refreshSeconds, maxStaleSeconds, onRefresh, now, uptime } = options;
  let snapshot: Snapshot | undefined;
  let refreshing: Promise<void> | undefined;
  let triedAt = Number.NEGATIVE_INFINITY;

  const age = () =>
    snapshot ? Math.max(now() - snapshot.readAt, uptime() - snapshot.readAtUptime, 0) : Number.POSITIVE_INFINITY;

  const load = async () => {
    // The ring is as old as the question, not as the answer.
    const [readAt, readAtUptime] = [now(), uptime()];
    triedAt = readAtUptime;
    try {
      const { ring } = await read();
      if (!ring) throw new KeyRingError('ERR_RING_MISSING', 'there is no key ring yet: run the first rotation');
      snapshot = { ring, keys: verificationKeys(ring), minting: keyOrError(ring), readAt, readAtUptime };
      onRefresh(age());
    } catch (error) {
      if (snapshot) onRefresh(age(), error as Error);
      throw error;
    }
  };
  /** One reading at a time. */
  const refresh = () => {
    refreshing ??= load().finally(() => {
      refreshing = undefined;
    });
    return refreshing;
  };
  const usable = (): Snapshot => {
    if (snapshot && age() <= maxStaleSeconds) return snapshot;
    const message = `the key ring was last read ${Math.round(age())} s ago, it may be used for ${maxStaleSeconds} s: see why it cannot be read`;
    throw new KeyRingError('ERR_RING_STALE', message);
  };

  await refresh();
  return {
    async ready() {
      if (age() <= refreshSeconds) return;
      if (age() > maxStaleSeconds) await refresh().catch(() => undefined);
      // After a failure not at every request: whatever fails is not to be stormed.
      else if (uptime() - triedAt >= Math.min(refreshSeconds, 10)) refresh().catch(() => undefined);
      usable();
    },
    mintingKey() {
      const { minting } = usable();
      if (minting instanceof KeyRingError) throw minting;
      return minting;
    },
    verificationKey(kid) {
      const { keys } = usable();
      return Object.hasOwn(keys, kid) ? keys[kid] : undefined;
    },
    // A reading under way may have begun before the change that is to be seen.
    refresh: async () => {
      await refreshing?.catch(() => undefined);
      await refresh();
    },
    ageSeconds: age,
  };
}

function keyOrError(ring: KeyRing): MintingKey | KeyRingError {
  try {
    return mintingKey(ring);
  } catch (error) {
    if (!(error instanceof KeyRingError)) throw error;
    return error;
  }
}
