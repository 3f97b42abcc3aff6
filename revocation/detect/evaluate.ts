import type { Verdict } from '../suspicious/suspicious-sessions.ts';
import {
  type DetectionEngine,
  DetectionError,
  type EngineCost,
  type FeatureRequest,
  type FeatureResult,
  type IdentityTimeline,
  type RefusedObject,
  type ReportProgress,
} from './detection-engine.ts';
import type { SessionFeatures } from './features.ts';
import type { DetectionWindow } from './plan.ts';
import { score } from './score.ts';
import type { DetectionSettings } from './settings.ts';

/** What is thought of a session. */
export interface Finding {
  sessionId: string;
  /** 0 to 100. */
  score: number;
  verdict: Verdict;
  /** In words with the points of each, the weightiest first. */
  reasons: string[];
  features: SessionFeatures;
  /** Who fetched when, in the window in which it looked worst; empty unless it was asked for. */
  timeline: IdentityTimeline[];
}

/** What is to be evaluated. */
export interface EvaluationRequest {
  windows: DetectionWindow[];
  /** Whether harmless sessions are wanted too. */
  everySession: boolean;
  /** How many sessions get a timeline, those with the highest scores. */
  plotAtMost: number;
}

/** What the windows of a run hold. */
export interface Evaluation {
  /** The sessions for review and above, or every session that was asked for; the highest score first. */
  findings: Finding[];
  /** Log lines that were read. */
  rows: number;
  /** Sessions of the largest window, harmless ones included. */
  sessionCount: number;
  /**
   * Sessions of which the logs say what cannot be: counted as harmless in that, or left out when even the id is none. One in
   * several windows counts in each.
   */
  odd: number;
  /** Whether the logs of every window say which requests the edge function allowed. */
  proven: boolean;
  /** Whether those of every window say operator and country of each viewer. */
  located: boolean;
  refused: RefusedObject[];
  cost?: EngineCost | undefined;
}

/** Sessions whose timelines are asked for at once: their ids have to fit into a query (Athena: 262,144 bytes). */
export const TIMELINES_AT_ONCE = 500;
/** Labels hold what networks call themselves. */
const LABEL_LENGTH = 120;

/**
 * Scores the sessions of the windows; of one in several windows, the highest score counts. Timelines are asked for window by
 * window, straight after the features: an engine has one window at hand. A window none of whose objects can be read is named
 * object by object and does not keep the others from being evaluated. Rejects with `DetectionError` when none of them could be
 * read, or for any other reason of the engine.
 */
export async function evaluate(
  engine: DetectionEngine,
  settings: DetectionSettings,
  { windows, everySession, plotAtMost }: EvaluationRequest,
  onProgress?: ReportProgress,
): Promise<Evaluation> {
  const found = new Map<string, Finding>();
  const refused = new Map<string, RefusedObject>();
  let rows = 0;
  let odd = 0;
  let proven = true;
  let located = true;
  let sessionCount = 0;
  let cost: Evaluation['cost'];
  let unreadable: DetectionError | undefined;
  let read = 0;

  for (const window of windows) {
    const request = { ...window, everySession };
    let result: FeatureResult;
    try {
      result = await engine.features(request, onProgress);
      read++;
    } catch (error) {
      if (!(error instanceof DetectionError && error.code === 'ERR_DETECTION_LOGS')) throw error;
      unreadable = error;
      // Why each of them, if the engine says so; else what keeps all of them from being read may pass.
      const all = window.objects.map(({ name }) => ({ name, why: (error as Error).message, mayPass: true }));
      for (const object of error.refused ?? all) refused.set(object.name, object);
      continue;
    }
    rows += result.rows;
    odd += result.odd;
    proven &&= result.proven;
    located &&= result.located;
    sessionCount = Math.max(sessionCount, result.sessionCount);
    for (const object of result.refused) refused.set(object.name, object);
    if (result.cost) cost = sum(cost, result.cost);
    const worse: Finding[] = [];
    for (const features of result.sessions) {
      const { sessionId } = features;
      const finding: Finding = { sessionId, ...judge(features, settings), features, timeline: [] };
      if (finding.verdict === 'harmless' && !everySession) continue;
      const before = found.get(sessionId);
      if (before && finding.score < before.score) continue;
      found.set(sessionId, finding);
      worse.push(finding);
    }
    await plot(engine, request, worse.sort(byScore).slice(0, plotAtMost), (more) => {
      cost = sum(cost, more);
    });
  }
  if (unreadable && read === 0) throw unreadable;
  const findings = [...found.values()].sort(byScore);
  return { findings, rows, sessionCount, odd, proven, located, refused: [...refused.values()], cost };
}

/** The highest score first. */
function byScore(a: Finding, b: Finding): number {
  return b.score - a.score || (a.sessionId < b.sessionId ? -1 : 1);
}

/** What a score says. Of a title whose segments seem to last otherwise than is set, nothing but that people should look. */
function judge(features: SessionFeatures, settings: DetectionSettings): Pick<Finding, 'score' | 'verdict' | 'reasons'> {
  const scored = score(features, settings.weights);
  const { reviewScore, autoScore, segmentSeconds } = settings;
  if (scored.score < reviewScore) return { ...scored, verdict: 'harmless' };
  if (features.segmentSeconds === segmentSeconds) {
    return { ...scored, verdict: scored.score >= autoScore ? 'auto' : 'review' };
  }
  // Viewers of a title may all be of somebody who wants others to look fast.
  const measured = Math.round(features.segmentSeconds * 10) / 10;
  const reason = `for people to decide: segments of this title seem to last ${measured} s, and segmentSeconds is ${segmentSeconds}`;
  return { ...scored, verdict: 'review', reasons: [...scored.reasons, reason] };
}

/** What two charges come to. */
function sum(before: EngineCost | undefined, more: EngineCost): EngineCost {
  const { bytesScanned = 0, usd = 0 } = before ?? {};
  return { bytesScanned: bytesScanned + more.bytesScanned, usd: usd + more.usd };
}

/** Adds to each finding who fetched when. */
async function plot(
  engine: DetectionEngine,
  request: FeatureRequest,
  findings: Finding[],
  onCost: (cost: EngineCost) => void,
): Promise<void> {
  for (let i = 0; i < findings.length; i += TIMELINES_AT_ONCE) {
    const some = findings.slice(i, i + TIMELINES_AT_ONCE);
    const ids = some.map(({ sessionId }) => sessionId);
    const timelines = await engine.timelines(request, ids, onCost);
    for (const finding of some) {
      const timeline = timelines.get(finding.sessionId) ?? [];
      finding.timeline = timeline.map(({ label, minutes }) => ({ label: label.slice(0, LABEL_LENGTH), minutes }));
    }
  }
}
