import { type DynamoDBDocumentClient, PutCommand } from '@aws-sdk/lib-dynamodb';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { LocalDynamoDb } from '../../local/dynamodb.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES } from '../../revocation/list/dynamodb.ts';
import type { RevocationEntry, RevocationList } from '../../revocation/list/revocation-list.ts';
import { openDatabase } from '../harness/database.ts';
import { NOW } from '../harness/minting.ts';

let database: LocalDynamoDb;
let list: RevocationList;
beforeAll(async () => {
  database = await openDatabase(REVOCATION_TABLES);
  list = dynamoDbRevocationList(database.client);
});
afterAll(() => database.close());

let ids = 0;
const newId = () => `Faulty${String(++ids).padStart(8, '0')}`;

/** The same database behind a client each of whose calls goes through `around`. */
function listAround(around: (isWrite: boolean, call: () => Promise<unknown>) => Promise<unknown>): RevocationList {
  const send = (command: Parameters<DynamoDBDocumentClient['send']>[0]) =>
    around(command instanceof PutCommand, () => database.client.send(command));
  return dynamoDbRevocationList(Object.assign(Object.create(database.client), { send }));
}

/** For how long entries live in these tests, in seconds. */
const LIFE = 100;
type Action = 'manual' | 'auto' | 'remove';
const ACTIONS: Action[] = ['manual', 'auto', 'remove'];

function perform(on: RevocationList, action: Action, id: string, now = NOW): Promise<string> {
  if (action === 'remove') return on.remove('session', id, 'remover', now).then(String);
  const times = { revokedAt: now, expiresAt: now + LIFE };
  const entry: RevocationEntry = { kind: 'session', id, source: action, reasons: [action], by: action, ...times };
  return on.add(entry).then(({ outcome }) => outcome);
}

/** What the list has to say after actions one after the other: its specification, once more and without a database. */
class Model {
  state: { action: 'revoked' | 'restored'; source: 'manual' | 'auto'; expiresAt: number } | undefined;
  events: string[] = [];

  perform(action: Action, now = NOW): string {
    const present = this.state && this.state.expiresAt > now ? this.state : undefined;
    if (action === 'remove') {
      if (present?.action !== 'revoked') return 'false';
      this.#become({ ...present, action: 'restored' });
      return 'true';
    }
    const next = { action: 'revoked', source: action, expiresAt: now + LIFE } as const;
    if (!present) return this.#become(next, 'added');
    if (present.action === 'restored') return action === 'auto' ? 'restored-by-hand' : this.#become(next, 'added');
    if (action === 'auto') return 'kept';
    if (present.source === 'manual') {
      return next.expiresAt >= present.expiresAt + 60 ? this.#become(next, 'kept') : 'kept';
    }
    return this.#become({ ...next, expiresAt: Math.max(next.expiresAt, present.expiresAt) }, 'changed');
  }

  #become(state: NonNullable<Model['state']>, outcome = ''): string {
    this.state = state;
    this.events.push(`${state.action} ${state.source}`);
    return outcome;
  }
}

/** The history of an id, the first first, and what holds; as a model has them. */
async function observed(id: string, now = NOW) {
  const events = (await list.history('session', id)).reverse();
  const times = events.map(({ at }) => at);
  expect(times).toEqual([...new Set(times)].sort((a, b) => a - b));
  const holds = await list.get('session', id, now);
  expect((await list.revoked('session', [id], now)).has(id)).toBe(holds !== undefined);
  return { events: events.map(({ action, entry }) => `${action} ${entry.source}`), holds: holds?.source };
}

function expected({ state, events }: Model, now = NOW) {
  const holds = state?.action === 'revoked' && state.expiresAt > now ? state.source : undefined;
  return { events: [...events], holds };
}

const BEFORE: Action[][] = [[], ['auto'], ['manual'], ['auto', 'remove'], ['manual', 'remove', 'manual', 'remove']];

/** A list whose nth write fails: the process dies before it or after it, or its reply is lost and the client repeats it. */
function faulty(nth: number, fault: 'before' | 'after' | 'repeated') {
  let writes = 0;
  return listAround(async (isWrite, call) => {
    if (!isWrite || ++writes !== nth) return call();
    if (fault === 'before') throw new Error('died');
    const answer = await call();
    if (fault === 'after') throw new Error('died');
    return fault === 'repeated' ? call() : answer;
  });
}

describe('no event is lost or doubled', () => {
  test.each(['before', 'after'] as const)(
    'when the process dies %s a write, and the change is made again',
    async (fault) => {
      for (const before of BEFORE) {
        for (const action of ACTIONS) {
          for (const nth of [1, 2]) {
            const id = newId();
            const model = new Model();
            for (const earlier of before) expect(await perform(list, earlier, id)).toBe(model.perform(earlier));
            await perform(faulty(nth, fault), action, id).catch(({ message }: Error) => expect(message).toBe('died'));
            const { events, holds } = await observed(id);
            const states = [expected(model)];
            model.perform(action);
            states.push(expected(model));
            // Died before or after, never in between.
            expect(states).toContainEqual({ events, holds });
            await perform(list, action, id);
            expect([before, action, nth, await observed(id)]).toEqual([before, action, nth, expected(model)]);
          }
        }
      }
    },
  );

  test('when a reply is lost and the client repeats the call: the outcome is that of the first', async () => {
    for (const before of BEFORE) {
      for (const action of ACTIONS) {
        for (const nth of [1, 2]) {
          const id = newId();
          const model = new Model();
          for (const earlier of before) expect(await perform(list, earlier, id)).toBe(model.perform(earlier));
          expect(await perform(faulty(nth, 'repeated'), action, id)).toBe(model.perform(action));
          expect([before, action, nth, await observed(id)]).toEqual([before, action, nth, expected(model)]);
        }
      }
    }
  });

  test('when somebody else goes on between a lost reply and its repetition', async () => {
    const id = newId();
    let writes = 0;
    const interrupted = listAround(async (isWrite, call) => {
      if (!isWrite || ++writes !== 1) return call();
      await call();
      await perform(list, 'remove', id);
      return call();
    });
    expect(await perform(interrupted, 'manual', id)).toBe('added');
    expect(await observed(id)).toEqual({ events: ['revoked manual', 'restored manual'], holds: undefined });
  });
});

/**
 * Two writers whose calls are let through one at a time, in the order that `schedule` says (whose turn it is, while both
 * wait; the first writer's once it is used up). Resolves to what they answered and to the choices that were made.
 */
async function interleaved(id: string, actions: [Action, Action], schedule: number[]) {
  const choices: number[] = [];
  const gates: (undefined | (() => void))[] = [undefined, undefined];
  const finished = [false, false];
  let wake = () => {};
  const writers = actions.map(async (action, writer) => {
    const gated = listAround(async (_, call) => {
      await new Promise<void>((open) => {
        gates[writer] = open;
        wake();
      });
      return call();
    });
    const outcome = await perform(gated, action, id);
    finished[writer] = true;
    wake();
    return outcome;
  });
  while (!finished.every(Boolean)) {
    const isReady = (writer: number) => finished[writer] || gates[writer] !== undefined;
    while (!isReady(0) || !isReady(1)) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const waiting = [0, 1].filter((writer) => gates[writer]);
    if (waiting.length === 0) break;
    const [only = 0] = waiting;
    const turn = waiting.length === 1 ? only : (schedule[choices.length] ?? 0);
    if (waiting.length === 2) choices.push(turn);
    const open = gates[turn];
    gates[turn] = undefined;
    open?.();
  }
  return { outcomes: await Promise.all(writers), choices };
}

/** The schedule after one that was played: the last choice that can still be another one is; undefined after the last. */
function nextSchedule(choices: number[]): number[] | undefined {
  const last = choices.lastIndexOf(0);
  return last < 0 ? undefined : [...choices.slice(0, last), 1];
}

describe('two writers at once, in every order of their calls, do what one after the other would', () => {
  const pairs: [Action, Action][] = [
    ['manual', 'auto'],
    ['manual', 'remove'],
    ['auto', 'remove'],
    ['manual', 'manual'],
    ['auto', 'auto'],
    ['remove', 'remove'],
  ];
  test.each(pairs)('%s and %s', async (first, second) => {
    for (const before of [[], ['auto'], ['auto', 'remove']] as Action[][]) {
      let schedules = 0;
      for (let schedule: number[] | undefined = []; schedule; schedules++) {
        const id = newId();
        for (const action of before) await perform(list, action, id);
        const { outcomes, choices } = await interleaved(id, [first, second], schedule);
        const orders = [
          [0, 1],
          [1, 0],
        ].map((order) => {
          const model = new Model();
          for (const action of before) model.perform(action);
          const said = ['', ''];
          for (const writer of order) said[writer] = model.perform(writer === 0 ? first : second);
          return { outcomes: said, ...expected(model) };
        });
        expect([before, choices, orders]).toEqual([
          before,
          choices,
          expect.arrayContaining([{ outcomes, ...(await observed(id)) }]),
        ]);
        schedule = nextSchedule(choices);
      }
      expect(schedules).toBeGreaterThan(1);
    }
  });
});

test('any sequence of changes, over any time and with writes that fail, is as the model says', async () => {
  const step = fc.record({
    action: fc.constantFrom(...ACTIONS),
    seconds: fc.constantFrom(0, 0, 1, LIFE / 2, LIFE),
    fault: fc.constantFrom(undefined, undefined, 'before' as const, 'after' as const, 'repeated' as const),
    nth: fc.constantFrom(1, 2),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
      const id = newId();
      const model = new Model();
      let now = NOW;
      for (const { action, seconds, fault, nth } of steps) {
        now += seconds;
        const outcome = model.perform(action, now);
        const answered = await perform(fault ? faulty(nth, fault) : list, action, id, now).catch(() => undefined);
        if (answered === undefined) await perform(list, action, id, now);
        else expect(answered).toBe(outcome);
        expect(await observed(id, now)).toEqual(expected(model, now));
      }
    }),
    { numRuns: 40 },
  );
});

test('a writer that always loses gives up, says so and has changed nothing', async () => {
  const id = newId();
  let others = 0;
  const unlucky = listAround(async (isWrite, call) => {
    if (isWrite) {
      expect(await perform(list, 'remove', id)).toBe('true');
      expect(await perform(list, 'manual', id)).toBe('added');
      others++;
    }
    return call();
  });
  await perform(list, 'manual', id);
  await expect(perform(unlucky, 'remove', id)).rejects.toMatchObject({ code: 'ERR_REVOCATION_CONTENDED' });
  const { events, holds } = await observed(id);
  expect([events.filter((event) => event === 'restored manual').length, holds]).toEqual([others, 'manual']);
});
