import type { RevocationKey } from '../list/revocation-list.ts';

/** What a target of the list enforces now. */
export interface PublishReport {
  /** Entries that are enforced. */
  published: number;
  /** Entries that are on the list and have no room at the target, the most important first. */
  omitted: RevocationKey[];
}

/**
 * Makes what a target enforces equal to the list. Both calls read the list, so that a late or repeated one does no harm; they
 * reject when the target could not be told all of it, and then the next call of either makes up for that.
 */
export interface RevocationPublisher {
  /** The quick way after a change: makes what is enforced of these entries what the list says. */
  publish(changed: RevocationKey[]): Promise<PublishReport>;
  /** Makes all of it what the list says: at start, and every minute, so that expired entries go and give room to others. */
  reconcile(): Promise<PublishReport>;
}
