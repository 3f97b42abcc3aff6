import type { KeyRing } from './key-ring.ts';

/** The ring that minting uses. */
export interface StoredRing {
  /** Null when there is a placeholder only, which the first rotation replaces. */
  ring: KeyRing | null;
  /** Changes whenever the ring does. */
  version: string;
}

/** A rotation that is under way. */
export interface PendingRotation {
  /** Its ClientRequestToken. */
  run: string;
  /** The ring that it prepared; null as long as it has not. */
  ring: KeyRing | null;
  /** Since when it is known to be under way, seconds since the epoch. */
  since: number;
}

/**
 * Where a key ring is kept, beside the one that a rotation prepares. What it rejects with is a `KeyRingError`; after an
 * error the change may or may not have taken effect.
 */
export interface KeyRingStore {
  current(): Promise<StoredRing>;
  /** The rotation under way, if any. */
  pending(): Promise<PendingRotation | undefined>;
  /** Puts the ring of rotation `run` beside the current one, in place of what another one put there. */
  prepare(run: string, ring: KeyRing): Promise<void>;
  /**
   * Makes the ring that `run` prepared the current one if that is still version `basedOn`. Rejects with
   * `ERR_RING_CONFLICT` otherwise.
   */
  promote(run: string, basedOn: string): Promise<void>;
  /** Forgets what `run` prepared; does nothing when it is not under way. */
  abandon(run: string): Promise<void>;
  /** Makes `ring` the current one if that is still version `basedOn`. Rejects with `ERR_RING_CONFLICT` otherwise. */
  replace(ring: KeyRing, basedOn: string): Promise<void>;
}
