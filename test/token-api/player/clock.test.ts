import { describe, expect, test } from 'vitest';
import { createClock } from '../../../token-api/player/clock.ts';

describe('the clock of a browser', () => {
  /** The two clocks of a device that started a minute ago. */
  function device() {
    const time = { wall: 1_760_000_000_000, monotonic: 60_000 };
    const clock = createClock(
      () => time.wall,
      () => time.monotonic,
    );
    return {
      clock,
      pass: (wall: number, monotonic: number) => {
        time.wall += wall;
        time.monotonic += monotonic;
        return clock.elapsed();
      },
    };
  }

  test('counts what passes', () => {
    const { pass, clock } = device();
    expect(clock.elapsed()).toBe(0);
    expect(pass(1000, 1000)).toBe(1000);
    expect(pass(500, 500)).toBe(1500);
    expect(clock.epochSeconds()).toBe(1_760_000_001.5);
  });

  test('counts sleep, in which one of the two stands still', () => {
    const { pass } = device();
    expect(pass(3_600_000, 20)).toBe(3_600_000);
    expect(pass(1000, 1000)).toBe(3_601_000);
  });

  test('does not go back when somebody sets the time, nor forget what passes after', () => {
    const { pass } = device();
    pass(10_000, 10_000);
    expect(pass(-3_600_000, 1000)).toBe(11_000);
    expect(pass(1000, 1000)).toBe(12_000);
    expect(pass(3_600_000, 1000)).toBe(3_612_000);
    expect(pass(-3_600_000, 0)).toBe(3_612_000);
    expect(pass(2000, 2000)).toBe(3_614_000);
  });
});
