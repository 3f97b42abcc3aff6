import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HANDLERS } from '../../lambda/handlers.ts';
import { STATE_MACHINES } from '../../lambda/state-machines.ts';
import { dynamoDbDetectionRuns } from '../../revocation/detect/dynamodb.ts';
import { dynamoDbRevocationList } from '../../revocation/list/dynamodb.ts';
import { dynamoDbSuspiciousSessions } from '../../revocation/suspicious/dynamodb.ts';
import { type LoggedRequest, watching } from '../harness/access-logs.ts';
import { sharedSession } from '../harness/detection.ts';
import { DEPLOYED, deployDetection, LAST_HOUR } from '../harness/detection-machine.ts';
import { beforeNext } from '../harness/sdk-commands.ts';
import { aslValidator } from '../harness/state-machine.ts';

const VIEWERS = ['DE', 'FR', 'US', 'GB', 'ES', 'IT', 'PL', 'SE'];
/** A session that eight viewers watch, each in a country of its own, all at the same place. */
const shared = (session: string): LoggedRequest[] =>
  VIEWERS.flatMap((country, i) => watching(300, { session, country, ip: `198.51.${i}.7`, asn: `${64500 + i}` }));
const ordinary = (session: string) => watching(300, { session });

const now = () => Math.floor(Date.now() / 1000);

test('the state machine is Amazon States Language', () => {
  const { isValid, errors } = aslValidator(DEPLOYED);
  expect(errors).toEqual([]);
  expect(isValid).toBe(true);
});

describe('a run of detection by the state machine', () => {
  let deployed: Awaited<ReturnType<typeof deployDetection>>;
  const list = () => dynamoDbRevocationList(deployed.client);
  const runs = () => dynamoDbDetectionRuns(deployed.client);
  beforeAll(async () => {
    deployed = await deployDetection({ mode: 'enforce', lookbackHours: 1 });
    await deployed.deliver('one.parquet', [...shared('LeakedSess01'), ...ordinary('OrdinarySe01')]);
  });
  afterAll(() => deployed.close());

  test('revokes a session that leaks, and queues its publication', async () => {
    const { output, failure, alarms, metrics } = await deployed.execute('first');
    expect([failure, alarms]).toEqual([undefined, []]);
    expect(output).toMatchObject({ objects: 1, rows: 2700, sessionCount: 2, flagged: 1, revoked: 1, odd: 0 });
    expect(metrics).toMatchObject({ SuspiciousSessions: 1, AutoRevocations: 1, DetectionCapHit: 0 });
    expect(await list().get('session', 'LeakedSess01', now())).toMatchObject({ source: 'auto', by: 'detection' });
    expect(await list().get('session', 'OrdinarySe01', now())).toBeUndefined();
    expect(deployed.services.messages.map((body) => JSON.parse(body))).toEqual([
      { changed: [{ kind: 'session', id: 'LeakedSess01' }] },
    ]);
    expect(await runs().latest()).toMatchObject({ objects: 1, revoked: 1 });
    const found = await dynamoDbSuspiciousSessions(deployed.client).get('LeakedSess01', now());
    expect(found?.timeline).toHaveLength(8);
    expect(await deployed.tables()).toEqual([]);
    expect(await runs().isRunning(now())).toBe(false);
  });

  test('that finds nothing new does nothing', async () => {
    const { output, largest } = await deployed.execute('second');
    expect(output).toMatchObject({ objects: 0, rows: 0, revoked: 0 });
    expect(deployed.services.messages).toHaveLength(1);
    expect(largest).toBeLessThan(10_000);
  });

  test('leaves another run alone, and is no failure', async () => {
    await runs().begin('other', now(), now() + 60);
    const { failure, states, alarms } = await deployed.execute('third');
    expect([failure, states, alarms]).toEqual([undefined, ['Plan', 'AnotherIsRunning'], []]);
    expect(await runs().isRunning(now())).toBe(true);
    await runs().finish('other');
  });

  test('a query that fails goes to the alarm, with no token in it, and leaves nothing behind', async () => {
    await deployed.deliver('two.parquet', [...shared('LeakedSess02'), ...ordinary('OrdinarySe02')]);
    const token = `AbCdEf123456.ey${'h'.repeat(98)}.${'p'.repeat(200)}.${'s'.repeat(43)}`;
    deployed.athena.before = (call) => {
      const isLast = call === 'Start' && deployed.athena.queries.size % 3 === 2;
      const StateChangeReason = `GENERIC_USER_ERROR: bad line /${token}/a`;
      deployed.athena.outcome = isLast ? { State: 'FAILED', StateChangeReason } : { State: 'SUCCEEDED' };
    };
    const { failure, alarms, states, metrics } = await deployed.execute('fourth');
    deployed.athena.before = () => undefined;
    deployed.athena.outcome = { State: 'SUCCEEDED' };
    expect((failure as Error & { cause: Error }).cause.name).toBe('ERR_DETECTION_FAILED');
    expect(alarms).toEqual([
      expect.stringMatching(/^Detection failed: ERR_DETECTION_QUERY: Athena query q-\d+ failed: GENERIC_USER_ERROR/),
    ]);
    expect(metrics).toEqual({ DetectionLag: expect.any(Number), DetectionFailed: 1 });
    expect(alarms[0]).not.toContain('s'.repeat(43));
    expect(states.slice(-4)).toEqual(['AllAsked', 'Failed', 'Alarm', 'RunFailed']);
    expect(await deployed.tables()).toEqual([]);
    expect(await runs().isRunning(now())).toBe(false);
    expect(await list().get('session', 'LeakedSess02', now())).toBeUndefined();
    expect(deployed.services.messages).toHaveLength(1);
  });

  test('throttling is waited out, and each query runs once', async () => {
    let throttled = 0;
    const before = deployed.athena.queries.size;
    deployed.athena.before = (call) => {
      if (call === 'Start' && throttled++ % 2 === 0) {
        throw Object.assign(new Error('Rate exceeded'), { name: 'TooManyRequestsException' });
      }
    };
    const { output, failure } = await deployed.execute('fifth');
    deployed.athena.before = () => undefined;
    expect(failure).toBeUndefined();
    // What was revoked an hour ago counts into the cap, which is five at least.
    expect(output).toMatchObject({ objects: 1, revoked: 1 });
    expect(deployed.athena.queries.size - before).toBe(9);
  });

  test('each step may be repeated, and revokes nothing twice', async () => {
    await deployed.deliver('three.parquet', [...shared('LeakedSess03'), ...ordinary('OrdinarySe03')]);
    // Each handler does its work, and dies before it has answered.
    const died = new Set<string>();
    deployed.after = async (name) => {
      if (died.has(name)) return;
      died.add(name);
      throw new Error('died');
    };
    const { output, failure } = await deployed.execute('sixth');
    deployed.after = async () => undefined;
    expect(failure).toBeUndefined();
    expect(died.size).toBe(6);
    expect(output).toMatchObject({ objects: 1, flagged: 3 });
    const history = await list().history('session', 'LeakedSess03');
    expect(history.map(({ action }) => action)).toEqual(['revoked']);
    expect(await deployed.execute('seventh')).toMatchObject({ output: { objects: 0 } });
    expect(await runs().isRunning(now())).toBe(false);
  });

  test('a run that would revoke too many revokes none, and its metric says so', async () => {
    const sessions = ['LeakedSess11', 'LeakedSess12', 'LeakedSess13', 'LeakedSess14', 'LeakedSess15', 'LeakedSess16'];
    await deployed.deliver('four.parquet', sessions.flatMap(shared));
    const { output, metrics } = await deployed.execute('eighth');
    expect(metrics).toMatchObject({ DetectionCapHit: 1, AutoRevocations: 0 });
    expect(output).toMatchObject({ revoked: 0, alarm: { candidates: 6, allowed: 2 } });
  });

  test('the commands that handlers send are those that their roles permit', async () => {
    // An entry that is over is kept in the history when another takes its place, and is looked for there by who was too slow.
    const results = [...deployed.services.objects].filter(([name]) => name.includes('/assessment-'));
    const [key = '', assessment] =
      results.find(([, body]) => body.includes('"revoke":[{"sessionId":"LeakedSess03"')) ?? [];
    expect(assessment).toBeDefined();
    await list().remove('session', 'LeakedSess03', 'test', now());
    const entry = { kind: 'session' as const, id: 'LeakedSess03', source: 'manual' as const, reasons: [], by: 'test' };
    await list().add({ ...entry, revokedAt: now() - 60, expiresAt: now() - 1 });
    const writeHead = { action: 'dynamodb:PutItem', resource: 'portcullis-revocations' };
    beforeNext(deployed.aws, writeHead, () => list().add({ ...entry, by: 'another', revokedAt: now() }));
    const input = { run: 'again', ranAt: now(), plan: '', assessment: key.slice('results/'.length) };
    await deployed.invoke('detection-revoke')(input);
    expect(await list().get('session', 'LeakedSess03', now())).toMatchObject({ by: 'another' });
    for (const name of Object.values(STATE_MACHINES.detection.handlers)) {
      const handler = name as keyof typeof HANDLERS;
      const { resultsBucket, ...permitted } = HANDLERS[handler].permissions as Record<string, string[]>;
      const { resultsBucket: used, ...sent } = deployed.permissions(handler);
      expect({ [handler]: sent }).toEqual({ [handler]: permitted });
      // GetQueryResults reads the answer from the bucket with the rights of the caller.
      if (handler !== 'detection-timelines') expect({ [handler]: used }).toEqual({ [handler]: resultsBucket });
    }
  });
});

describe('a thousand findings', () => {
  test('go from step to step by reference', async () => {
    const deployed = await deployDetection({ mode: 'log', lookbackHours: 0 });
    await deployed.deliver('one.parquet', ordinary('OrdinarySe01'));
    const ids = Array.from({ length: 1000 }, (_, i) => `LongSessionIdOfALeak${String(i).padStart(12, '0')}`);
    deployed.athena.execute = async (sql) => {
      if (sql.includes('dense_rank')) {
        const columns = ['session_id', 'identity', 'network', 'asn', 'country', 'minute', 'requests'];
        const asked = ids.filter((id) => sql.includes(id));
        return { columns, rows: asked.map((id) => [id, '1', '203.0.113', '64500', 'DE', `${LAST_HOUR}`, '9']) };
      }
      if (sql.startsWith('CREATE')) return { columns: ['rows'], rows: [] };
      const rows = ids.map((sessionId) => {
        const features = sharedSession({ sessionId });
        return { ...features, session_count: 1000, request_count: 9000 };
      });
      const names = Object.keys(rows[0] ?? {});
      const columns = names.map((name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
      return { columns, rows: rows.map((row) => names.map((name) => String(row[name as keyof typeof row]))) };
    };
    const { output, failure, largest } = await deployed.execute('thousand');
    expect(failure).toBeUndefined();
    expect(output).toMatchObject({ flagged: 1000, odd: 0 });
    expect(largest).toBeLessThan(256 * 1024);
    const found = await dynamoDbSuspiciousSessions(deployed.client).get(ids[999] ?? '', now());
    expect(found?.timeline).toHaveLength(1);
    await deployed.close();
  });
});
