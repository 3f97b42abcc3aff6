import type { RevocationList } from '../revocation/list/revocation-list.ts';
import type { Publication } from '../revocation/publish/publication.ts';
import type { KeyOptions } from '../token-api/http/keys.ts';

/** Where sessions are ended. */
export interface SessionsEndParts {
  list: Pick<RevocationList, 'add'>;
  publication: Pick<Publication, 'publish'>;
  /** How long a revocation must live, in seconds: maximum token lifetime plus leeway. */
  revocationSeconds: number;
  /** Seconds since the epoch. */
  now: () => number;
}

/** Revocations that are written to the list at the same time. */
const REVOCATIONS_AT_ONCE = 50;

/** Revokes many sessions and publishes them together. */
export function sessionsEnd(parts: SessionsEndParts): KeyOptions['endSessions'] {
  const { list, publication, revocationSeconds, now } = parts;
  return async (sessionIds, reason, by) => {
    const revokedAt = now();
    const expiresAt = revokedAt + revocationSeconds;
    const entry = { kind: 'session', source: 'manual', by, revokedAt, expiresAt } as const;
    for (let i = 0; i < sessionIds.length; i += REVOCATIONS_AT_ONCE) {
      await Promise.all(
        sessionIds.slice(i, i + REVOCATIONS_AT_ONCE).map((id) => list.add({ ...entry, reasons: [reason], id })),
      );
    }
    await publication.publish(sessionIds.map((id) => ({ kind: 'session', id })));
  };
}
