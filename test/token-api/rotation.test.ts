import { describe, expect, test } from 'vitest';
import { deriveKeys, isCompatKey, type RingKey, timestamp } from '../../token-api/key-ring/key-ring.ts';
import { type Rotation, RotationError, type RotationEvent, rotationStep } from '../../token-api/key-ring/rotation.ts';
import { NOW, TEST_RING } from '../harness/minting.ts';
import { LONG } from '../harness/programs.ts';
import { FAULTS, type Process, RotationWorld, TIMES, Turns } from '../harness/rotation-world.ts';

const RUN_A = 'aaaaaaaa-0000-4000-8000-000000000001';
const RUN_B = 'bbbbbbbb-0000-4000-8000-000000000002';
const [K1] = TEST_RING.keys;
const BEFORE = timestamp(NOW - 100_000);
const SECRET_2 = Buffer.alloc(32, 7).toString('base64url');

const current: RingKey = { ...K1, publishedAt: BEFORE, activatedAt: BEFORE };
const baked: RingKey = { kid: 'k2', secret: SECRET_2, state: 'next', createdAt: BEFORE, publishedAt: BEFORE };

/** What a secret may hold before a rotation. */
type Secret = { keys: RingKey[]; placeholder?: string };
const SECRETS: Record<string, Secret> = {
  'a ring with one key': { keys: [current] },
  'a ring whose next key is ready': { keys: [current, baked] },
  'a placeholder': { keys: [], placeholder: 'not-a-key-but-thirty-two-bytes-!' },
};

function worldOf(secret: Secret): RotationWorld {
  const ours = secret.keys.filter((key) => !isCompatKey(key));
  const published = Object.fromEntries(ours.map(({ kid, secret }) => [kid, deriveKeys(secret)]));
  return new RotationWorld(JSON.stringify({ version: 1, ...secret }), published);
}

async function steps(rotation: Rotation, ClientRequestToken: string): Promise<void> {
  for (const Step of ['createSecret', 'setSecret', 'testSecret', 'finishSecret'] as const) {
    await rotationStep(rotation, { Step, ClientRequestToken });
  }
}

/** Runs a rotation as Secrets Manager does: from the first step again when one fails. */
async function rotated(process: Process, run: string, retries = 2): Promise<void> {
  for (let attempt = 0; attempt <= retries; attempt++) {
    const failed = await steps(process.rotation, run).then(
      () => undefined,
      (error) => error,
    );
    if (!failed) return;
    if (!/TimeoutError|UNREACHABLE|socket/.test(`${failed.name} ${failed.code} ${failed.message}`)) return;
  }
}

/** Nothing valid was ever refused, one key is minted with, and the edge has what the ring says and nothing else. */
function expectConverged(world: RotationWorld, context: string): void {
  expect(world.refusals, context).toEqual([]);
  const { edge, ring, stages } = world.state();
  const states = Object.values(ring);
  expect([states.filter((state) => state === 'current').length, stages], context).toEqual([1, ['AWSCURRENT']]);
  expect(
    states.filter((state) => state !== 'current' && state !== 'retired'),
    context,
  ).toEqual([]);
  expect(edge, context).toEqual(Object.keys(ring).filter((kid) => ring[kid] !== 'retired'));
}

describe.each(Object.entries(SECRETS))('a rotation of %s', (name, secret) => {
  test('brings a new key, and the old one goes when its last token has expired', async () => {
    const world = worldOf(secret);
    world.begin(RUN_A);
    await world.process().rotation.rotate(RUN_A);
    const { ring, edge } = world.state();
    const added = Object.keys(ring).filter((kid) => !secret.keys.some((key) => key.kid === kid));
    expect(added).toHaveLength(1);
    expect(ring[added[0] ?? '']).toBe('next');
    expect(edge).toContain(added[0]);
    await world.settle();
    expectConverged(world, name);
    expect(world.state().ring[added[0] ?? '']).toBe('current');
  });

  test.each(FAULTS)('every call %s: what is repeated ends well', async (kind) => {
    const complete = worldOf(secret);
    complete.begin(RUN_A);
    const undisturbed = complete.process();
    await undisturbed.rotation.rotate(RUN_A);
    expect(undisturbed.calls).toBeGreaterThan(12);
    for (let at = 0; at < undisturbed.calls; at++) {
      const world = worldOf(secret);
      world.begin(RUN_A);
      const process = world.process();
      process.fault = { at, kind };
      // A process that died leaves its call without an answer for ever.
      await Promise.race([rotated(process, RUN_A, 0), died(process)]);
      world.pass(60);
      await rotated(world.process(), RUN_A);
      await world.settle();
      expectConverged(world, `${kind} at call ${at}`);
      expect(Object.keys(world.state().ring).length, `${kind} at call ${at}`).toBe(secret.keys.length + 1);
    }
  });

  test.each(FAULTS)('every call %s, and nobody repeats it: the timer cleans up', async (kind) => {
    for (let at = 0; ; at++) {
      const world = worldOf(secret);
      world.begin(RUN_A);
      const process = world.process();
      process.fault = { at, kind };
      await Promise.race([rotated(process, RUN_A, 0), died(process)]);
      if (process.calls <= at) break;
      await world.settle();
      expect(world.refusals, `${kind} at call ${at}`).toEqual([]);
      if (secret.keys.length === 0 && Object.keys(world.state().ring).length === 0) {
        // Nothing came of it: the placeholder is still one, and no key of it is anywhere.
        expect(world.state().edge.length, `${kind} at call ${at}`).toBeLessThanOrEqual(1);
        continue;
      }
      expectConverged(world, `${kind} at call ${at}`);
    }
  });
});

test('what is no step of a rotation is refused', async () => {
  const world = worldOf({ keys: [current] });
  const event = { Step: 'deleteSecret' as RotationEvent['Step'], ClientRequestToken: RUN_A };
  await expect(rotationStep(world.process().rotation, event)).rejects.toMatchObject({ code: 'ERR_ROTATION_STEP' });
});

test.each(['setSecret', 'testSecret', 'finishSecret'] as const)(
  '%s of a rotation that nobody began is refused',
  async (step) => {
    const world = worldOf({ keys: [current] });
    const { rotation } = world.process();
    await expect(rotation[step](RUN_B)).rejects.toMatchObject({ code: 'ERR_ROTATION_NOT_PENDING' });
    expect(world.state().ring).toEqual({ k1: 'current' });
  },
);

test('a rotation that got stuck is cleared by the timer after an hour, and by the next one', async () => {
  for (const clear of [
    (process: Process) => process.rotation.advance(),
    (process: Process) => process.rotation.createSecret(RUN_B).catch(() => undefined),
  ]) {
    const world = worldOf({ keys: [current] });
    world.begin(RUN_A);
    await world.process().rotation.createSecret(RUN_A);
    await expect(world.process().rotation.createSecret(RUN_B)).rejects.toMatchObject({ code: 'ERR_ROTATION_RUNNING' });
    world.pass(3500);
    await world.process().rotation.advance();
    expect([world.state().stages, world.stuck]).toEqual([['AWSCURRENT', 'AWSPENDING'], 0]);
    world.pass(200);
    await clear(world.process());
    expect(world.stuck).toBe(1);
    await expect(world.process().rotation.finishSecret(RUN_A)).rejects.toMatchObject({
      code: 'ERR_ROTATION_NOT_PENDING',
    });
  }
});

test('a placeholder over an edge that has keys is no reason to remove them', async () => {
  const world = new RotationWorld('{"version":1,"keys":[]}', { k1: deriveKeys(K1.secret) });
  const { rotation } = world.process();
  await rotation.createSecret(RUN_A);
  await expect(rotation.setSecret(RUN_A)).rejects.toMatchObject({ code: 'ERR_RING_FOREIGN' });
  await rotation.advance();
  expect(world.state().edge).toEqual(['k1']);
});

test('the ring of another edge takes no key from this one', async () => {
  const world = new RotationWorld(JSON.stringify({ version: 1, keys: [baked, current] }), {
    other: deriveKeys(Buffer.alloc(32, 9).toString('base64url')),
  });
  const { rotation } = world.process();
  await expect(rotation.rotate(RUN_A)).rejects.toMatchObject({ code: 'ERR_RING_FOREIGN' });
  await expect(rotation.advance()).rejects.toMatchObject({ code: 'ERR_RING_FOREIGN' });
  expect(world.state().edge).toEqual(['other']);
});

const unreachable = async () => {
  throw new RotationError('ERR_ROTATION_PROBE', 'no answer');
};

test('a rotation whose probe failed is resumed, not begun again', async () => {
  const world = worldOf({ keys: [current] });
  await expect(world.process({ probe: unreachable }).rotation.rotate(RUN_A)).rejects.toMatchObject({
    code: 'ERR_ROTATION_PROBE',
  });
  const prepared = world.state().edge;
  await world.process().rotation.rotate(RUN_B);
  expect(world.state().edge).toEqual(prepared);
  expect(Object.values(world.state().ring)).toEqual(['current', 'next']);
});

test('one that was cleared as stuck can be tried again under its own token', async () => {
  const world = worldOf({ keys: [current] });
  await world
    .process({ probe: unreachable })
    .rotation.rotate(RUN_A)
    .catch(() => undefined);
  world.pass(4000);
  await world.process().rotation.advance();
  expect(world.state()).toMatchObject({ edge: ['k1'], stages: ['AWSCURRENT'] });
  await world.process().rotation.rotate(RUN_A);
  await world.settle();
  expectConverged(world, 'tried again');
  expect(Object.keys(world.state().ring)).toHaveLength(2);
});

test('a first rotation that got stuck is taken over by the next one', async () => {
  const world = worldOf({ keys: [] });
  await world
    .process({ probe: unreachable })
    .rotation.rotate(RUN_A)
    .catch(() => undefined);
  world.pass(4000);
  await world.process().rotation.advance();
  const { rotation } = world.process();
  for (const Step of ['createSecret', 'setSecret', 'testSecret', 'finishSecret'] as const) {
    await rotationStep(rotation, { Step, ClientRequestToken: RUN_B });
  }
  await world.settle();
  expectConverged(world, 'taken over');
  expect(Object.keys(world.state().ring)).toHaveLength(1);
});

describe('a dropped key', () => {
  test('is in no version of the secret that has a label, so that none can be gone back to', async () => {
    const world = worldOf({ keys: [current, baked] });
    world.dropped.add('k1');
    await world.process().rotation.dropKey('k1', RUN_A);
    expect(world.labelled().length).toBeGreaterThan(1);
    for (const value of world.labelled()) expect(value).not.toContain(K1.secret);
    expect(world.state().edge).toEqual(['k2']);
  });

  test('goes from the edge also where a clock is wrong', async () => {
    const world = worldOf({ keys: [current] });
    world.dropped.add('k1');
    const behind = world.process({ now: () => world.time - 1_000_000 });
    const { mintingResumesAt } = await behind.rotation.dropKey('k1', RUN_A);
    expect(mintingResumesAt).not.toBeNull();
    expect(world.state().edge).not.toContain('k1');
  });

  test('leaves minting paused whatever keys of the AWS solution the ring has', async () => {
    const compat = { ...baked, kid: 'theirs', secret: 'ab'.repeat(64), state: 'current' as const, use: 'compat' };
    const world = worldOf({ keys: [current, compat] });
    world.dropped.add('k1');
    const { mintingResumesAt } = await world.process().rotation.dropKey('k1', RUN_A);
    expect(mintingResumesAt).toBeGreaterThan(world.time);
    await expect(world.process().rotation.dropKey('theirs', RUN_B)).rejects.toMatchObject({
      code: 'ERR_KEY_UNKNOWN',
      message: expect.stringContaining('dialect compat'),
    });
  });
});

/** Resolves when the process has died. */
async function died(process: Process): Promise<void> {
  while (!process.isDead) await new Promise((resolve) => setImmediate(resolve));
}

type Work = [name: string, work: (process: Process, world: RotationWorld) => Promise<unknown>];
const ROTATION: Work = ['a rotation', (process) => rotated(process, RUN_A)];
const SAME: Work = ['the same one again', (process) => rotated(process, RUN_A)];
const SECONDS: Work[] = [
  SAME,
  ['another one', (process) => rotated(process, RUN_B)],
  [
    'another one that took the label of the first',
    (process, world) => {
      world.begin(RUN_B);
      return rotated(process, RUN_B);
    },
  ],
  ['the timer', (process) => process.rotation.advance()],
  [
    'a key being dropped',
    (process, world) => {
      world.dropped.add('k1');
      return process.rotation.dropKey('k1', RUN_B);
    },
  ],
];
/** How long a process may stand still between two calls, in seconds: a moment, longer than a bake, longer than a token lives. */
const PAUSES = [1, TIMES.bakeSeconds + 100, 4000];

describe('two at once', () => {
  const rings = Object.entries(SECRETS).filter(([, { keys }]) => keys.length > 0);
  const pairs = rings.flatMap(([name, secret]) => SECONDS.map((second) => [second[0], name, secret, second] as const));

  /**
   * Runs two works: the first makes `i` calls, then the other `j`, then the first goes on to its end, and so does the other.
   * Between two switches `pause` seconds pass.
   */
  async function schedule(secret: Secret, [first, other]: readonly [Work, Work], i: number, j: number, pause: number) {
    const world = worldOf(secret);
    world.begin(RUN_A);
    const turns = new Turns();
    const [a, b] = [world.process(), world.process()];
    turns.start(a, (process) => first[1](process, world));
    for (let n = 0; n < i; n++) await turns.step(a);
    world.pass(pause);
    turns.start(b, (process) => other[1](process, world));
    for (let n = 0; n < j && (await turns.step(b)); n++);
    world.pass(pause);
    while (await turns.step(a));
    while (await turns.step(b));
    await world.settle();
    expectConverged(world, `${first[0]} ${i}, ${other[0]} ${j}, pause ${pause}`);
  }

  let begun = 0;
  test.each(pairs)(
    `a rotation and %s on %s, in ${LONG ? 'every order' : 'some orders'}`,
    async (_second, _name, secret, second) => {
      let schedules = 0;
      const orders: [Work, Work][] = [
        [ROTATION, second],
        [second, ROTATION],
      ];
      for (const works of second === SAME ? orders.slice(1) : orders) {
        const [firstCalls = 0, otherCalls = 0] = await Promise.all(works.map((work) => callsOf(secret, work)));
        // At every call in the long tests, else at every third, each time from another one on.
        for (let i = LONG ? 0 : begun++ % 3; i <= firstCalls; i += LONG ? 1 : 3) {
          // Two switches: the other runs to its end in between. With all pauses in the long tests, else with each by turns.
          for (const pause of LONG ? PAUSES : [PAUSES[schedules % PAUSES.length] ?? 1]) {
            await schedule(secret, works, i, Number.POSITIVE_INFINITY, pause);
            schedules++;
          }
          // Three: it is interrupted too. All of them in the long tests, else some.
          for (let j = LONG ? 1 : 1 + ((3 * i) % 25); j < otherCalls; j += LONG ? 1 : 25) {
            await schedule(secret, works, i, j, LONG ? (PAUSES[(i + j) % PAUSES.length] ?? 1) : 1);
            schedules++;
          }
        }
      }
      expect(schedules).toBeGreaterThan(LONG ? 100 : 10);
      process.stdout.write(`  ${schedules} schedules of a rotation and ${second[0]}\n`);
    },
    LONG ? 1_800_000 : 300_000,
  );
});

/** How many calls a work makes when it is alone. */
async function callsOf(secret: Secret, [, work]: Work): Promise<number> {
  const world = worldOf(secret);
  world.begin(RUN_A);
  const process = world.process();
  await work(process, world);
  return process.calls;
}
