import type { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import type { VerificationKey } from '../../token/index.ts';

/** Where the keys that the edge accepts are published: the edge store, or the function that embeds them. */
export interface KeyPublisher {
  /**
   * Makes the accepted keys exactly those that `read` resolves to, by key id, and resolves to the ids of those that were
   * not there before. Writes nothing when they are all there already. `read` is handed the key ids that are published;
   * it is called after these were read, and again when somebody else published meanwhile: they may have changed the ring.
   */
  publish(read: (published: string[]) => Promise<Record<string, VerificationKey>>): Promise<string[]>;
}

/** Publishes keys to the edge store. */
export function edgeStorePublisher(store: Pick<EdgeStore, 'replaceKeys'>): KeyPublisher {
  return { publish: (read) => store.replaceKeys(read) };
}
