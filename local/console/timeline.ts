import type { IdentityTimeline } from '../../revocation/detect/detection-engine.ts';

/** What a plot of a session draws: the requests of its identities, in bars of the same length without a gap between them. */
export interface Bars {
  /** Length of a bar, in seconds: a minute, or as many as make a long time fit. */
  seconds: number;
  /** When each begins, in seconds since the epoch. */
  starts: number[];
  /** Requests a minute by identity and bar, in the order of the timeline. */
  rates: number[][];
}

const MINUTE = 60;
/** So that a bar stays some pixels wide. */
const MOST_BARS = 120;
/** So that a few minutes do not fill the width. */
const FEWEST_BARS = 15;
/** Lengths of a bar that people can read, in minutes. */
const LENGTHS = [1, 2, 5, 10, 15, 30, 60, 120, 240, 720, 1440];

/** The bars of a timeline; none when it holds no requests. A row that is no time or no number is left out. */
export function barsOf(timeline: IdentityTimeline[]): Bars {
  const rows = timeline.map(({ minutes }) =>
    minutes.filter(([minute, requests]) => Number.isFinite(minute) && Number.isFinite(requests) && requests > 0),
  );
  const times = rows.flat().map(([minute]) => minute);
  if (times.length === 0) return { seconds: MINUTE, starts: [], rates: rows.map(() => []) };

  const first = times.reduce((a, b) => Math.min(a, b));
  const last = times.reduce((a, b) => Math.max(a, b));
  const span = (last - first) / MINUTE + 1;
  const length = LENGTHS.find((minutes) => span <= minutes * (MOST_BARS - 1)) ?? Math.ceil(span / (MOST_BARS - 1));
  const seconds = length * MINUTE;
  const used = Math.floor(last / seconds) - Math.floor(first / seconds) + 1;
  const count = Math.max(used, FEWEST_BARS);
  const firstBar = Math.floor(first / seconds) - Math.floor((count - used) / 2);

  const starts = Array.from({ length: count }, (_, i) => (firstBar + i) * seconds);
  const rates = rows.map((minutes) => {
    const sums = starts.map(() => 0);
    for (const [minute, requests] of minutes) {
      const bar = Math.floor(minute / seconds) - firstBar;
      sums[bar] = (sums[bar] ?? 0) + requests;
    }
    return sums.map((sum) => sum / length);
  });
  return { seconds, starts, rates };
}
