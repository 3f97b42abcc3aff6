import type { Ledger, LogObject, LogObjects } from './log-objects.ts';

/** Hours of traffic that are evaluated together, from all of their log objects. Times are seconds since the epoch. */
export interface DetectionWindow {
  from: number;
  to: number;
  objects: LogObject[];
}

/** What a run has to do. */
export interface DetectionPlan {
  /** Objects that no run has dealt with in this version. */
  unseen: LogObject[];
  /** The windows that these belong to; none when there is nothing to do. */
  windows: DetectionWindow[];
}

const HOUR_SECONDS = 3600;
/** Later than any line: the end of the year 9999, the last that is written with four digits. */
export const END_OF_TIME = 253_402_300_799;

/**
 * Which hours have to be evaluated (again). Every hour that has log objects is the end of a window, which begins
 * `lookbackHours` before; a window is evaluated when any of its objects is new, and then from all of them. So what comes late
 * changes every window that it belongs to, and no line is missed or counted twice. An object whose name does not say its hour
 * is a window of its own.
 * @param since Objects of hours before this are let be, seconds since the epoch.
 */
export async function planRun(
  logs: LogObjects,
  ledger: Ledger,
  lookbackHours: number,
  since: number,
): Promise<DetectionPlan> {
  const lookback = lookbackHours * HOUR_SECONDS;
  const listed = await logs.list(since - lookback);
  const unseen = await ledger.unseen(listed.filter(({ hour }) => hour === undefined || hour >= since));
  const newHours = unseen.flatMap(({ hour }) => (hour === undefined ? [] : [hour]));
  const byHour = new Map<number, LogObject[]>();
  for (const object of listed) {
    if (object.hour === undefined) continue;
    const same = byHour.get(object.hour);
    if (same) same.push(object);
    else byHour.set(object.hour, [object]);
  }

  const windows: DetectionWindow[] = [];
  for (const hour of [...byHour.keys()].sort((a, b) => a - b)) {
    if (!newHours.some((added) => added >= hour - lookback && added <= hour)) continue;
    const hours = Array.from({ length: lookbackHours + 1 }, (_, i) => hour - lookback + i * HOUR_SECONDS);
    const objects = hours.flatMap((each) => byHour.get(each) ?? []);
    windows.push({ from: hour - lookback, to: hour + HOUR_SECONDS, objects });
  }
  for (const object of unseen) {
    if (object.hour === undefined) windows.push({ from: 0, to: END_OF_TIME, objects: [object] });
  }
  return { unseen, windows };
}

/**
 * The part of a plan with so many of its windows, the oldest first, for who can ask only so much in one run. Of the new objects
 * it has those of which no other window is left: they alone are dealt with once these windows are. `atMost` has to be above the
 * hours of the look-back, the windows of one object, or a run might get no further.
 */
export function limitPlan({ unseen, windows }: DetectionPlan, atMost: number): DetectionPlan {
  const left = new Set(windows.slice(atMost).flatMap(({ objects }) => objects.map(({ name }) => name)));
  return { unseen: unseen.filter(({ name }) => !left.has(name)), windows: windows.slice(0, atMost) };
}
