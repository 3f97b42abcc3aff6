import type { RevocationList } from '../list/revocation-list.ts';
import type { DetectionAlarm } from './detection-runs.ts';
import type { Finding } from './evaluate.ts';
import type { DetectionSettings } from './settings.ts';

/** What detection may do about what it found. */
export interface Decision {
  /** Sessions to revoke now. */
  revoke: Finding[];
  /** Ids of sessions that are revoked already; telling the edge again makes up for a run that died before it had. */
  revoked: string[];
  alarm?: DetectionAlarm | undefined;
}

/** Histories that are read at the same time. */
const READS_AT_ONCE = 25;

/**
 * Holds detection to its limits: nothing is revoked but in mode `enforce`, nothing that the allow-list names, and nothing at
 * all when a run would revoke more than its share of the sessions in the window. Sessions that are revoked already, and those
 * that a person took back, are no part of that share: the list keeps both as they are.
 */
export async function guard(
  findings: Finding[],
  sessionCount: number,
  { mode, maxAutoShare, allow }: Pick<DetectionSettings, 'mode' | 'maxAutoShare' | 'allow'>,
  list: Pick<RevocationList, 'revoked' | 'history'>,
  now: number,
): Promise<Decision> {
  if (mode !== 'enforce') return { revoke: [], revoked: [] };
  const isAllowed = ({ sessionId, features }: Finding) =>
    allow.sessions.includes(sessionId) || allow.titles.includes(features.title);
  const auto = findings.filter((finding) => finding.verdict === 'auto' && !isAllowed(finding));
  const ids = auto.map(({ sessionId }) => sessionId);
  const revoked = await list.revoked('session', ids, now);
  const revoke = auto.filter(({ sessionId }) => !revoked.has(sessionId));

  const allowed = Math.max(1, Math.floor(maxAutoShare * sessionCount));
  const candidates = revoke.length > allowed ? await withoutRestored(revoke, list, now) : revoke.length;
  if (candidates <= allowed) return { revoke, revoked: [...revoked] };
  const message =
    `${candidates} of ${sessionCount} sessions were to be revoked, and a run may revoke ${allowed}: none was. ` +
    'Look at the suspicious sessions; if they are right, revoke them by hand or raise revocation.detection.maxAutoShare, ' +
    'else raise autoScore';
  return { revoke: [], revoked: [...revoked], alarm: { candidates, allowed, message } };
}

/** How many of these are not among those that a person took back. */
async function withoutRestored(
  findings: Finding[],
  list: Pick<RevocationList, 'history'>,
  now: number,
): Promise<number> {
  let restored = 0;
  for (let i = 0; i < findings.length; i += READS_AT_ONCE) {
    const some = findings.slice(i, i + READS_AT_ONCE);
    const histories = await Promise.all(some.map(({ sessionId }) => list.history('session', sessionId)));
    restored += histories.filter(([latest]) => {
      const expiresAt = latest?.entry.expiresAt ?? Number.POSITIVE_INFINITY;
      return latest?.action === 'restored' && expiresAt > now;
    }).length;
  }
  return findings.length - restored;
}
