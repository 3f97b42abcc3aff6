import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { barsOf } from '../../../local/console/timeline.ts';
import type { IdentityTimeline } from '../../../revocation/detect/detection-engine.ts';

const NOON = 1795348800;
const from = (...minutes: [number, number][]): IdentityTimeline => ({ label: '', minutes });

describe('the bars of a timeline', () => {
  test('are minutes without a gap, with room around a short one', () => {
    const { seconds, starts, rates } = barsOf([from([NOON, 14], [NOON + 120, 12]), from([NOON + 60, 3])]);
    expect(seconds).toBe(60);
    expect(starts).toHaveLength(15);
    const at = starts.indexOf(NOON);
    expect(starts.slice(at, at + 3)).toEqual([NOON, NOON + 60, NOON + 120]);
    expect(rates.map((rate) => rate.slice(at - 1, at + 4))).toEqual([
      [0, 14, 0, 12, 0],
      [0, 0, 3, 0, 0],
    ]);
  });

  test('grow longer with the time, and stay requests a minute', () => {
    const day = Array.from({ length: 1440 }, (_, i): [number, number] => [NOON + i * 60, 10]);
    const { seconds, starts, rates } = barsOf([from(...day)]);
    expect(seconds).toBe(15 * 60);
    expect(starts).toHaveLength(96);
    expect(new Set(rates[0])).toEqual(new Set([10]));
  });

  test('are none where nothing was requested', () => {
    expect(barsOf([]).starts).toEqual([]);
    expect(barsOf([from(), from([NOON, 0])])).toEqual({ seconds: 60, starts: [], rates: [[], []] });
  });

  test('hold every request once, whatever the times', () => {
    const rows = fc.array(fc.tuple(fc.double({ min: -1e10, max: 1e10 }), fc.double({ min: -10, max: 1e6 })));
    fc.assert(
      fc.property(fc.array(rows, { maxLength: 8 }), (identities) => {
        const { seconds, starts, rates } = barsOf(identities.map((minutes) => from(...minutes)));
        expect(starts.length).toBeLessThanOrEqual(121);
        expect(rates).toHaveLength(identities.length);
        for (const [i, minutes] of identities.entries()) {
          const requests = minutes.reduce((sum, [time, n]) => sum + (Number.isFinite(time) && n > 0 ? n : 0), 0);
          const drawn = (rates[i] ?? []).reduce((sum, rate) => sum + rate, 0) * (seconds / 60);
          expect(rates[i]).toHaveLength(starts.length);
          expect(drawn).toBeCloseTo(requests, 3);
        }
      }),
      // A time that is a hair before a bar.
      {
        examples: [
          [
            [
              [
                [-840.0000000000001, 1],
                [-1.53e-322, 1],
              ],
            ],
          ],
        ],
      },
    );
  });
});
