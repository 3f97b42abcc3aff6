import type { RevocationCommands } from '../edge-functions/store/edge-store.ts';
import type { RevocationList } from '../revocation/list/revocation-list.ts';
import type { KeyOptions } from '../token-api/http/keys.ts';

/** The list of a deployment that has none. */
export const NO_REVOCATIONS: Pick<RevocationList, 'holding' | 'revoked'> = {
  holding: async () => [],
  revoked: async () => new Set(),
};

/**
 * Ends sessions where there is no list: the edge alone is told, and denies whatever token of them it is shown. They stay there,
 * as nothing knows when the last of these tokens expires.
 */
export function sessionsEndAtEdge(store: Pick<RevocationCommands, 'changeRevocations'>): KeyOptions['endSessions'] {
  return async (sessionIds) => {
    await store.changeRevocations(async () => ({
      sessions: new Map(sessionIds.map((id) => [id, true])),
      assets: new Map(),
    }));
  };
}
