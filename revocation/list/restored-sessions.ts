import type { RevocationList } from './revocation-list.ts';

/** Histories that are read at the same time. */
const READS_AT_ONCE = 25;

/**
 * Which of these sessions a person took off the list, for as long as they would have been on it: detection lets them be until
 * then. It reads the history of each, so ask about those only that are not revoked.
 */
export async function restoredSessions(
  list: Pick<RevocationList, 'history'>,
  sessionIds: string[],
  now: number,
): Promise<Set<string>> {
  const restored = new Set<string>();
  for (let i = 0; i < sessionIds.length; i += READS_AT_ONCE) {
    const read = async (id: string) => {
      const [latest] = await list.history('session', id);
      const expiresAt = latest?.entry.expiresAt ?? Number.POSITIVE_INFINITY;
      if (latest?.action === 'restored' && expiresAt > now) restored.add(id);
    };
    await Promise.all(sessionIds.slice(i, i + READS_AT_ONCE).map(read));
  }
  return restored;
}
