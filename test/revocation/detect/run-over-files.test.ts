import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import * as v from 'valibot';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { LocalDynamoDb } from '../../../local/dynamodb.ts';
import type { DetectionEngine } from '../../../revocation/detect/detection-engine.ts';
import { openDuckDbEngine } from '../../../revocation/detect/duckdb.ts';
import { dynamoDbLedger, LOG_OBJECTS_TABLE } from '../../../revocation/detect/dynamodb.ts';
import { logFiles } from '../../../revocation/detect/files.ts';
import { type DetectionPorts, runDetection } from '../../../revocation/detect/run-detection.ts';
import { type DetectionSettings, DetectionSettingsSchema } from '../../../revocation/detect/settings.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES } from '../../../revocation/list/dynamodb.ts';
import { dynamoDbSuspiciousSessions, SUSPICIOUS_SESSIONS_TABLE } from '../../../revocation/suspicious/dynamodb.ts';
import { HOUR, type LoggedRequest, tsv, V1_FIELDS, watching } from '../../harness/access-logs.ts';
import { openDatabase } from '../../harness/database.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const settings = v.parse(DetectionSettingsSchema, { mode: 'enforce', lookbackHours: 1, maxAutoShare: 1 });
const VIEWERS = ['DE', 'FR', 'US', 'GB', 'ES', 'IT', 'PL', 'SE'];

/** A session that eight viewers watch, each in a country of its own, all at the same place. */
const shared = (session: string, told: { at?: number; from?: number } = {}): LoggedRequest[] =>
  VIEWERS.flatMap((country, i) =>
    watching(300, { session, country, ip: `198.51.${i}.7`, asn: `${64500 + i}`, ...told }),
  );
const ordinary = (session: string, at = 0) => watching(300, { session, at });

let database: LocalDynamoDb;
let engine: DetectionEngine;
beforeAll(async () => {
  database = await openDatabase([LOG_OBJECTS_TABLE, SUSPICIOUS_SESSIONS_TABLE, ...REVOCATION_TABLES]);
  engine = await openDuckDbEngine({ detection: settings, tokenPrefix: '/' }, { threads: 1, memoryLimit: '256MB' });
});
afterAll(async () => {
  await engine.close();
  await database.close();
});

let folder: string;
beforeEach(() => {
  folder = temporaryDirectory();
});
// What was revoked in the last hour counts into the cap.
afterEach(async () => {
  for (const { kind, id } of await list().active(now)) await list().remove(kind, id, 'test', now);
});
afterEach(() => removeDirectory(folder));

const list = () => dynamoDbRevocationList(database.client);
const now = HOUR + 3600;
const put = (name: string, requests: LoggedRequest[]) => writeFileSync(join(folder, name), gzipSync(tsv(requests)));

function run(changed: Partial<DetectionPorts> = {}, told: Partial<DetectionSettings> = {}) {
  const published: string[] = [];
  const ports: DetectionPorts = {
    logs: logFiles([folder]),
    ledger: dynamoDbLedger(database.client),
    engine,
    suspicious: dynamoDbSuspiciousSessions(database.client),
    list: list(),
    publish: async (ids) => published.push(...ids),
    latest: async () => undefined,
    revocationSeconds: 86_400,
    now: () => now,
    report: () => {},
    metric: () => {},
    ...changed,
  };
  return runDetection(ports, { ...settings, ...told }).then((result) => ({ ...result, published }));
}

describe('detection over log files, with DuckDB', () => {
  test('finds what is shared over hours and objects, each object once', async () => {
    put('E2EXAMPLE.2026-11-22-14.one.gz', [...shared('OverTheHour1', { at: 3000 }), ...ordinary('OrdinaryOne1')]);
    put('E2EXAMPLE.2026-11-22-14.two.gz', ordinary('OrdinaryTwo1', 60));
    const first = await run();
    expect(first).toMatchObject({ objects: 2, flagged: 1, revoked: 1, refused: [], published: ['OverTheHour1'] });
    expect(first.rows).toBe(3000);
    expect(await list().get('session', 'OverTheHour1', now)).toMatchObject({
      source: 'auto',
      reasons: expect.arrayContaining(['8 countries in the same minute (+20)']),
    });
    expect(await run()).toMatchObject({ objects: 0, rows: 0, revoked: 0 });
  });

  test('a late object makes a session what it is: half of its viewers were in another log', async () => {
    const requests = shared('LateLogSess1');
    const isHome = ({ country }: LoggedRequest) => country === 'DE';
    put('E2EXAMPLE.2026-11-22-14.on-time.gz', requests.filter(isHome));
    expect(await run()).toMatchObject({ objects: 1, sessionCount: 1, flagged: 0 });
    put(
      'E2EXAMPLE.2026-11-22-14.late.gz',
      requests.filter((request) => !isHome(request)),
    );
    // All lines of the window, those of the first object again, and none of them twice.
    expect(await run()).toMatchObject({ objects: 1, rows: 2400, sessionCount: 1, flagged: 1, revoked: 1 });
    const found = await dynamoDbSuspiciousSessions(database.client).get('LateLogSess1', now);
    expect(found?.features).toMatchObject({ requests: 2400, segments: 300, sharedSegments: 300, countries: 8 });
    expect(found?.timeline).toHaveLength(8);
    expect(found?.timeline.flatMap(({ minutes }) => minutes).reduce((sum, [, count]) => sum + count, 0)).toBe(2400);
  });

  test('a session that is shared across the end of an hour is found in the window that has both', async () => {
    put('E2EXAMPLE.2026-11-22-13.a.gz', shared('AcrossHours1', { at: -1200 }));
    put('E2EXAMPLE.2026-11-22-14.b.gz', shared('AcrossHours1', { at: 0, from: 300 }));
    expect(await run()).toMatchObject({ objects: 2, rows: 2400 + 4800, sessionCount: 1, revoked: 1 });
  });

  test('logs that do not say what the edge allowed revoke nothing unless that is wanted', async () => {
    const requests = [...shared('Unproven0001'), ...ordinary('OrdinaryUnp1')];
    put('E2EXAMPLE.2026-11-22-14.new.gz', ordinary('OrdinaryUnp2'));
    const write = (name: string) => writeFileSync(join(folder, name), gzipSync(tsv(requests, V1_FIELDS)));
    write('E2EXAMPLE.2026-11-22-14.old.gz');
    expect(await run()).toMatchObject({
      ...{ flagged: 1, auto: 1, revoked: 0, published: [] },
      alarm: { candidates: 1, allowed: 0, message: expect.stringContaining('viewer-request-log-data') },
    });
    expect(await list().get('session', 'Unproven0001', now)).toBeUndefined();
    const found = await dynamoDbSuspiciousSessions(database.client).get('Unproven0001', now);
    expect(found?.verdict).toBe('auto');

    write('E2EXAMPLE.2026-11-22-14.more.gz');
    const wanted = await run({}, { unprovenLogs: 'revoke' });
    expect(wanted).toMatchObject({ revoked: 1, published: ['Unproven0001'] });
    expect(wanted.alarm).toBeUndefined();
  });

  test('a log that is cut short is named, and read when it is whole', async () => {
    const whole = gzipSync(tsv(shared('CutLogSessi1')));
    const path = join(folder, 'E2EXAMPLE.2026-11-22-14.cut.gz');
    writeFileSync(path, whole.subarray(0, whole.length / 2));
    put('E2EXAMPLE.2026-11-22-14.whole.gz', ordinary('OrdinaryCut1'));
    const cut = await run();
    expect(cut).toMatchObject({
      objects: 2,
      rows: 300,
      flagged: 0,
      refused: [{ name: path, why: expect.any(String) }],
    });
    expect(await run()).toMatchObject({ objects: 0, refused: [] });
    writeFileSync(path, whole);
    expect(await run()).toMatchObject({ objects: 1, rows: 2700, revoked: 1, refused: [] });
    expect(await run()).toMatchObject({ objects: 0 });
  });

  test('a log that grows is read again, and the line that is being written is let be', async () => {
    const path = join(folder, 'access.2026-11-22-14.log');
    const [header, lines] = [tsv([]), tsv(shared('GrowingLog01')).slice(tsv([]).length)];
    const half = lines.length / 2;
    writeFileSync(path, `${header}${lines.slice(0, half)}`);
    const first = await run();
    expect([first.objects, first.refused]).toEqual([1, []]);
    appendFileSync(path, lines.slice(half));
    expect(await run()).toMatchObject({ objects: 1, rows: 2400, refused: [] });
    expect(readFileSync(path, 'utf8')).toBe(`${header}${lines}`);
    expect(await list().get('session', 'GrowingLog01', now)).toBeDefined();
  });

  test.each(['evaluate', 'record', 'revoke', 'publish', 'commit'])('dies after %s, and is done again', async (step) => {
    const session = `DiesAfter${step}`.padEnd(16, 'x');
    put('E2EXAMPLE.2026-11-22-14.dies.gz', [...shared(session), ...ordinary('OrdinaryDie1')]);
    const died = () => Promise.reject(new Error('died'));
    const suspicious = dynamoDbSuspiciousSessions(database.client);
    const ledger = dynamoDbLedger(database.client);
    const changed: Record<string, Partial<DetectionPorts>> = {
      evaluate: { engine: { features: (...request) => engine.features(...request), timelines: died, close: died } },
      record: { suspicious: { ...suspicious, record: (found) => suspicious.record(found).then(died) } },
      revoke: { list: { ...list(), add: (entry) => list().add(entry).then(died) } },
      publish: { publish: died },
      commit: { ledger: { ...ledger, commit: (objects, at) => ledger.commit(objects, at).then(died) } },
    };
    await expect(run(changed[step])).rejects.toThrow('died');
    const again = await run();
    expect(again.objects).toBe(step === 'commit' ? 0 : 1);
    expect((await list().history('session', session)).map(({ action }) => action)).toEqual(['revoked']);
    expect(await suspicious.get(session, now)).toMatchObject({ verdict: 'auto' });
    if (step !== 'commit') expect(again.published).toEqual([session]);
    expect(await run()).toMatchObject({ objects: 0 });
  });

  test('logs that are gone while they are read fail the run, and nothing is committed', async () => {
    const path = join(folder, 'E2EXAMPLE.2026-11-22-14.gone.gz');
    put('E2EXAMPLE.2026-11-22-14.gone.gz', shared('GoneLogSess1'));
    const logs = logFiles([folder]);
    const gone: DetectionPorts['logs'] = {
      async list(from) {
        const objects = await logs.list(from);
        rmSync(path);
        return objects;
      },
    };
    await expect(run({ logs: gone })).rejects.toThrow(expect.objectContaining({ code: 'ERR_DETECTION_LOGS' }));
    put('E2EXAMPLE.2026-11-22-14.gone.gz', shared('GoneLogSess1'));
    expect(await run()).toMatchObject({ objects: 1, revoked: 1 });
  });
});
