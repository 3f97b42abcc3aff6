import { restoredSessions } from '../list/restored-sessions.ts';
import type { RevocationList } from '../list/revocation-list.ts';
import type { DetectionAlarm } from './detection-runs.ts';
import type { Evaluation, Finding } from './evaluate.ts';
import type { DetectionSettings } from './settings.ts';

/** What detection may do about what it found. */
export interface Decision {
  /** Sessions to revoke now, and why: no more of a finding, so that a decision stays small. */
  revoke: Pick<Finding, 'sessionId' | 'reasons' | 'score'>[];
  /** Ids of sessions that are revoked already; telling the edge again makes up for a run that died before it had. */
  revoked: string[];
  alarm?: DetectionAlarm | undefined;
}

/** For how long the cap holds, in seconds: what runs revoked in this time counts as well. */
const CAP_SECONDS = 3600;

/**
 * Holds detection to its limits: nothing is revoked but in mode `enforce`, nothing that the allow-list names, and nothing at
 * all when more than a share of the sessions in the window would be revoked within an hour. Sessions that are revoked already,
 * and those that a person took back, are nothing that this run would revoke: the list keeps both as they are.
 * @param proven Whether the logs say which requests the edge allowed. If not, nothing is revoked unless `unprovenLogs` says so.
 */
export async function guard(
  { findings, sessionCount, proven }: Pick<Evaluation, 'findings' | 'sessionCount' | 'proven'>,
  {
    mode,
    maxAutoShare,
    allow,
    unprovenLogs,
  }: Pick<DetectionSettings, 'mode' | 'maxAutoShare' | 'allow' | 'unprovenLogs'>,
  list: Pick<RevocationList, 'revoked' | 'active' | 'history'>,
  now: number,
): Promise<Decision> {
  if (mode !== 'enforce') return { revoke: [], revoked: [] };
  const isAllowed = ({ sessionId, features }: Finding) =>
    allow.sessions.includes(sessionId) || allow.titles.includes(features.title);
  const auto = findings.filter((finding) => finding.verdict === 'auto' && !isAllowed(finding));
  const ids = auto.map(({ sessionId }) => sessionId);
  const revoked = await list.revoked('session', ids, now);
  const revoke = auto
    .filter(({ sessionId }) => !revoked.has(sessionId))
    .map(({ sessionId, reasons, score }) => ({ sessionId, reasons, score }));
  if (revoke.length === 0) return { revoke, revoked: [...revoked] };

  const share = maxAutoShare === 0 ? 0 : Math.max(1, Math.floor(maxAutoShare * sessionCount));
  const lately = (await list.active(now)).filter(
    ({ kind, source, revokedAt }) => kind === 'session' && source === 'auto' && revokedAt > now - CAP_SECONDS,
  ).length;
  const isTrusted = proven || unprovenLogs === 'revoke';
  const allowed = isTrusted ? Math.max(0, share - lately) : 0;
  const candidates = revoke.length > allowed ? await withoutRestored(revoke, list, now) : revoke.length;
  if (candidates <= allowed) return { revoke, revoked: [...revoked] };
  if (!isTrusted)
    return { revoke: [], revoked: [...revoked], alarm: { candidates, allowed, message: unproven(candidates) } };
  const message =
    `${candidates} of ${sessionCount} sessions were to be revoked, and ${allowed} may be after the ${lately} of the last ` +
    'hour: none was. Look at the suspicious sessions; if they are right, revoke them by hand or raise ' +
    'revocation.detection.maxAutoShare, else raise autoScore';
  return { revoke: [], revoked: [...revoked], alarm: { candidates, allowed, message } };
}

const unproven = (candidates: number) =>
  `${candidates} sessions were to be revoked, and none was: the logs do not say which requests the edge allowed, so anybody ` +
  'may have made these sessions look shared. Look at the suspicious sessions; have the log delivery include ' +
  'viewer-request-log-data (standard logs v2), or, where the edge mode of every path is enforce, set ' +
  'revocation.detection.unprovenLogs to revoke';

/** How many of these are not among those that a person took back. */
async function withoutRestored(
  sessions: Decision['revoke'],
  list: Pick<RevocationList, 'history'>,
  now: number,
): Promise<number> {
  const ids = sessions.map(({ sessionId }) => sessionId);
  return ids.length - (await restoredSessions(list, ids, now)).size;
}
