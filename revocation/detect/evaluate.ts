import { SESSION_ID } from '../../token/index.ts';
import type { Verdict } from '../suspicious/suspicious-sessions.ts';
import {
  type DetectionEngine,
  DetectionError,
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
  /** In words, the weightiest first. */
  reasons: string[];
  features: SessionFeatures;
  /** Index of the window in which it looked worst. */
  window: number;
}

/** What the windows of a run hold. */
export interface Evaluation {
  /** The sessions for review and above, or every session that was asked for; the highest score first. */
  findings: Finding[];
  /** Log lines that were read. */
  rows: number;
  /** Sessions of the largest window, harmless ones included. */
  sessionCount: number;
  /** Sessions of which the logs say what cannot be: counted as harmless in that, or left out when even the id is none. */
  odd: number;
  refused: RefusedObject[];
  cost?: { bytesScanned: number; usd: number } | undefined;
}

/** Sessions whose timelines are asked for at once: their ids have to fit into a query (Athena: 262,144 bytes). */
const TIMELINES_AT_ONCE = 500;
/** Labels hold what networks call themselves. */
const LABEL_LENGTH = 120;

/**
 * Scores the sessions of the windows; of one in several windows, the highest score counts. A window none of whose objects can
 * be read is named object by object and does not keep the others from being evaluated. Rejects with `DetectionError` when none
 * of them could be read, or for any other reason of the engine.
 */
export async function evaluate(
  engine: DetectionEngine,
  windows: DetectionWindow[],
  settings: DetectionSettings,
  everySession: boolean,
  onProgress?: ReportProgress,
): Promise<Evaluation> {
  const found = new Map<string, Finding>();
  const odd = new Set<string>();
  const refused = new Map<string, RefusedObject>();
  let rows = 0;
  let sessionCount = 0;
  let cost: Evaluation['cost'];
  let unreadable: DetectionError | undefined;
  let read = 0;

  for (const [index, window] of windows.entries()) {
    let result: FeatureResult;
    try {
      result = await engine.features({ ...window, everySession }, onProgress);
      read++;
    } catch (error) {
      if (!(error instanceof DetectionError && error.code === 'ERR_DETECTION_LOGS')) throw error;
      unreadable = error;
      for (const { name } of window.objects) refused.set(name, { name, why: error.message });
      continue;
    }
    rows += result.rows;
    sessionCount = Math.max(sessionCount, result.sessionCount);
    for (const object of result.refused) refused.set(object.name, object);
    if (result.cost) {
      const { bytesScanned = 0, usd = 0 } = cost ?? {};
      cost = { bytesScanned: bytesScanned + result.cost.bytesScanned, usd: usd + result.cost.usd };
    }
    for (const given of result.sessions) {
      const features = soundFeatures(given);
      if (features !== given) odd.add(String(given.sessionId));
      if (!SESSION_ID.test(features.sessionId)) continue;
      const finding = { sessionId: features.sessionId, ...judge(features, settings), features, window: index };
      if (finding.verdict === 'harmless' && !everySession) continue;
      const before = found.get(finding.sessionId);
      if (!before || finding.score >= before.score) found.set(finding.sessionId, finding);
    }
  }
  if (unreadable && read === 0) throw unreadable;
  const findings = [...found.values()].sort((a, b) => b.score - a.score || (a.sessionId < b.sessionId ? -1 : 1));
  return { findings, rows, sessionCount, odd: odd.size, refused: [...refused.values()], cost };
}

function judge(features: SessionFeatures, settings: DetectionSettings): Pick<Finding, 'score' | 'verdict' | 'reasons'> {
  const scored = score(features, settings.weights);
  const { reviewScore, autoScore } = settings;
  return {
    ...scored,
    verdict: scored.score >= autoScore ? 'auto' : scored.score >= reviewScore ? 'review' : 'harmless',
  };
}

/** The features themselves when they can be; else with nothing in place of what is no number, below zero or beyond counting. */
function soundFeatures(features: SessionFeatures): SessionFeatures {
  const entries = Object.entries(features);
  const isText = (name: string) => name === 'sessionId' || name === 'title';
  const isSound = ([name, value]: [string, unknown]) =>
    isText(name)
      ? typeof value === 'string'
      : typeof value === 'number' && value >= 0 && value <= Number.MAX_SAFE_INTEGER;
  if (entries.every(isSound) && SESSION_ID.test(features.sessionId)) return features;
  return Object.fromEntries(
    entries.map((entry) => (isSound(entry) ? entry : [entry[0], isText(entry[0]) ? '' : 0])),
  ) as unknown as SessionFeatures;
}

/** A finding with who fetched when. */
export interface PlottedFinding extends Finding {
  timeline: IdentityTimeline[];
}

/** Adds to each finding who fetched when, in the window in which the session looked worst. */
export async function plot(
  engine: DetectionEngine,
  windows: DetectionWindow[],
  findings: Finding[],
): Promise<PlottedFinding[]> {
  const timelines = new Map<string, IdentityTimeline[]>();
  for (const [index, window] of windows.entries()) {
    const ids = findings.filter((finding) => finding.window === index).map(({ sessionId }) => sessionId);
    for (let i = 0; i < ids.length; i += TIMELINES_AT_ONCE) {
      const request = { ...window, everySession: false };
      const found = await engine.timelines(request, ids.slice(i, i + TIMELINES_AT_ONCE));
      for (const [id, timeline] of found) timelines.set(id, timeline);
    }
  }
  return findings.map((finding) => {
    const timeline = timelines.get(finding.sessionId) ?? [];
    const short = timeline.map(({ label, minutes }) => ({ label: label.slice(0, LABEL_LENGTH), minutes }));
    return { ...finding, timeline: short };
  });
}
