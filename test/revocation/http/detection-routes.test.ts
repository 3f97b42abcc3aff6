import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { LocalDynamoDb } from '../../../local/dynamodb.ts';
import { type OpenPort, openPort } from '../../../local/listen.ts';
import { DetectionError } from '../../../revocation/detect/detection-engine.ts';
import type { DetectionRun } from '../../../revocation/detect/detection-runs.ts';
import type { CallerEnv } from '../../../revocation/http/caller.ts';
import { ANSWER_WITHIN_MS, detectionRoutes } from '../../../revocation/http/detection-routes.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES } from '../../../revocation/list/dynamodb.ts';
import { dynamoDbSuspiciousSessions, SUSPICIOUS_SESSIONS_TABLE } from '../../../revocation/suspicious/dynamodb.ts';
import { problemDetails } from '../../../token-api/http/problem.ts';
import { callerFromHeaders } from '../../harness/api.ts';
import { portcullis } from '../../harness/cli.ts';
import { openDatabase } from '../../harness/database.ts';
import { sharedSession } from '../../harness/detection.ts';
import { NOW } from '../../harness/minting.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

let database: LocalDynamoDb;
beforeAll(async () => {
  database = await openDatabase([SUSPICIOUS_SESSIONS_TABLE, ...REVOCATION_TABLES]);
});
afterAll(() => database.close());

const RUN: DetectionRun = {
  ...{ ranAt: NOW, checkedAt: NOW, mode: 'log', objects: 1, rows: 5, sessionCount: 4, flagged: 3, auto: 1 },
  ...{ reviewScore: 30, autoScore: 60, revoked: 0, odd: 0, refused: [] },
};

/** The routes, and a detection whose run ends when it is told to. */
class World {
  latest: DetectionRun | undefined;
  end: ((run: DetectionRun) => void) | undefined;
  fail: ((error: Error) => void) | undefined;
  readonly lines: string[] = [];
  /** Reads of the list that are under way, and the most there were. */
  reads = 0;
  most = 0;
  total = 0;

  routes(): Hono<CallerEnv> {
    const app = new Hono<CallerEnv>();
    app.onError(problemDetails(() => undefined));
    const list = dynamoDbRevocationList(database.client);
    const counted =
      <Args extends unknown[], Result>(read: (...args: Args) => Promise<Result>) =>
      async (...args: Args) => {
        this.total++;
        this.most = Math.max(this.most, ++this.reads);
        return read(...args).finally(() => this.reads--);
      };
    const run = () =>
      new Promise<DetectionRun>((resolve, reject) => {
        this.end = (done) => {
          this.end = undefined;
          this.latest = done;
          resolve(done);
        };
        this.fail = (error) => {
          this.end = undefined;
          reject(error);
        };
      });
    const routes = detectionRoutes({
      authorize: () => callerFromHeaders,
      suspicious: dynamoDbSuspiciousSessions(database.client),
      list: { ...list, get: counted(list.get), holding: counted(list.holding), history: counted(list.history) },
      detection: { run, latest: async () => this.latest, isRunning: async () => this.end !== undefined },
      refusalsOf: async () => new Map(),
      report: (line) => this.lines.push(line),
      now: () => NOW,
    });
    return app.route('/', routes);
  }
}

describe('a run that takes longer than an answer may', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** Asks for a run and lets the time for an answer go by. */
  async function askTooLong(world: World, app: Hono<CallerEnv>) {
    const asked = app.request('/v1/detections', { method: 'POST' });
    await vi.waitUntil(() => world.end);
    vi.advanceTimersByTime(ANSWER_WITHIN_MS);
    const answer = await asked;
    return [answer.status, await answer.json()];
  }
  const latest = async (app: Hono<CallerEnv>) => {
    const answer = await app.request('/v1/detections/latest');
    return [answer.status, await answer.json()];
  };

  test('goes on, and its result is the next latest', async () => {
    const world = new World();
    const app = world.routes();
    expect(await latest(app)).toMatchObject([404, { code: 'ERR_DETECTION_NONE' }]);
    expect(await askTooLong(world, app)).toEqual([202, { started: true, startedAt: NOW }]);
    expect(await latest(app)).toMatchObject([409, { code: 'ERR_DETECTION_RUNNING' }]);
    world.end?.(RUN);
    expect(await latest(app)).toEqual([200, { ...RUN, running: false }]);
    expect(await askTooLong(world, app)).toMatchObject([202, { started: true }]);
    expect(await latest(app)).toEqual([200, { ...RUN, running: true }]);
    // Nobody is there to be told; it is said all the same.
    world.fail?.(new DetectionError('ERR_DETECTION_QUERY', 'the query was cancelled'));
    await vi.waitUntil(() => world.lines.includes('detection failed: the query was cancelled'));
  });

  test('is answered as it ends when it ends in time', async () => {
    const world = new World();
    const app = world.routes();
    const asked = app.request('/v1/detections', { method: 'POST' });
    await vi.waitUntil(() => world.end);
    vi.advanceTimersByTime(ANSWER_WITHIN_MS / 2);
    world.end?.(RUN);
    const answer = await asked;
    expect([answer.status, await answer.json()]).toEqual([200, RUN]);
    const failing = app.request('/v1/detections', { method: 'POST' });
    await vi.waitUntil(() => world.end);
    world.fail?.(new DetectionError('ERR_DETECTION_QUERY', 'the query was cancelled'));
    expect(await (await failing).json()).toMatchObject({ code: 'ERR_DETECTION_QUERY' });
    expect(world.lines.filter((line) => line.includes('failed'))).toEqual([]);
  });
});

describe('session detect, of such a run', () => {
  let port: OpenPort;
  let folder: string;
  beforeAll(async () => {
    folder = temporaryDirectory();
    writeFileSync(join(folder, 'tokens.json'), JSON.stringify({ security: 's' }));
    port = await openPort(0);
  });
  afterAll(async () => {
    await port.close();
    removeDirectory(folder);
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** Runs the command; `settle` ends the run after its caller was told to wait. */
  async function detect(world: World, settle: () => void) {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const app = new Hono();
    let asked = 0;
    app.use('/v1/detections/latest', async (_, next) => {
      // The second question finds it at its end.
      if (++asked === 2) settle();
      await next();
    });
    app.route('/', world.routes());
    port.serve(getRequestListener(app.fetch));
    const command = portcullis('session', 'detect', '--api', port.url, '--token-file', join(folder, 'tokens.json'));
    await vi.waitUntil(() => world.end, { timeout: 30_000 });
    vi.advanceTimersByTime(ANSWER_WITHIN_MS);
    vi.useRealTimers();
    return command;
  }

  test('waits for its result', async () => {
    const world = new World();
    const { code, stdout, stderr } = await detect(world, () => world.end?.(RUN));
    expect([code, stdout, stderr]).toEqual([
      0,
      '4 sessions in 5 lines of the last hours: 3 suspicious, 0 revoked (mode log)\n',
      '',
    ]);
  }, 60_000);

  test('says that it failed', async () => {
    const world = new World();
    world.latest = { ...RUN, ranAt: NOW - 60, checkedAt: NOW - 60 };
    const { code, stderr } = await detect(world, () => world.fail?.(new Error('the disk is full')));
    expect([code, stderr]).toEqual([2, expect.stringContaining('the run of detection failed')]);
  }, 60_000);
});

test('a page of suspicious sessions is read from the list in batches, and the history of those that are not revoked', async () => {
  const world = new World();
  const ids = Array.from({ length: 230 }, (_, i) => `Page${String(i).padStart(8, '0')}`);
  const suspicious = dynamoDbSuspiciousSessions(database.client);
  await suspicious.record(
    ids.map((sessionId) => ({
      ...{ sessionId, score: 80, verdict: 'auto', reasons: [], timeline: [], detectedAt: NOW, expiresAt: NOW + 1000 },
      features: sharedSession({ sessionId }),
    })),
  );
  const list = dynamoDbRevocationList(database.client);
  const entry = { kind: 'session', source: 'auto', by: 'detection', revokedAt: NOW, expiresAt: NOW + 1000 } as const;
  for (const id of ids.slice(0, 180)) await list.add({ ...entry, id, reasons: [] });
  for (const id of ids.slice(0, 10)) await list.remove('session', id, 'operator-1', NOW);

  const answer = await world.routes().request('/v1/sessions/suspicious?limit=1000');
  const { sessions } = (await answer.json()) as {
    sessions: { sessionId: string; revoked: boolean; source?: string; restored?: true }[];
  };
  const count = (is: (session: (typeof sessions)[number]) => boolean) => sessions.filter(is).length;
  expect(sessions).toHaveLength(230);
  expect(count(({ revoked, source }) => revoked && source === 'auto')).toBe(170);
  expect(
    sessions
      .filter(({ restored }) => restored)
      .map(({ sessionId }) => sessionId)
      .sort(),
  ).toEqual(ids.slice(0, 10));
  expect([world.total, world.most]).toEqual([1 + 60, 25]);
});
