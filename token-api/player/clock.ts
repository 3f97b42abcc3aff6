/** Time and timers, as the renewal needs them. */
export interface Clock {
  /** Seconds since the epoch as this device has it, which may be wrong by hours. */
  epochSeconds(): number;
  /** Milliseconds from some beginning: never goes back, and goes on while the device sleeps. */
  elapsed(): number;
  setTimeout(run: () => void, milliseconds: number): unknown;
  clearTimeout(timer: unknown): void;
}

/**
 * The clock of a browser. Between two looks the time that passed is the larger of what two clocks say: `performance.now()`
 * stands still while many devices sleep, and `Date.now()` jumps when somebody sets it.
 */
export function createClock(wall = () => Date.now(), monotonic = () => performance.now()): Clock {
  let lastWall = wall();
  let lastMonotonic = monotonic();
  let total = 0;
  return {
    epochSeconds: () => wall() / 1000,
    elapsed() {
      const nowWall = wall();
      const nowMonotonic = monotonic();
      total += Math.max(nowWall - lastWall, nowMonotonic - lastMonotonic, 0);
      lastWall = nowWall;
      lastMonotonic = nowMonotonic;
      return total;
    },
    setTimeout: (run, milliseconds) => setTimeout(run, milliseconds),
    clearTimeout: (timer) => clearTimeout(timer as number),
  };
}
