import { describe, expect, test } from 'vitest';
import type { LogObject } from '../../../revocation/detect/log-objects.ts';
import { limitPlan, planRun } from '../../../revocation/detect/plan.ts';

const HOUR = Date.UTC(2026, 10, 22, 14) / 1000;
const object = (hours: number, name = `h${hours}`): LogObject => ({
  ...{ name, bytes: 10, version: '1', hour: HOUR + hours * 3600 },
});

describe('a plan that is limited', () => {
  test('that is small enough is the plan', async () => {
    const plan = { unseen: [object(0)], windows: [{ from: HOUR, to: HOUR + 3600, objects: [object(0)] }] };
    expect(limitPlan(plan, 1)).toEqual(plan);
    expect(limitPlan({ unseen: [], windows: [] }, 1)).toEqual({ unseen: [], windows: [] });
  });

  test.each([
    { hours: 40, lookback: 0, atMost: 1 },
    { hours: 40, lookback: 5, atMost: 6 },
    { hours: 100, lookback: 48, atMost: 60 },
  ])('gets everything done run by run: $hours hours, looking back $lookback, $atMost at a time', async (told) => {
    const { hours, lookback, atMost } = told;
    const objects = Array.from({ length: hours }, (_, i) => object(i));
    const settled = new Set<string>();
    const ledger = {
      unseen: async (listed: LogObject[]) => listed.filter(({ name }) => !settled.has(name)),
      commit: async () => undefined,
    };
    const evaluated = new Set<number>();
    for (let run = 0; run < hours && settled.size < hours; run++) {
      const whole = await planRun({ list: async () => objects }, ledger, lookback, 0);
      const { unseen, windows } = limitPlan(whole, atMost);
      expect(windows.length).toBeLessThanOrEqual(atMost);
      expect(unseen).not.toEqual([]);
      for (const { to } of windows) evaluated.add(to);
      for (const { name, hour = 0 } of unseen) {
        // Dealt with: every window that it belongs to was evaluated, in this run.
        const own = objects.filter((each) => (each.hour ?? 0) >= hour && (each.hour ?? 0) <= hour + lookback * 3600);
        const now = new Set(windows.map(({ to }) => to));
        expect(own.filter((each) => !now.has((each.hour ?? 0) + 3600))).toEqual([]);
        settled.add(name);
      }
    }
    expect(settled.size).toBe(hours);
    expect(evaluated.size).toBe(hours);
  });
});
