import type { SessionFeatures } from './features.ts';
import type { DetectionSettings } from './settings.ts';
import { SIGNAL_NAMES, SIGNALS } from './signals.ts';

/** Points from which on a signal is worth a reason. */
const WORTH_SAYING = 1;

/**
 * The score of a session, 0 to 100, and why: the sum of what each signal adds, which grows linearly from nothing at `from` to
 * `points` at `to`. The reasons are in words with the points that each adds, the weightiest first: `3 countries … (+20)`.
 */
export function score(
  features: SessionFeatures,
  weights: DetectionSettings['weights'],
): { score: number; reasons: string[] } {
  const counted = SIGNAL_NAMES.map((name) => {
    const { from, to, points } = weights[name];
    const share = (SIGNALS[name].value(features) - from) / (to - from);
    return { name, points: points * Math.min(Math.max(share, 0), 1) };
  });
  const total = counted.reduce((sum, { points }) => sum + points, 0);
  const reasons = counted
    .filter(({ points }) => points >= WORTH_SAYING)
    .sort((a, b) => b.points - a.points)
    .map(({ name, points }) => `${SIGNALS[name].reason(features)} (+${Math.round(points)})`);
  return { score: Math.round(Math.min(total, 100) * 10) / 10, reasons };
}
