import * as v from 'valibot';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LocalDynamoDb } from '../../../local/dynamodb.ts';
import { createDetection } from '../../../revocation/detect/detection.ts';
import { type DetectionEngine, DetectionError } from '../../../revocation/detect/detection-engine.ts';
import type { DetectionRun } from '../../../revocation/detect/detection-runs.ts';
import {
  DETECTIONS_TABLE,
  dynamoDbDetectionRuns,
  dynamoDbLedger,
  LOG_OBJECTS_TABLE,
} from '../../../revocation/detect/dynamodb.ts';
import { evaluate } from '../../../revocation/detect/evaluate.ts';
import type { SessionFeatures } from '../../../revocation/detect/features.ts';
import { guard, rehearse } from '../../../revocation/detect/guard.ts';
import type { LogObject } from '../../../revocation/detect/log-objects.ts';
import { planRun } from '../../../revocation/detect/plan.ts';
import {
  commit,
  type DetectionPorts,
  measureLag,
  record,
  revoke,
  runDetection,
  summarize,
  tell,
} from '../../../revocation/detect/run-detection.ts';
import { DetectionSettingsSchema } from '../../../revocation/detect/settings.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES } from '../../../revocation/list/dynamodb.ts';
import type { RevocationEntry, RevocationList } from '../../../revocation/list/revocation-list.ts';
import { dynamoDbSuspiciousSessions, SUSPICIOUS_SESSIONS_TABLE } from '../../../revocation/suspicious/dynamodb.ts';
import { openDatabase } from '../../harness/database.ts';
import { engineOfLines, type Line, PassingError, sessionFeatures, sharedSession } from '../../harness/detection.ts';
import { NOW } from '../../harness/minting.ts';

let database: LocalDynamoDb;
beforeAll(async () => {
  const tables = [LOG_OBJECTS_TABLE, DETECTIONS_TABLE, SUSPICIOUS_SESSIONS_TABLE, ...REVOCATION_TABLES];
  database = await openDatabase(tables);
});
afterAll(() => database.close());

const HOUR = Math.floor(NOW / 3600) * 3600;
const settings = (told: object = {}) =>
  v.parse(DetectionSettingsSchema, {
    mode: 'enforce',
    lookbackHours: 1,
    reviewScore: 1,
    autoScore: 90,
    maxAutoShare: 1,
    ...told,
  });

/** Logs that are there, and everything that a run touches: real tables, and an engine that answers from the lines. */
class World {
  static #count = 0;
  /** Of this world alone, as the tables are shared. */
  readonly id = `W${String(++World.#count).padStart(3, '0')}`;
  readonly objects = new Map<string, LogObject & { lines: Line[] | Error }>();
  readonly published: string[] = [];
  readonly lines: string[] = [];
  readonly metrics: [string, number][] = [];
  now = HOUR + 1800;
  latest: DetectionRun | undefined;
  readonly list = this.#listOfThisWorld();
  readonly suspicious = dynamoDbSuspiciousSessions(database.client);
  readonly engine = engineOfLines(({ name }) => this.objects.get(name)?.lines ?? []);
  readonly ports: DetectionPorts = {
    logs: {
      list: async (from) =>
        [...this.objects.values()]
          .filter(({ hour }) => hour === undefined || hour >= from)
          .map(({ lines: _, ...object }) => object),
    },
    ledger: dynamoDbLedger(database.client),
    engine: this.engine,
    suspicious: this.suspicious,
    list: this.list,
    publish: async (ids) => this.published.push(...ids),
    latest: async () => this.latest,
    revocationSeconds: 86_400,
    now: () => this.now,
    report: (line) => this.lines.push(line),
    metric: (name, value) => this.metrics.push([name, value]),
  };

  #listOfThisWorld(): RevocationList {
    const list = dynamoDbRevocationList(database.client);
    const isOurs = ({ id }: RevocationEntry) => id.startsWith(this.id);
    return { ...list, active: async (now) => (await list.active(now)).filter(isOurs) };
  }

  session(name: string): string {
    return `${this.id}${name}`.padEnd(12, 'x');
  }

  /** Puts an object, or replaces it by one with other lines. */
  put(name: string, hour: number | undefined, lines: Line[] | Error): void {
    const version = `${lines instanceof Error ? lines.message : lines.length}-${this.objects.get(name)?.version ?? ''}`;
    this.objects.set(`${this.id}/${name}`, { name: `${this.id}/${name}`, version, bytes: 100, hour, lines });
  }

  shared(name: string, at = HOUR, told: Partial<SessionFeatures> = {}): Line {
    const sessionId = this.session(name);
    return { at, sessionId, features: sharedSession({ sessionId, ...told }) };
  }

  async run(told: object = {}, changed: Partial<DetectionPorts> = {}) {
    this.latest = await runDetection({ ...this.ports, ...changed }, settings(told));
    return this.latest;
  }

  entry(name: string) {
    return this.list.get('session', this.session(name), this.now);
  }

  /** What happened to a session, the earliest first: `revoked by detection`. */
  async history(name: string): Promise<string[]> {
    const events = await this.list.history('session', this.session(name));
    return events.map(({ action, by }) => `${action} by ${by}`).reverse();
  }
}

const harmless = (world: World, name: string, at = HOUR): Line => ({ at, sessionId: world.session(name) });

describe('a run', () => {
  test('tells what all of its questions cost, also that for timelines', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('Dear')]);
    const cost = { bytesScanned: 1000, usd: 0.25 };
    const { features, timelines } = world.engine;
    const engine: DetectionEngine = {
      ...world.engine,
      features: async (...asked) => ({ ...(await features(...asked)), cost }),
      timelines: (request, ids, onCost) => {
        onCost?.(cost);
        return timelines(request, ids);
      },
    };
    expect((await world.run({}, { engine })).cost).toEqual({ bytesScanned: 2000, usd: 0.5 });
  });

  test('leaves to people what is measured by segments that seem to last otherwise than is set', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('Long', HOUR, { segmentSeconds: 8 })]);
    expect(await world.run()).toMatchObject({ flagged: 1, auto: 0, revoked: 0 });
    expect(await world.suspicious.get(world.session('Long'), world.now)).toMatchObject({
      verdict: 'review',
      score: 100,
      reasons: expect.arrayContaining([expect.stringMatching(/seem to last 8 s, and segmentSeconds is 4$/)]),
    });
  });

  test('records what is suspicious, revokes what is beyond doubt, and has it published', async () => {
    const world = new World();
    const doubtful = world.session('Doubt');
    const features = sessionFeatures({ sessionId: doubtful, concurrentCountries: 3 });
    world.put('a', HOUR, [world.shared('Leak'), harmless(world, 'Good'), { at: HOUR, sessionId: doubtful, features }]);
    expect(await world.run()).toEqual({
      ranAt: world.now,
      checkedAt: world.now,
      mode: 'enforce',
      objects: 1,
      rows: 3,
      sessionCount: 3,
      flagged: 2,
      auto: 1,
      reviewScore: 1,
      autoScore: 90,
      revoked: 1,
      odd: 0,
      refused: [],
    });
    expect(await world.entry('Leak')).toEqual({
      kind: 'session',
      id: world.session('Leak'),
      source: 'auto',
      reasons: expect.arrayContaining(['5 countries in the same minute (+20)']),
      score: 100,
      by: 'detection',
      revokedAt: world.now,
      expiresAt: world.now + 86_400,
    });
    expect(world.published).toEqual([world.session('Leak')]);
    expect(await world.suspicious.get(world.session('Leak'), world.now)).toMatchObject({
      score: 100,
      verdict: 'auto',
      timeline: [{ label: 'AS64500, DE', minutes: [[HOUR - 3600, 3]] }],
      detectedAt: world.now,
      expiresAt: world.now + 7 * 86_400,
    });
    expect(await world.suspicious.get(doubtful, world.now)).toMatchObject({ verdict: 'review' });
    expect([await world.entry('Doubt'), await world.entry('Good')]).toEqual([undefined, undefined]);
    expect(await world.suspicious.get(world.session('Good'), world.now)).toBeUndefined();
    expect(world.metrics).toEqual([
      ['DetectionLag', 0],
      ['SuspiciousSessions', 2],
      ['AutoRevocations', 1],
      ['DetectionCapHit', 0],
    ]);
  });

  test('that takes long: a revocation lives as long as a token that was renewed meanwhile', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('Slow')]);
    const features: DetectionPorts['engine']['features'] = async (...request) => {
      world.now += 1500;
      return world.engine.features(...request);
    };
    await world.run({}, { engine: { ...world.engine, features } });
    expect(await world.entry('Slow')).toMatchObject({ revokedAt: world.now, expiresAt: world.now + 86_400 });
  });

  test('with nothing new does nothing', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('Leak')]);
    await world.run();
    const again = await world.run();
    expect(again).toMatchObject({ objects: 0, rows: 0, sessionCount: 0, flagged: 0, revoked: 0 });
    expect([world.engine.windows.length, world.published.length]).toEqual([1, 1]);
    expect(await new World().run()).toMatchObject({ objects: 0 });
  });

  test('in mode log records and revokes nothing; in mode off there is none', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('Leak')]);
    expect(await world.run({ mode: 'log' })).toMatchObject({ mode: 'log', flagged: 1, auto: 1, revoked: 0 });
    expect(await world.suspicious.get(world.session('Leak'), world.now)).toMatchObject({ verdict: 'auto' });
    expect([await world.entry('Leak'), world.published]).toEqual([undefined, []]);
    await expect(world.run({ mode: 'off' })).rejects.toThrow(expect.objectContaining({ code: 'ERR_DETECTION_OFF' }));
  });

  test('revokes nothing that the allow-list names, by session or by title', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('One'), world.shared('Two', HOUR, { title: 'trailer' }), world.shared('Three')]);
    const allow = { sessions: [world.session('One')], titles: ['trailer'] };
    expect(await world.run({ allow })).toMatchObject({ flagged: 3, auto: 3, revoked: 1 });
    expect(world.published).toEqual([world.session('Three')]);
  });

  test('says how far behind it is', async () => {
    const world = new World();
    world.put('a', HOUR - 4 * 3600, [harmless(world, 'A', HOUR - 4 * 3600)]);
    await world.run();
    expect(world.metrics[0]).toEqual(['DetectionLag', 3 * 3600 + 1800]);
  });
});

describe('the cap', () => {
  const LEAKS = ['A', 'B', 'C', 'D', 'E', 'F'];
  const crowd = (world: World, count: number) => Array.from({ length: count }, (_, i) => harmless(world, `G${i}`));

  test('above it nothing is revoked, an alarm says so, and everything is recorded', async () => {
    const world = new World();
    world.put('a', HOUR, [...crowd(world, 192), ...LEAKS.map((name) => world.shared(name))]);
    const run = await world.run({ maxAutoShare: 0.01 });
    expect(run).toMatchObject({ sessionCount: 198, flagged: 6, auto: 6, revoked: 0 });
    const message = expect.stringMatching(/6 of 198 .* none was/);
    expect(run.alarm).toEqual({ candidates: 6, allowed: 5, message, digest: expect.any(String) });
    expect([world.published, await world.entry('A')]).toEqual([[], undefined]);
    expect(world.lines).toEqual([expect.stringMatching(/^detection: 6 of 198 sessions/)]);
    expect(world.metrics).toContainEqual(['DetectionCapHit', 1]);
    expect(await world.suspicious.get(world.session('C'), world.now)).toBeDefined();
    // Settled by a person: the next new line in the window has them revoked.
    world.put('b', HOUR, [harmless(world, 'Late')]);
    expect(await world.run({ maxAutoShare: 0.04 })).toMatchObject({ revoked: 6 });
  });

  test('is told of once, and again about other sessions or for another reason; the metric counts every run', async () => {
    const world = new World();
    const maxAutoShare = 0.01;
    world.put('a', HOUR, [...crowd(world, 192), ...LEAKS.map((name) => world.shared(name))]);
    await world.run({ maxAutoShare });
    // More sessions, the same leaks.
    world.put('b', HOUR, [harmless(world, 'Late')]);
    await world.run({ maxAutoShare });
    expect(world.lines).toHaveLength(1);
    world.put('c', HOUR, [world.shared('Other')]);
    await world.run({ maxAutoShare });
    expect(world.lines.map((line) => line.slice(0, 16))).toEqual(['detection: 6 of ', 'detection: 7 of ']);
    const features: DetectionPorts['engine']['features'] = async (...asked) => ({
      ...(await world.engine.features(...asked)),
      proven: false,
    });
    world.put('d', HOUR, [harmless(world, 'Later')]);
    await world.run({ maxAutoShare }, { engine: { ...world.engine, features } });
    expect(world.lines).toHaveLength(3);
    expect(world.lines[2]).toMatch(/the logs do not say which requests the edge allowed/);
    expect(world.metrics.filter(([name, value]) => name === 'DetectionCapHit' && value === 1)).toHaveLength(4);
  });

  test.each([
    [0, 1, 0],
    [0.001, 5, 5],
    [0.001, 6, 0],
    [0.07, 7, 7],
    [0.07, 8, 0],
    [1, 50, 50],
  ])('a share of %d lets %i of 100 sessions be revoked: %i are', async (maxAutoShare, leaks, revoked) => {
    const world = new World();
    const lines = Array.from({ length: leaks }, (_, i) => world.shared(`L${i}`));
    world.put('a', HOUR, [...crowd(world, 100 - leaks), ...lines]);
    expect(await world.run({ maxAutoShare })).toMatchObject({ revoked });
  });

  test('is about what would be new: neither about what is revoked already, nor about what a person took back', async () => {
    const world = new World();
    const maxAutoShare = 0.01;
    // One more than may be, counted together.
    for (const [i, name] of LEAKS.entries()) {
      world.put(`a${i}`, HOUR, [world.shared(name)]);
      expect(await world.run({ maxAutoShare })).toMatchObject({ auto: i + 1, revoked: 1 });
      if (name === 'B') await world.list.remove('session', world.session(name), 'operator-1', world.now);
      world.now += 3600;
    }
    expect(await world.history('B')).toEqual(['revoked by detection', 'restored by operator-1']);
  });

  test('holds for an hour, however many runs it has; what people revoke does not count', async () => {
    const world = new World();
    const maxAutoShare = 0.05;
    const manual = {
      kind: 'session',
      id: world.session('Manual'),
      source: 'manual',
      by: 'operator-1',
    } as const;
    await world.list.add({ ...manual, reasons: ['told'], revokedAt: world.now, expiresAt: world.now + 86_400 });
    world.put('crowd', HOUR, crowd(world, 100));
    const revoked: number[] = [];
    for (const name of LEAKS) {
      world.put(name, HOUR, [world.shared(name)]);
      const run = await world.run({ maxAutoShare });
      revoked.push(run.revoked);
      if (name === 'F') expect(run.alarm).toMatchObject({ candidates: 1, allowed: 0 });
      world.now += 60;
    }
    expect(revoked).toEqual([1, 1, 1, 1, 1, 0]);
    world.now += 3600;
    world.put('G', HOUR, [harmless(world, 'Later')]);
    expect(await world.run({ maxAutoShare })).toMatchObject({ revoked: 1 });
  });
});

describe('a rehearsal, for a dry run', () => {
  const evaluated = (world: World) => {
    const windows = [{ from: HOUR, to: HOUR + 3600, objects: [...world.objects.values()] }];
    return evaluate(world.engine, settings(), { windows, everySession: false, plotAtMost: 0 });
  };

  test('decides as mode enforce does, whatever the mode is: allow-list, cap, logs that prove nothing', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('One'), world.shared('Two', HOUR, { title: 'trailer' })]);
    const evaluation = await evaluated(world);
    const told = settings({ mode: 'log', allow: { titles: ['trailer'] } });
    expect(await rehearse(evaluation, told)).toMatchObject({ revoke: [{ sessionId: world.session('One') }] });
    expect(await rehearse(evaluation, { ...told, maxAutoShare: 0 })).toMatchObject({
      revoke: [],
      alarm: { candidates: 1, allowed: 0 },
    });
    const unproven = { ...evaluation, proven: false };
    expect(await rehearse(unproven, told)).toMatchObject({ revoke: [], alarm: { candidates: 1 } });
    expect((await rehearse(unproven, { ...told, unprovenLogs: 'revoke' })).revoke).toHaveLength(1);
    expect([await world.entry('One'), world.published]).toEqual([undefined, []]);
  });
});

describe('what a person decided stays', () => {
  test('restored by hand is not revoked again, however often it is found', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('Leak')]);
    await world.run();
    world.now += 60;
    await world.list.remove('session', world.session('Leak'), 'operator-1', world.now);
    for (const name of ['b', 'c']) {
      world.now += 60;
      world.put(name, HOUR, [world.shared('Leak')]);
      expect(await world.run()).toMatchObject({ auto: 1, revoked: 0 });
    }
    expect(await world.entry('Leak')).toBeUndefined();
    expect(await world.history('Leak')).toEqual(['revoked by detection', 'restored by operator-1']);
    expect(world.published).toEqual([world.session('Leak')]);
  });

  test('revoked by hand stays so', async () => {
    const world = new World();
    const id = world.session('Leak');
    const manual = { kind: 'session', id, source: 'manual', by: 'operator-1' } as const;
    await world.list.add({ ...manual, reasons: ['told'], revokedAt: world.now, expiresAt: world.now + 86_400 });
    world.put('a', HOUR, [world.shared('Leak')]);
    expect(await world.run()).toMatchObject({ auto: 1, revoked: 0 });
    expect(await world.entry('Leak')).toMatchObject({ source: 'manual', by: 'operator-1' });
    expect(world.published).toEqual([id]);
  });
});

describe('the ledger', () => {
  const names = (world: World) => world.engine.windows.map((window) => window.map((name) => name.split('/')[1]));

  test('a late object has its window evaluated again, and every window that it belongs to, from all of their objects', async () => {
    const world = new World();
    for (const i of [3, 2, 1, 0]) world.put(`h${i}`, HOUR - i * 3600, [harmless(world, `S${i}`, HOUR - i * 3600)]);
    expect(await world.run()).toMatchObject({ objects: 4, sessionCount: 2 });
    expect(names(world)).toEqual([['h3'], ['h3', 'h2'], ['h2', 'h1'], ['h1', 'h0']]);
    world.engine.windows.length = 0;
    world.put('late', HOUR - 2 * 3600, [world.shared('Leak', HOUR - 2 * 3600)]);
    expect(await world.run()).toMatchObject({ objects: 1, rows: 6, sessionCount: 3, revoked: 1 });
    expect(names(world)).toEqual([
      ['h3', 'h2', 'late'],
      ['h2', 'late', 'h1'],
    ]);
    world.engine.windows.length = 0;
    expect(await world.run()).toMatchObject({ objects: 0 });
    expect(names(world)).toEqual([]);
  });

  test('an object that has grown is new', async () => {
    const world = new World();
    world.put('a', HOUR, [harmless(world, 'A')]);
    await world.run();
    world.put('a', HOUR, [harmless(world, 'A'), world.shared('Leak')]);
    expect(await world.run()).toMatchObject({ objects: 1, rows: 2, revoked: 1 });
  });

  test('without look-back a window is an hour; one whose name says no hour is a window of its own', async () => {
    const world = new World();
    world.put('h1', HOUR - 3600, [harmless(world, 'A', HOUR - 3600)]);
    world.put('h0', HOUR, [harmless(world, 'A')]);
    world.put('whole', undefined, [harmless(world, 'A', 5), harmless(world, 'B', HOUR + 9999)]);
    expect(await world.run({ lookbackHours: 0 })).toMatchObject({ objects: 3, rows: 4, sessionCount: 2 });
    expect(names(world)).toEqual([['h1'], ['h0'], ['whole']]);
    expect(await world.run({ lookbackHours: 0 })).toMatchObject({ objects: 0 });
  });

  test('lets be what is about tokens that nobody can use any more', async () => {
    const world = new World();
    const old = HOUR - 48 * 3600;
    world.put('old', old - 3600, [world.shared('Old', old - 3600)]);
    world.put('edge', old, [world.shared('Edge', old)]);
    world.now = HOUR;
    expect(await world.run()).toMatchObject({ objects: 1 });
    // It is older than what counts, but belongs to the window of what does.
    expect(names(world)).toEqual([['old', 'edge']]);
  });

  test('a session of several windows is found once, with its highest score', async () => {
    const world = new World();
    const sessionId = world.session('Leak');
    world.put('h1', HOUR - 3600, [world.shared('Leak', HOUR - 3600)]);
    world.put('h0', HOUR, [{ at: HOUR, sessionId, features: sessionFeatures({ sessionId, concurrentCountries: 3 }) }]);
    expect(await world.run()).toMatchObject({ flagged: 1, auto: 1, revoked: 1 });
    expect(await world.suspicious.get(sessionId, world.now)).toMatchObject({ score: 100 });
  });

  test('what cannot be read is named, keeps nothing else from being read, and is read when it has changed', async () => {
    const world = new World();
    const broken = new Error('it ends in the middle of a line; fetch it again');
    world.put('h2', HOUR - 2 * 3600, broken);
    world.put('broken', HOUR, broken);
    world.put('h0', HOUR, [world.shared('Leak')]);
    const named = (name: string) => ({ name: `${world.id}/${name}`, why: broken.message });
    expect(await world.run()).toMatchObject({
      objects: 3,
      rows: 1,
      revoked: 1,
      refused: [named('h2'), named('broken')],
    });
    // Settled: the same version is no reason to do it all again, nor does detection lag because of it.
    world.engine.windows.length = 0;
    world.metrics.length = 0;
    expect(await world.run()).toMatchObject({ objects: 0, refused: [] });
    expect([names(world), world.metrics[0]]).toEqual([[], ['DetectionLag', 0]]);
    // As long as its window is looked at, it is named.
    world.put('more', HOUR, [harmless(world, 'Good')]);
    expect(await world.run()).toMatchObject({ objects: 1, rows: 2, refused: [named('broken')] });
    world.put('broken', HOUR, [world.shared('Second')]);
    expect(await world.run()).toMatchObject({ objects: 1, rows: 3, revoked: 1, refused: [] });
    world.put('h2', HOUR - 2 * 3600, []);
    expect(await world.run()).toMatchObject({ objects: 1, refused: [] });
    expect(await world.run()).toMatchObject({ objects: 0 });
  });

  test('what may be read the next time is tried again although it has not changed', async () => {
    const world = new World();
    world.put('away', HOUR, new PassingError('it cannot be opened (EIO)'));
    world.put('h0', HOUR, [harmless(world, 'Good')]);
    const refused = [{ name: `${world.id}/away`, why: 'it cannot be opened (EIO)' }];
    for (const objects of [2, 1, 1]) expect(await world.run()).toMatchObject({ objects, refused });
    const away = world.objects.get(`${world.id}/away`);
    if (away) away.lines = [world.shared('Leak')];
    expect(await world.run()).toMatchObject({ objects: 1, revoked: 1, refused: [] });
    expect(await world.run()).toMatchObject({ objects: 0 });
  });

  test('each window is loaded once, its timelines included', async () => {
    const world = new World();
    for (const i of [2, 1, 0]) {
      world.put(`h${i}`, HOUR - i * 3600, [world.shared(`L${i}`, HOUR - i * 3600)]);
    }
    expect(await world.run({ mode: 'log' })).toMatchObject({ flagged: 3 });
    expect([world.engine.windows.length, world.engine.loads]).toEqual([3, 3]);
    // Of a session in two windows that look alike, the later one is shown.
    const { timeline } = (await world.suspicious.get(world.session('L2'), world.now)) ?? {};
    expect(timeline).toEqual([{ label: 'AS64500, DE', minutes: [[HOUR - 2 * 3600, 3]] }]);
  });

  test('when nothing at all can be read the run fails and says why', async () => {
    const world = new World();
    world.put('h0', HOUR, new Error('it is empty'));
    await expect(world.run()).rejects.toThrow(expect.objectContaining({ code: 'ERR_DETECTION_LOGS' }));
    expect(await world.ports.ledger.unseen([...world.objects.values()])).toHaveLength(1);
  });
});

test('a flood of suspicious sessions: the worst are listed, and it is said', async () => {
  const world = new World();
  const ids = Array.from({ length: 1005 }, (_, i) => world.session(`F${String(i).padStart(5, '0')}`));
  const lines = ids.map((sessionId, i) => {
    const features = sessionFeatures({ sessionId, concurrentCountries: i < 1000 ? 3 : 2 });
    return { at: HOUR, sessionId, features };
  });
  world.put('a', HOUR, lines);
  expect(await world.run()).toMatchObject({ flagged: 1005, auto: 0 });
  expect(world.lines).toEqual([expect.stringMatching(/1005 suspicious sessions, of which the 1000 worst/)]);
  expect(await world.suspicious.get(ids[999] ?? '', world.now)).toBeDefined();
  expect(await world.suspicious.get(ids[1000] ?? '', world.now)).toBeUndefined();
});

describe('the steps of a run', () => {
  test('take and give what JSON can carry, and may be repeated', async () => {
    const world = new World();
    const broken = new Error('it is empty');
    world.put('a', HOUR, [world.shared('Leak'), world.shared('Gone'), harmless(world, 'Good')]);
    world.put('whole', undefined, [harmless(world, 'Good', 5)]);
    world.put('broken', HOUR, broken);
    await world.list.add({
      ...{ kind: 'session', id: world.session('Gone'), source: 'manual', reasons: [], by: 'operator-1' },
      ...{ revokedAt: world.now, expiresAt: world.now + 86_400 },
    });
    const { logs, ledger, engine, suspicious, list, publish, revocationSeconds, metric } = world.ports;
    const { now } = world;
    const given = carried(settings({ maxAutoShare: 0.5 }));
    for (const turn of [1, 2]) {
      const plan = carried(await planRun(logs, ledger, given.lookbackHours, now - 2 * 86_400));
      measureLag(plan, now, metric);
      const wanted = { windows: plan.windows, everySession: false, plotAtMost: 1000 };
      const evaluation = carried(await evaluate(engine, given, wanted));
      const { findings } = evaluation;
      const decision = carried(await guard(evaluation, given, list, now));
      if (turn === 1) {
        expect(decision).toEqual({
          revoke: [{ sessionId: world.session('Leak'), score: 100, reasons: expect.any(Array) }],
          revoked: [world.session('Gone')],
        });
      }
      await record(findings, suspicious, now);
      const revoked = carried(await revoke(decision, list, publish, () => now, revocationSeconds));
      // The first turn dies here.
      if (turn === 2) await commit(plan, evaluation, ledger, now);
      const run = carried(summarize(plan, evaluation, decision, revoked, given, now));
      const refused = [{ name: `${world.id}/broken`, why: 'it is empty' }];
      expect(run).toMatchObject({ objects: 3, rows: 4, flagged: 2, auto: 2, revoked: turn === 1 ? 1 : 0, refused });
      tell(run, undefined, world.ports);
    }
    expect(await world.history('Leak')).toEqual(['revoked by detection']);
    expect(await world.suspicious.get(world.session('Leak'), now)).toMatchObject({
      timeline: [{ label: 'AS64500, DE' }],
    });
    expect(await world.run()).toMatchObject({ objects: 0 });
  });

  /** As it is after it has travelled as JSON. */
  function carried<Result>(result: Result): Result {
    return JSON.parse(JSON.stringify(result));
  }
});

describe('a run that dies is repeated by the next', () => {
  /** Every step that changes or asks something, with its port. */
  const STEPS: [string, (ports: DetectionPorts, die: Die) => Partial<DetectionPorts>][] = [
    ['list the logs', (ports, die) => ({ logs: { list: die(ports.logs.list) } })],
    ['ask the ledger', (ports, die) => ({ ledger: { ...ports.ledger, unseen: die(ports.ledger.unseen) } })],
    ['evaluate', (ports, die) => ({ engine: { ...ports.engine, features: die(ports.engine.features) } })],
    ['plot', (ports, die) => ({ engine: { ...ports.engine, timelines: die(ports.engine.timelines) } })],
    ['guard', (ports, die) => ({ list: { ...ports.list, revoked: die(ports.list.revoked) } })],
    ['record', (ports, die) => ({ suspicious: { ...ports.suspicious, record: die(ports.suspicious.record) } })],
    ['revoke', (ports, die) => ({ list: { ...ports.list, add: die(ports.list.add) } })],
    ['publish', (ports, die) => ({ publish: die(ports.publish) })],
    ['commit', (ports, die) => ({ ledger: { ...ports.ledger, commit: die(ports.ledger.commit) } })],
  ];
  type Die = <Args extends unknown[], Result>(
    step: (...args: Args) => Promise<Result>,
  ) => (...args: Args) => Promise<Result>;
  const before: Die = () => async () => {
    throw new Error('died');
  };
  const after: Die =
    (step) =>
    async (...args) => {
      await step(...args);
      throw new Error('died');
    };
  const ways: [string, Die][] = [
    ['before it', before],
    ['after it, with the answer lost', after],
  ];
  const cases = STEPS.flatMap(([step, wrap]) => ways.map(([way, die]) => ({ step, way, wrap, die })));

  test.each(cases)('$step: $way', async ({ step, wrap, die }) => {
    const world = new World();
    world.put('a', HOUR, [world.shared('One'), world.shared('Two'), harmless(world, 'Good')]);
    await expect(world.run({}, wrap(world.ports, die))).rejects.toThrow('died');
    // Nothing is revoked by a run that did not come to its end without the next one knowing of it.
    world.now += 60;
    const again = await world.run();
    const isCommitted = step === 'commit' && die === after;
    expect(again.objects).toBe(isCommitted ? 0 : 1);
    for (const name of ['One', 'Two']) {
      expect(await world.history(name)).toEqual(['revoked by detection']);
      expect(await world.suspicious.get(world.session(name), world.now)).toMatchObject({ verdict: 'auto' });
    }
    expect(await world.entry('Good')).toBeUndefined();
    expect(new Set(world.published)).toEqual(new Set([world.session('One'), world.session('Two')]));
    expect(await world.run()).toMatchObject({ objects: 0, revoked: 0 });
  });

  test('a run in which the engine fails records and revokes nothing, and the ledger stays', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('Leak')]);
    const failure = new DetectionError('ERR_DETECTION_QUERY', 'the query was cancelled; run it again');
    const engine = { ...world.engine, features: () => Promise.reject(failure) };
    await expect(world.run({}, { engine })).rejects.toBe(failure);
    expect(await world.suspicious.get(world.session('Leak'), world.now)).toBeUndefined();
    expect([await world.entry('Leak'), world.published, world.metrics.length]).toEqual([undefined, [], 1]);
    expect(await world.run()).toMatchObject({ objects: 1, revoked: 1 });
  });

  test('two runs at once revoke nothing twice', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('One'), world.shared('Two')]);
    const runs = await Promise.all([world.run(), world.run(), world.run()]);
    expect(runs.reduce((sum, { revoked }) => sum + revoked, 0)).toBe(2);
    for (const name of ['One', 'Two']) expect(await world.history(name)).toEqual(['revoked by detection']);
    expect(await world.run()).toMatchObject({ objects: 0 });
  });
});

describe('detection, one run at a time', () => {
  test('another run is refused while there is one, and the latest result is kept', async () => {
    const world = new World();
    world.put('a', HOUR, [world.shared('Leak')]);
    const runs = dynamoDbDetectionRuns(database.client);
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let entered = () => {};
    const running = new Promise<void>((resolve) => {
      entered = resolve;
    });
    const list: DetectionPorts['logs']['list'] = async (from) => {
      entered();
      await held;
      return world.ports.logs.list(from);
    };
    const detection = createDetection({ ...world.ports, logs: { list } }, settings(), runs, 'one');
    const first = detection.run();
    await running;
    expect(await detection.isRunning()).toBe(true);
    await expect(detection.run()).rejects.toThrow(expect.objectContaining({ code: 'ERR_DETECTION_RUNNING' }));
    // Not even when it has taken longer than a run may.
    world.now += 10_000;
    await expect(detection.run()).rejects.toThrow(expect.objectContaining({ code: 'ERR_DETECTION_RUNNING' }));
    world.now -= 10_000;
    release();
    expect(await detection.latest()).not.toEqual(await first);
    expect(await detection.latest()).toEqual(JSON.parse(JSON.stringify(await first)));
    expect(await detection.isRunning()).toBe(false);

    const failing = { ...world.ports, logs: { list: before(world.ports.logs.list) } };
    await expect(createDetection(failing, settings(), runs, 'two').run()).rejects.toThrow('died');
    expect(world.metrics).toContainEqual(['DetectionFailed', 1]);
    expect(await detection.latest()).toMatchObject({ revoked: 1 });
    world.now += 60;
    expect(await detection.run()).toMatchObject({ objects: 0 });
    // What was found stands; only the time at which detection last looked is another.
    expect(await detection.latest()).toMatchObject({ revoked: 1, ranAt: world.now - 60, checkedAt: world.now });
  });

  const before =
    <Result>(_: (from: number) => Promise<Result>) =>
    async (): Promise<Result> => {
      throw new Error('died');
    };
});
