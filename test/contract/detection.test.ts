import { GetCommand } from '@aws-sdk/lib-dynamodb';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LocalDynamoDb } from '../../local/dynamodb.ts';
import type { DetectionRun } from '../../revocation/detect/detection-runs.ts';
import {
  DETECTIONS_TABLE,
  dynamoDbDetectionRuns,
  dynamoDbLedger,
  LOG_OBJECTS_TABLE,
} from '../../revocation/detect/dynamodb.ts';
import type { LogObject } from '../../revocation/detect/log-objects.ts';
import { dynamoDbSuspiciousSessions, SUSPICIOUS_SESSIONS_TABLE } from '../../revocation/suspicious/dynamodb.ts';
import type { SuspiciousSession } from '../../revocation/suspicious/suspicious-sessions.ts';
import { openDatabase } from '../harness/database.ts';
import { sessionFeatures } from '../harness/detection.ts';
import { NOW } from '../harness/minting.ts';

let database: LocalDynamoDb;
beforeAll(async () => {
  database = await openDatabase([LOG_OBJECTS_TABLE, DETECTIONS_TABLE, SUSPICIOUS_SESSIONS_TABLE]);
});
afterAll(() => database.close());

describe('Ledger', () => {
  const object = (name: string, version = '1'): LogObject => ({ name, version, bytes: 10, hour: NOW });

  test('knows the objects that were committed, in the version that was', async () => {
    const ledger = dynamoDbLedger(database.client);
    const [a, b] = [object('a.gz'), { ...object('b.log'), hour: undefined }];
    expect(await ledger.unseen([a, b])).toEqual([a, b]);
    await ledger.commit([a], NOW);
    expect(await ledger.unseen([a, b])).toEqual([b]);
    expect(await ledger.unseen([object('a.gz', '2')])).toEqual([object('a.gz', '2')]);
    await ledger.commit([object('a.gz', '2'), b], NOW);
    expect(await ledger.unseen([object('a.gz', '2'), b])).toEqual([]);
    expect(await ledger.unseen([])).toEqual([]);
    await ledger.commit([], NOW);
  });

  test('knows what was refused, until it is another version', async () => {
    const ledger = dynamoDbLedger(database.client);
    const broken = object('broken.gz');
    await ledger.commit([{ ...broken, refused: 'it is cut off' }], NOW);
    expect(await ledger.unseen([broken])).toEqual([]);
    expect(await ledger.unseen([object('broken.gz', '2')])).toEqual([object('broken.gz', '2')]);
    const { Item } = await database.client.send(
      new GetCommand({ TableName: LOG_OBJECTS_TABLE.TableName, Key: { objectName: 'broken.gz' } }),
    );
    expect(Item).toMatchObject({ refused: 'it is cut off' });
  });

  test('takes more objects than a batch holds, and one that is named twice', async () => {
    const ledger = dynamoDbLedger(database.client);
    const many = Array.from({ length: 230 }, (_, i) => object(`many-${i}.gz`));
    await ledger.commit([...many.slice(1), ...many.slice(100, 110)], NOW);
    expect(await ledger.unseen([...many, ...many.slice(0, 5)])).toEqual([many[0], many[0]]);
  });
});

describe('DetectionRuns', () => {
  const ran = (ranAt: number): DetectionRun => ({
    ranAt,
    checkedAt: ranAt,
    mode: 'log',
    objects: 1,
    rows: 2,
    sessionCount: 1,
    flagged: 0,
    auto: 0,
    reviewScore: 30,
    autoScore: 60,
    revoked: 0,
    odd: 0,
    refused: [{ name: 'a.gz', why: 'it is empty' }],
  });

  test('are one at a time, and whoever dies blocks the others no longer than its time', async () => {
    const runs = dynamoDbDetectionRuns(database.client);
    expect(await runs.latest()).toBeUndefined();
    const begun = await Promise.all(['a', 'b', 'c'].map((run) => runs.begin(run, NOW, NOW + 60)));
    expect(begun.filter(Boolean)).toHaveLength(1);
    const holder = ['a', 'b', 'c'][begun.indexOf(true)] ?? '';
    await runs.finish('other');
    expect(await runs.begin('d', NOW + 59, NOW + 100)).toBe(false);
    expect(await runs.begin('d', NOW + 60, NOW + 100)).toBe(true);
    // Whoever repeats the beginning of its run has it still.
    expect(await runs.begin('d', NOW + 61, NOW + 100)).toBe(true);
    // Late to the end: what it did counts, and the one who runs now goes on.
    await runs.finish(holder, ran(NOW));
    expect(await runs.latest()).toEqual(ran(NOW));
    expect(await runs.begin('e', NOW + 70, NOW + 100)).toBe(false);
    await runs.finish('d', ran(NOW + 60));
    expect(await runs.begin('e', NOW + 70, NOW + 100)).toBe(true);
    await runs.finish('e');
    expect(await runs.latest()).toEqual(ran(NOW + 60));
  });

  test('keep what was found when there is nothing new, and say when that was', async () => {
    const { client, close } = await openDatabase([DETECTIONS_TABLE]);
    const runs = dynamoDbDetectionRuns(client);
    const idle = (ranAt: number) => ({ ...ran(ranAt), objects: 0 });
    const alarm = { candidates: 9, allowed: 4, message: '9 of 412 sessions were to be revoked', digest: 'one' };
    await runs.finish('a', idle(NOW));
    expect(await runs.latest()).toEqual(idle(NOW));
    await runs.finish('a', { ...ran(NOW + 60), alarm });
    for (const later of [NOW + 120, NOW + 180, NOW + 150]) await runs.finish('a', idle(later));
    expect(await runs.latest()).toEqual({ ...ran(NOW + 60), alarm, checkedAt: NOW + 180 });
    await runs.finish('a', ran(NOW + 240));
    expect(await runs.latest()).toEqual(ran(NOW + 240));
    await close();
  });

  test('say whether there is one', async () => {
    const runs = dynamoDbDetectionRuns(database.client);
    expect(await runs.isRunning(NOW)).toBe(false);
    await runs.begin('f', NOW, NOW + 60);
    expect([await runs.isRunning(NOW + 59), await runs.isRunning(NOW + 60)]).toEqual([true, false]);
    await runs.finish('f');
    expect(await runs.isRunning(NOW)).toBe(false);
  });

  test('keep the latest result, whichever is written last', async () => {
    const runs = dynamoDbDetectionRuns(database.client);
    await runs.finish('x', ran(NOW + 500));
    await runs.finish('y', ran(NOW + 400));
    expect(await runs.latest()).toEqual(ran(NOW + 500));
  });
});

describe('SuspiciousSessions', () => {
  const found = (sessionId: string, score: number, more: Partial<SuspiciousSession> = {}): SuspiciousSession => ({
    sessionId,
    score,
    verdict: 'review',
    reasons: ['3 viewers fetched in the same minute'],
    features: sessionFeatures({ sessionId }),
    timeline: [{ label: '203.0.113.0/24, AS64500, DE', minutes: [[NOW, 3]] }],
    detectedAt: NOW,
    expiresAt: NOW + 1000,
    ...more,
  });
  const id = (i: number) => `Suspicious${String(i).padStart(3, '0')}`;

  test('come in pages, the highest score first, each once', async () => {
    const suspicious = dynamoDbSuspiciousSessions(database.client);
    const sessions = Array.from({ length: 9 }, (_, i) => found(id(i), [40, 62.5, 99.9][i % 3] ?? 0));
    await suspicious.record(sessions);
    for (const limit of [1, 2, 4, 9, 100]) {
      const all: SuspiciousSession[] = [];
      let cursor: string | undefined;
      do {
        const page = await suspicious.page(NOW, { limit, cursor });
        expect(page.sessions.length).toBeLessThanOrEqual(limit);
        all.push(...page.sessions);
        cursor = page.next;
      } while (cursor !== undefined);
      expect(all.map(({ score }) => score)).toEqual([99.9, 99.9, 99.9, 62.5, 62.5, 62.5, 40, 40, 40]);
      expect(all.toSorted((a, b) => a.sessionId.localeCompare(b.sessionId))).toEqual(sessions);
    }
    expect(await suspicious.page(NOW + 1000, { limit: 100 })).toEqual({ sessions: [], next: undefined });
  });

  test('the latest finding holds, in the list too; one that has expired is gone', async () => {
    const suspicious = dynamoDbSuspiciousSessions(database.client);
    const later = found(id(0), 12.5, { detectedAt: NOW + 60, verdict: 'auto' });
    await suspicious.record([later]);
    await suspicious.record([found(id(0), 90)]);
    expect(await suspicious.get(id(0), NOW)).toEqual(later);
    const { sessions } = await suspicious.page(NOW, { limit: 100 });
    expect(sessions.filter(({ sessionId }) => sessionId === id(0))).toEqual([later]);
    expect(await suspicious.get(id(0), NOW + 1000)).toBeUndefined();
    expect(await suspicious.get('NeverFound01', NOW)).toBeUndefined();
  });

  test('a finding that is larger than an item keeps the latest of its timeline', async () => {
    const suspicious = dynamoDbSuspiciousSessions(database.client);
    const minutes = Array.from({ length: 3000 }, (_, i): [number, number] => [NOW + i * 60, 1000]);
    const timeline = Array.from({ length: 8 }, (_, i) => ({ label: `viewer ${i}`, minutes }));
    await suspicious.record([found(id(50), 50, { timeline })]);
    const kept = await suspicious.get(id(50), NOW);
    expect(kept?.timeline).toHaveLength(8);
    for (const { minutes: some } of kept?.timeline ?? []) {
      expect(some.length).toBeGreaterThan(500);
      expect(some.at(-1)).toEqual(minutes.at(-1));
    }
  });

  test('numbers that DynamoDB knows nothing of are kept', async () => {
    const suspicious = dynamoDbSuspiciousSessions(database.client);
    const features = sessionFeatures({ sessionId: id(60), rateOverMedian: 5e-324, mediaSpeed: Number.MAX_VALUE });
    await suspicious.record([found(id(60), 50, { features })]);
    expect((await suspicious.get(id(60), NOW))?.features).toEqual(features);
  });

  test('a cursor of another list, or none, is refused', async () => {
    const suspicious = dynamoDbSuspiciousSessions(database.client);
    const encode = (content: unknown) => Buffer.from(JSON.stringify(content)).toString('base64url');
    const place = (score: unknown, sessionId: unknown) => encode(['suspicious', [score, sessionId]]);
    const wrong = ['', 'x', encode(null), encode([]), encode(['sessions', [50, id(0)]]), encode(['suspicious', []])];
    const places = [place('50', id(0)), place(-1, id(0)), place(101, id(0)), place(1e-200, id(0)), place(50, 'short')];
    for (const cursor of [...wrong, ...places, place(50, ''), place(50, null)]) {
      await expect(suspicious.page(NOW, { limit: 1, cursor })).rejects.toThrow(
        expect.objectContaining({ code: 'ERR_CURSOR_INVALID' }),
      );
    }
    // One whose session is gone or has another score by now leads on from its place.
    expect((await suspicious.page(NOW, { limit: 100, cursor: place(30, 'NeverFound01') })).sessions).toHaveLength(1);
  });
});
