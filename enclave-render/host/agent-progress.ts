/** Shortest time between two percents, in milliseconds. */
const PAUSE = 1000;

export interface ProgressOptions {
  /** Tells the parent. */
  tell: (percent: number) => Promise<unknown>;
  /** Milliseconds, of any clock that does not go back. */
  now: () => number;
}

/**
 * Makes percents of how much of a task is done (0 to 1, as its renderer says): whole ones from 1 to 100, each higher than the one before,
 * at most one a second, and none before the last was taken. So a renderer that was taken over can say a hundred numbers in order and
 * nothing else. What cannot be told is left out.
 */
export function taskProgress({ tell, now }: ProgressOptions): (share: number) => void {
  let [told, toldAt, isTelling] = [0, Number.NEGATIVE_INFINITY, false];
  return (share) => {
    const percent = Math.min(100, Math.floor(100 * share));
    // Also when it is no number.
    if (!(percent > told) || isTelling || now() - toldAt < PAUSE) return;
    [told, toldAt, isTelling] = [percent, now(), true];
    tell(percent)
      .catch(() => undefined)
      .finally(() => {
        isTelling = false;
      });
  };
}
