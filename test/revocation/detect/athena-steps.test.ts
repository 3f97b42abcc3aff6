import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { answeredEngine } from '../../../revocation/detect/athena.ts';
import { athenaQueries } from '../../../revocation/detect/athena-queries.ts';
import { AthenaSettingsSchema } from '../../../revocation/detect/athena-settings.ts';
import { askFeatures, askTimelines, runWindow } from '../../../revocation/detect/athena-steps.ts';
import { DetectionSettingsSchema } from '../../../revocation/detect/settings.ts';
import { AthenaService } from '../../harness/athena-service.ts';

const SETTINGS = v.parse(AthenaSettingsSchema, {
  ...{ database: 'portcullis', table: 'access_logs', location: 's3://logs/cdn/' },
  ...{ distributionId: 'E1A2B3', workgroup: 'detection' },
});
const QUERIES = athenaQueries(v.parse(DetectionSettingsSchema, {}), SETTINGS, '/');
const TIMES = { from: 1_795_345_200, to: 1_795_348_800 };
const WINDOW = runWindow('run-1', TIMES);
const ids = (count: number) => Array.from({ length: count }, (_, i) => `Session${String(i).padStart(9, '0')}`);

describe('what a window of a run asks', () => {
  test('is the same for the same run, and of other names for another run or window', () => {
    const asked = askFeatures(QUERIES, 'portcullis', WINDOW);
    expect(askFeatures(QUERIES, 'portcullis', runWindow('run-1', TIMES))).toEqual(asked);
    const others = [runWindow('run-2', TIMES), runWindow('run-1', { ...TIMES, from: TIMES.from - 3600 })];
    for (const other of others) {
      const tokens = new Set(askFeatures(QUERIES, 'portcullis', other).map(({ token }) => token));
      expect(asked.filter(({ token }) => tokens.has(token))).toEqual([]);
      expect(other.tables.filter((table) => WINDOW.tables.includes(table))).toEqual([]);
    }
    // StartQueryExecution: 32 to 128 characters.
    expect(asked.every(({ token }) => /^[0-9a-f]{64}$/.test(token))).toBe(true);
  });

  test('makes no table that the window does not name, and asks about a thousand sessions at most', () => {
    const timelines = askTimelines(QUERIES, 'portcullis', WINDOW, ids(1500));
    expect(timelines).toHaveLength(2);
    const texts = [...askFeatures(QUERIES, 'portcullis', WINDOW), ...timelines.flat()].map(({ sql }) => sql);
    const made = texts.flatMap((sql) => /^CREATE TABLE "portcullis"."(\w+)"/.exec(sql)?.[1] ?? []);
    expect(made.toSorted()).toEqual(WINDOW.tables.toSorted());
    expect(texts.join().match(/Session\d{9}/g)).toContain('Session000000999');
    expect(texts.join()).not.toContain('Session000001000');
    expect(askTimelines(QUERIES, 'portcullis', WINDOW, [])).toEqual([]);
  });

  test('fits into what Step Functions hands on, and each text into a query', () => {
    const large = v.parse(DetectionSettingsSchema, { hostingAsns: Array.from({ length: 1000 }, (_, i) => `${i}`) });
    const queries = athenaQueries(large, SETTINGS, '/');
    for (const asked of [
      askFeatures(queries, 'portcullis', WINDOW),
      askTimelines(queries, 'portcullis', WINDOW, ids(1000)),
    ]) {
      expect(Buffer.byteLength(JSON.stringify(asked))).toBeLessThan(256 * 1024);
    }
  });
});

describe('what Athena answered', () => {
  const asked = { ...WINDOW, features: ['q-1'], timelines: [] };
  const request = { ...TIMES, objects: [], everySession: false };
  const engineOf = (service: AthenaService, windows = [asked]) =>
    answeredEngine(service.client, SETTINGS, QUERIES, async () => undefined, windows);

  test('is nothing that can be relied on when a query did not succeed', async () => {
    const service = new AthenaService();
    const query = { sql: '', polls: 0, answer: { columns: [], rows: [] } };
    service.queries.set('q-1', { ...query, status: { State: 'CANCELLED' } });
    await expect(engineOf(service).features(request)).rejects.toMatchObject({
      code: 'ERR_DETECTION_QUERY',
      message: expect.stringContaining('cancelled'),
    });
    expect(service.calls).not.toContain('Results');
  });

  test('is not there for a window that was not asked about, or without a query', async () => {
    const service = new AthenaService();
    const other = { ...request, from: 0 };
    await expect(engineOf(service).features(other)).rejects.toMatchObject({ code: 'ERR_DETECTION_QUERY' });
    const engine = engineOf(service, [{ ...asked, features: [] }]);
    await expect(engine.features(request)).rejects.toMatchObject({ code: 'ERR_DETECTION_QUERY' });
    expect(service.calls).toEqual([]);
  });
});
