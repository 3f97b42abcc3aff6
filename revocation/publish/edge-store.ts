import type { RevocationCommands } from '../../edge-functions/store/edge-store.ts';
import type { RevocationList } from '../list/revocation-list.ts';

/** Keeps the revocations in the edge store equal to the list. */
export interface EdgePublisher {
  /** Makes one session's entry at the edge what the list says of it: the quick way after a change. */
  publish(sessionId: string): Promise<void>;
  /** Makes all of them what the list says: at start, and from time to time so that expired entries go. */
  reconcile(): Promise<void>;
}

/** `now`: seconds since the epoch. Both calls read the list, so that a repeated or late one does no harm. */
export function edgePublisher(list: RevocationList, store: RevocationCommands, now: () => number): EdgePublisher {
  // One after the other: a reconciliation that read the list before a revocation must not be written after it.
  let queue: Promise<unknown> = Promise.resolve();
  const inTurn = (run: () => Promise<void>): Promise<void> => {
    const result = queue.then(run);
    queue = result.catch(() => undefined);
    return result;
  };
  return {
    publish: (sessionId) =>
      inTurn(async () => {
        const revoked = await list.revoked('session', [sessionId], now());
        await (revoked.has(sessionId) ? store.revoke([sessionId]) : store.restore([sessionId]));
      }),
    reconcile: () =>
      inTurn(() =>
        store.replaceRevocations(async () => {
          const entries = await list.active(now());
          return entries.filter(({ kind }) => kind === 'session').map(({ id }) => id);
        }),
      ),
  };
}
