import { createHash } from 'node:crypto';
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
 * Sessions that may be revoked however few there are, unless the share is 0: of a small audience a share is less than one
 * session, and as many as this a person can look at within the hour, and restore.
 */
const AUTO_AT_LEAST = 5;

/** What a list says on which nothing is. */
const NOTHING_REVOKED: Pick<RevocationList, 'revoked' | 'active' | 'history'> = {
  revoked: async () => new Set(),
  active: async () => [],
  history: async () => [],
};

/** Whether the allow-list keeps detection from revoking a session. */
export function isAllowed({ sessionId, features }: Finding, { sessions, titles }: DetectionSettings['allow']): boolean {
  return sessions.includes(sessionId) || titles.includes(features.title);
}

/** What `guard` would decide in mode `enforce` if nothing had been revoked yet: for a dry run, which has no list. */
export function rehearse(evaluation: Evaluation, settings: DetectionSettings): Promise<Decision> {
  return guard(evaluation, { ...settings, mode: 'enforce' }, NOTHING_REVOKED, 0);
}

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
  const auto = findings.filter((finding) => finding.verdict === 'auto' && !isAllowed(finding, allow));
  const ids = auto.map(({ sessionId }) => sessionId);
  const revoked = await list.revoked('session', ids, now);
  const revoke = auto
    .filter(({ sessionId }) => !revoked.has(sessionId))
    .map(({ sessionId, reasons, score }) => ({ sessionId, reasons, score }));
  if (revoke.length === 0) return { revoke, revoked: [...revoked] };

  const share = maxAutoShare === 0 ? 0 : Math.max(AUTO_AT_LEAST, Math.floor(maxAutoShare * sessionCount));
  const lately = (await list.active(now)).filter(
    ({ kind, source, revokedAt }) => kind === 'session' && source === 'auto' && revokedAt > now - CAP_SECONDS,
  ).length;
  const isTrusted = proven || unprovenLogs === 'revoke';
  const allowed = isTrusted ? Math.max(0, share - lately) : 0;
  if (revoke.length <= allowed) return { revoke, revoked: [...revoked] };
  const candidates = await withoutRestored(revoke, list, now);
  const count = candidates.length;
  if (count <= allowed) return { revoke, revoked: [...revoked] };
  const message = isTrusted ? capped(count, sessionCount, allowed, lately) : unproven(count);
  const digest = createHash('sha256')
    .update(JSON.stringify([isTrusted, ...candidates.sort()]))
    .digest('base64url');
  return { revoke: [], revoked: [...revoked], alarm: { candidates: count, allowed, message, digest } };
}

const capped = (candidates: number, sessionCount: number, allowed: number, lately: number) =>
  `${candidates} of ${sessionCount} sessions were to be revoked, and ${allowed} may be after the ${lately} of the last ` +
  'hour: none was. Look at the suspicious sessions; if they are right, revoke them by hand or raise ' +
  'revocation.detection.maxAutoShare, else raise autoScore';

const unproven = (candidates: number) =>
  `${candidates} sessions were to be revoked, and none was: the logs do not say which requests the edge allowed, so anybody ` +
  'may have made these sessions look shared. Look at the suspicious sessions; have the log delivery include ' +
  'viewer-request-log-data (standard logs v2), or, where the edge mode of every path is enforce, set ' +
  'revocation.detection.unprovenLogs to revoke';

/** The ids of those that no person took back. */
async function withoutRestored(
  sessions: Decision['revoke'],
  list: Pick<RevocationList, 'history'>,
  now: number,
): Promise<string[]> {
  const ids = sessions.map(({ sessionId }) => sessionId);
  const restored = await restoredSessions(list, ids, now);
  return ids.filter((id) => !restored.has(id));
}
