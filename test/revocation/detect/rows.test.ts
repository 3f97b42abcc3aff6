import { expect, test } from 'vitest';
import { type Row, readFeatureRows } from '../../../revocation/detect/rows.ts';
import { sharedSession } from '../../harness/detection.ts';

const snakeCase = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const SHARED = sharedSession({ sessionId: 'SharedByMany' });
/** A row of the answer, as the engine gives it. */
const row = (told: Row = {}): Row => ({
  ...Object.fromEntries(Object.entries(SHARED).map(([name, value]) => [snakeCase(name), value])),
  session_count: 2,
  request_count: 900,
  ...told,
});

test('a row becomes the features of a session, from numbers and from text', () => {
  const text = Object.fromEntries(Object.entries(row()).map(([name, value]) => [name, String(value)]));
  for (const given of [row(), text]) {
    expect(readFeatureRows([given])).toEqual({ sessions: [SHARED], sessionCount: 2, requestCount: 900, odd: 0 });
  }
});

test.each([
  ['no number', Number.NaN],
  ['infinite', Number.POSITIVE_INFINITY],
  ['negative', -1],
  ['beyond counting', 1e300],
  ['text', 'many'],
  ['empty', ''],
  ['nothing', null],
])('a value that is %s counts for nothing, and hides nothing else of its session', (_, value) => {
  const { sessions, odd } = readFeatureRows([row({ rate_over_median: value }), row()]);
  expect(odd).toBe(1);
  expect(sessions).toEqual([{ ...SHARED, rateOverMedian: 0 }, SHARED]);
});

test.each(['short', '../../../../etc', "x'; DROP TABLE t; --"])('a row whose id is %j is left out', (id) => {
  const { sessions, odd } = readFeatureRows([row({ session_id: id }), row()]);
  expect([sessions, odd]).toEqual([[SHARED], 1]);
});

test('a title that is none, and totals without a session, are nothing odd', () => {
  const { sessions, odd, sessionCount } = readFeatureRows([row({ title: null }), row({ session_id: null })]);
  expect([sessions, odd, sessionCount]).toEqual([[{ ...SHARED, title: '' }], 0, 2]);
});
