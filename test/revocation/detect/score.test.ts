import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { parse } from 'valibot';
import { describe, expect, test } from 'vitest';
import { packagePath } from '../../../local/package-root.ts';
import type { SessionFeatures } from '../../../revocation/detect/features.ts';
import { score } from '../../../revocation/detect/score.ts';
import { DetectionSettingsSchema } from '../../../revocation/detect/settings.ts';
import { SIGNAL_NAMES, SIGNALS } from '../../../revocation/detect/signals.ts';

const { weights, reviewScore, autoScore } = parse(DetectionSettingsSchema, {});

/** An hour of one viewer. */
const VIEWER: SessionFeatures = {
  ...{ sessionId: 'AbCdEf012345', title: 'aurora', firstSeen: 0, lastSeen: 3600, requests: 960, activeMinutes: 60 },
  ...{ identities: 1, networks: 1, asns: 1, countries: 1, userAgents: 1, referers: 1 },
  ...{ concurrentIdentities: 1, concurrentMinutes: 0, handOffs: 0, concurrentCountries: 1, concurrentEdgeLocations: 1 },
  ...{ segments: 900, segmentRequests: 905, sharedSegments: 0, sharedRatio: 0, refetchRatio: 0.005, rateOverMedian: 1 },
  ...{ mediaSpeed: 0.99, fastMinutes: 0, concurrentSpeed: 0, playheadDivergence: 0, divergentMinutes: 0 },
  ...{ hostingRatio: 0, edgeLocations: 1, segmentSeconds: 4 },
};
const scoreOf = (features: Partial<SessionFeatures>) => score({ ...VIEWER, ...features }, weights);

const RIPPER = { mediaSpeed: 8, activeMinutes: 13, fastMinutes: 13, rateOverMedian: 7, segments: 1560 };
const TWO_AT_ONCE = {
  identities: 2,
  networks: 2,
  concurrentIdentities: 2,
  concurrentMinutes: 40,
  concurrentSpeed: 1.97,
};

describe('a score', () => {
  test('is nothing for one viewer, without a reason', () => {
    expect(scoreOf({})).toEqual({ score: 0, reasons: [] });
  });

  test('is from 0 to 100 with a reason for each ten points, whatever the features are', () => {
    const count = fc.oneof(fc.integer({ min: 0, max: 1e9 }), fc.double({ min: 0, max: 1e12, noNaN: true }));
    const names = Object.keys(VIEWER).filter((name) => name !== 'sessionId' && name !== 'title');
    const features: fc.Arbitrary<unknown> = fc.record(Object.fromEntries(names.map((name) => [name, count])));
    fc.assert(
      fc.property(features, (some) => {
        const { score: reached, reasons } = scoreOf(some as Partial<SessionFeatures>);
        expect(reached).toBeGreaterThanOrEqual(0);
        expect(reached).toBeLessThanOrEqual(100);
        if (reached > 10) expect(reasons.length).toBeGreaterThan(0);
        for (const reason of reasons) expect(reason).not.toMatch(/NaN|undefined|Infinity/);
      }),
    );
  });

  test('gives the weightiest reason first, in words and with its points', () => {
    expect(scoreOf({ ...TWO_AT_ONCE, asns: 2, userAgents: 2 })).toEqual({
      score: 87,
      reasons: [
        'as much as 2 viewers fetch at once, over 40 minutes (+55)',
        'these viewers are with 2 network operators (+20)',
        'each on a line of its own: 2 networks, no two devices on the same (+12)',
      ],
    });
    expect(scoreOf(RIPPER).reasons[0]).toBe('8 seconds of media fetched a second: players go to 2 (+50)');
  });

  test('is made of signals whose ranges are ranges, and which docs/detection.md has as they are', () => {
    const text = readFileSync(packagePath('docs', 'detection.md'), 'utf8');
    for (const name of SIGNAL_NAMES) {
      const { from, to, points } = SIGNALS[name];
      expect([name, from < to, points > 0]).toEqual([name, true, true]);
      expect(text).toMatch(new RegExp(`^\\| \`${name}\` \\|.*\\| ${from} \\| ${to} \\| ${points} \\|$`, 'm'));
    }
  });
});

describe('verdicts', () => {
  test.each<[string, Partial<SessionFeatures>]>([
    ['three at once, even with one operator', { ...TWO_AT_ONCE, concurrentSpeed: 2.9 }],
    ['two at once, with two operators', { ...TWO_AT_ONCE, asns: 2 }],
    ['two at once, each on a line of its own', TWO_AT_ONCE],
    ['copying', RIPPER],
    ['many networks', { networks: 40, asns: 6, identities: 60 }],
  ])('%s is revoked', (_, features) => {
    expect(scoreOf(features).score).toBeGreaterThanOrEqual(autoScore);
  });

  test.each<[string, Partial<SessionFeatures>]>([
    [
      'two devices that meet on the same networks of an operator: they may be behind a carrier-grade NAT',
      { ...TWO_AT_ONCE, identities: 4, userAgents: 2 },
    ],
    ['faster than it plays, but not faster than a player can: somebody may watch it so', { mediaSpeed: 1.5 }],
    ['hours through a VPN', { hostingRatio: 1, activeMinutes: 200 }],
  ])('%s: people look at it', (_, features) => {
    const { score: reached } = scoreOf(features);
    expect(reached).toBeGreaterThanOrEqual(reviewScore);
    expect(reached).toBeLessThan(autoScore);
  });

  test.each<[string, Partial<SessionFeatures>]>([
    ['two devices of a household behind one address', { ...TWO_AT_ONCE, networks: 1, userAgents: 2 }],
    [
      'an address that changes with each request',
      { networks: 4, identities: 5, concurrentIdentities: 5, concurrentMinutes: 60, concurrentSpeed: 1 },
    ],
    ['a telephone on the way', { networks: 6, asns: 3, identities: 6, handOffs: 9 }],
    ['an hour through a VPN', { hostingRatio: 1 }],
    ['going back again and again', { mediaSpeed: 0.5, refetchRatio: 0.5 }],
    ['a television that is on all day', { activeMinutes: 360 }],
    ['a few minutes that look like two viewers', { ...TWO_AT_ONCE, concurrentMinutes: 2, asns: 2 }],
  ])('%s is harmless', (_, features) => {
    expect(scoreOf(features).score).toBeLessThan(reviewScore);
  });
});

describe('who attacks detection', () => {
  test('gains nothing by raising the median with sessions of his own: no verdict rests on it', () => {
    for (const features of [RIPPER, { ...TWO_AT_ONCE, asns: 2 }, { networks: 40, asns: 6 }]) {
      expect(scoreOf({ ...features, rateOverMedian: 0 }).score).toBeGreaterThanOrEqual(autoScore);
    }
  });

  test('and by lowering it puts nobody on the list', () => {
    expect(scoreOf({ rateOverMedian: 1e9 }).score).toBeLessThan(reviewScore);
  });

  test('does not get off by changing the user-agent: viewers with several operators are revoked all the same', () => {
    const many = { userAgents: 500, referers: 500, identities: 500 };
    expect(scoreOf({ ...TWO_AT_ONCE, asns: 2, ...many }).score).toBeGreaterThanOrEqual(autoScore);
    expect(scoreOf({ ...TWO_AT_ONCE, ...many }).score).toBeGreaterThanOrEqual(reviewScore);
  });
});

test('without operators and countries (standard logs v1) two at once are still looked at, and three revoked', () => {
  expect(scoreOf({ ...TWO_AT_ONCE, asns: 1, countries: 1 }).score).toBeGreaterThanOrEqual(reviewScore);
  expect(scoreOf({ ...TWO_AT_ONCE, concurrentSpeed: 2.9, asns: 1 }).score).toBeGreaterThanOrEqual(autoScore);
});
