import type { VerificationKey } from '../../token/index.ts';

/** Where the keys that the edge accepts are published: the edge store, or the function that embeds them. */
export interface KeyPublisher {
  /**
   * Makes the accepted keys exactly those that `read` resolves to, by key id, and resolves once they are published. Does
   * nothing when they are. `read` is called again when somebody else published meanwhile: they may have changed the ring.
   */
  publish(read: () => Promise<Record<string, VerificationKey>>): Promise<void>;
}
