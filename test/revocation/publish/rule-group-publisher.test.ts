import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { Rule } from '@aws-sdk/client-wafv2';
import { afterAll, describe, expect, test } from 'vitest';
import type { RevocationEntry } from '../../../revocation/list/revocation-list.ts';
import { FileRuleGroup } from '../../../revocation/publish/rule-group-file.ts';
import { ruleGroupPublisher } from '../../../revocation/publish/rule-group-publisher.ts';
import {
  RuleGroupError,
  type RuleGroupErrorCode,
  type RuleGroupStore,
} from '../../../revocation/publish/rule-group-store.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

function entry(id: string, source: 'manual' | 'auto', revokedAt: number): RevocationEntry {
  return { kind: 'session', id, source, reasons: [], by: 'test', revokedAt };
}
const manual = (id: string, revokedAt = 1) => entry(id, 'manual', revokedAt);
const auto = (id: string, revokedAt = 1) => entry(id, 'auto', revokedAt);
const [A, B, C] = ['AAAAAAAAAAAA', 'BBBBBBBBBBBB', 'CCCCCCCCCCCC'] as const;
const change = (id: string) => [{ kind: 'session' as const, id }];

/** What happens to a call of the group: an error before it, or an error although it took effect. */
type Fault = { before: RuleGroupErrorCode } | { after: RuleGroupErrorCode } | { meanwhile: () => Promise<unknown> };

/** A list, a group in a file, and a publisher between them whose calls can fail. */
async function world({ capacityWcu = 300, path = join(scratch, `${randomUUID()}.json`) } = {}) {
  const group = await FileRuleGroup.open(path, capacityWcu);
  const list: RevocationEntry[] = [];
  const faults: { get: Fault[]; update: Fault[] } = { get: [], update: [] };
  const updates: Rule[][] = [];
  const waits: number[] = [];
  const used: number[] = [];
  const faulty = async <Result>(call: 'get' | 'update', run: () => Promise<Result>): Promise<Result> => {
    const fault = faults[call].shift();
    if (fault && 'before' in fault) throw new RuleGroupError(fault.before, 'simulated');
    if (fault && 'meanwhile' in fault) await fault.meanwhile();
    const result = await run();
    if (fault && 'after' in fault) throw new RuleGroupError(fault.after, 'simulated');
    return result;
  };
  const service: RuleGroupStore = {
    get: () => faulty('get', () => group.get()),
    update: (rules, lockToken) =>
      faulty('update', () => {
        updates.push(rules);
        return group.update(rules, lockToken);
      }),
  };
  // What waits goes on when the test says so.
  const held: (() => void)[] = [];
  let isHolding = false;
  const sleep = (milliseconds: number) => {
    waits.push(milliseconds);
    return isHolding ? new Promise<void>((resolve) => held.push(resolve)) : Promise.resolve();
  };
  const publisher = ruleGroupPublisher(async () => [...list], service, {
    tokenPrefix: '/',
    allowedOrigins: ['*'],
    sleep,
    reportUsed: (wcu) => used.push(wcu),
  });
  return {
    ...{ path, group, list, faults, updates, waits, used, publisher },
    hold: () => {
      isHolding = true;
    },
    release: () => {
      isHolding = false;
      for (const go of held.splice(0)) go();
    },
    /** Sessions that the group blocks. */
    blocked: () => JSON.stringify(group.rules).match(/(?<=[(:|])[A-Za-z0-9]{12}(?=[|)])/g) ?? [],
  };
}

describe('the rule group follows the list', () => {
  test('what is revoked is blocked; an empty list clears the group', async () => {
    const { list, publisher, blocked, group } = await world();
    list.push(manual(A));
    expect(await publisher.publish(change(A))).toEqual({ published: 1, omitted: [] });
    expect(blocked()).toEqual([A]);
    list.length = 0;
    expect(await publisher.reconcile()).toEqual({ published: 0, omitted: [] });
    expect(group.rules).toEqual([]);
  });

  test('what the rules use is reported at each publication: when they stay the same, and of longer ids too', async () => {
    const { list, publisher, used, updates } = await world({ capacityWcu: 9 });
    await publisher.reconcile();
    list.push(manual(A));
    await publisher.publish(change(A));
    await publisher.reconcile();
    expect([used, updates.length]).toEqual([[0, 3, 3], 1]);
    // Two of 64 characters fill an expression, where fourteen of 12 have room.
    list.push(...[...'DEFGHIJ'].map((letter) => manual(letter.repeat(64))));
    expect((await publisher.reconcile()).omitted).toHaveLength(1);
    expect(used.at(-1)).toBe(9);
  });

  test('nothing is written when nothing changed, whatever the order of the list', async () => {
    const { list, publisher, updates } = await world();
    list.push(manual(A), auto(B, 2), auto(C, 2));
    await publisher.reconcile();
    list.reverse();
    await publisher.reconcile();
    await publisher.publish(change(A));
    expect(updates).toHaveLength(1);
  });

  test('what WAF cannot tell from a path is left to the edge function', async () => {
    const { list, publisher, blocked } = await world();
    list.push({ ...manual('aurora0aurora'), kind: 'asset' }, { ...manual(B), kind: 'subject' }, manual(A));
    list.push({ ...manual('all'), kind: 'sessions-before', before: 5 });
    expect(await publisher.reconcile()).toEqual({ published: 1, omitted: [] });
    expect(blocked()).toEqual([A]);
  });

  test('a change that is about no session asks WAF for nothing', async () => {
    const { list, publisher, updates, faults } = await world();
    list.push(manual(A));
    await publisher.reconcile();
    faults.get.push({ before: 'ERR_RULE_GROUP_DENIED' });
    expect(await publisher.publish([{ kind: 'asset', id: 'aurora' }])).toEqual({ published: 1, omitted: [] });
    expect(updates).toHaveLength(1);
  });

  test('what the console did to our rules is put right', async () => {
    const { list, publisher, group, blocked } = await world();
    list.push(manual(A));
    await publisher.reconcile();
    const counting = structuredClone(group.rules).map((rule) => ({ ...rule, Action: { Count: {} } }));
    await group.update(counting, (await group.get()).lockToken);
    await publisher.reconcile();
    expect(JSON.stringify(group.rules)).not.toContain('Count');
    expect(blocked()).toEqual([A]);
  });

  test('fields that the service adds are no change', async () => {
    const { list, publisher, updates, group } = await world();
    list.push(manual(A));
    await publisher.reconcile();
    const more = group.rules.map((rule) => ({ ...rule, RuleLabels: [] }));
    await group.update(more, (await group.get()).lockToken);
    await publisher.reconcile();
    expect(updates).toHaveLength(1);
  });

  test('manual ones first, then the newest; what does not fit is named, and gets its place when others go', async () => {
    const { list, publisher, blocked } = await world({ capacityWcu: 3 });
    const older = Array.from({ length: 12 }, (_, i) => auto(`S${i.toString(36).padStart(11, '0')}`, 100 - i));
    list.push(...older, auto(A, 200), manual(B, 2), manual(C, 1));
    const report = await publisher.reconcile();
    expect(report.published).toBe(14);
    expect(report.omitted).toEqual([{ kind: 'session', id: older.at(-1)?.id }]);
    expect(blocked().slice(0, 3)).toEqual([B, C, A]);
    list.splice(
      list.findIndex(({ id }) => id === A),
      1,
    );
    expect(await publisher.reconcile()).toEqual({ published: 14, omitted: [] });
  });

  test('an id on the list that is no session id is named, and the others are blocked', async () => {
    const { list, publisher, blocked } = await world();
    list.push(manual('a|.*'), manual(A));
    expect(await publisher.reconcile()).toEqual({ published: 1, omitted: [{ kind: 'session', id: 'a|.*' }] });
    expect(blocked()).toEqual([A]);
  });

  test('a group with a rule of somebody else is left alone', async () => {
    const { list, publisher, group } = await world();
    list.push(manual(A));
    await publisher.reconcile();
    const theirs = [...structuredClone(group.rules), { ...group.rules[0], Name: 'rate-limit', Priority: 9 } as Rule];
    await group.update(theirs, (await group.get()).lockToken);
    list.push(manual(B));
    await expect(publisher.reconcile()).rejects.toMatchObject({ code: 'ERR_RULE_GROUP_FOREIGN' });
    expect(group.rules).toEqual(theirs);
  });
});

describe('one update a second', () => {
  test('what changes within the second goes out together in the next update', async () => {
    const { list, publisher, updates, blocked, hold, release, waits } = await world();
    hold();
    list.push(manual(A));
    await publisher.publish(change(A));
    const later = [B, C].map((id) => {
      list.push(manual(id));
      return publisher.publish(change(id));
    });
    const reconciled = publisher.reconcile();
    expect(updates).toHaveLength(1);
    release();
    await Promise.all([...later, reconciled]);
    expect(updates).toHaveLength(2);
    expect(blocked().sort()).toEqual([A, B, C]);
    expect(waits.every((milliseconds) => milliseconds >= 1000)).toBe(true);
  });

  test('what changes while an update is under way is not lost', async () => {
    const { list, publisher, faults, updates, blocked } = await world();
    let second: Promise<unknown> | undefined;
    faults.update.push({
      meanwhile: async () => {
        list.push(manual(B));
        second = publisher.publish(change(B));
      },
    });
    list.push(manual(A));
    await publisher.publish(change(A));
    expect(blocked()).toEqual([A]);
    await second;
    expect(blocked().sort()).toEqual([A, B]);
    expect(updates).toHaveLength(2);
  });
});

describe('faults', () => {
  test('somebody else changed the group meanwhile: read again, the list too', async () => {
    const { list, publisher, faults, group, blocked } = await world();
    list.push(manual(A));
    faults.update.push({
      meanwhile: async () => {
        list.push(manual(B));
        await group.update([], (await group.get()).lockToken);
      },
    });
    expect(await publisher.reconcile()).toEqual({ published: 2, omitted: [] });
    expect(blocked().sort()).toEqual([A, B]);
  });

  test('throttling and faults of the service are waited out, longer each time', async () => {
    const { list, publisher, faults, blocked, waits } = await world();
    list.push(manual(A));
    faults.get.push({ before: 'ERR_RULE_GROUP_THROTTLED' }, { before: 'ERR_RULE_GROUP_UNAVAILABLE' });
    faults.update.push({ before: 'ERR_RULE_GROUP_THROTTLED' });
    await publisher.reconcile();
    expect(blocked()).toEqual([A]);
    // Before each new attempt from half of a second, two, four; and a second after each update that was asked for.
    const backOff = waits.filter((milliseconds) => milliseconds !== 1000);
    expect(backOff).toHaveLength(3);
    for (const [i, milliseconds] of backOff.entries()) {
      expect(milliseconds).toBeGreaterThanOrEqual(500 * 2 ** i);
      expect(milliseconds).toBeLessThanOrEqual(1000 * 2 ** i);
    }
  });

  test('a reply that was lost: what took effect is not written again', async () => {
    const { list, publisher, faults, updates, blocked } = await world();
    list.push(manual(A));
    faults.update.push({ after: 'ERR_RULE_GROUP_UNAVAILABLE' });
    expect(await publisher.reconcile()).toEqual({ published: 1, omitted: [] });
    expect(updates).toHaveLength(1);
    expect(blocked()).toEqual([A]);
  });

  test('a service that goes on failing is reported, and the next reconciliation makes up for it', async () => {
    const { list, publisher, faults, updates, blocked } = await world();
    list.push(manual(A));
    faults.get.push(...Array.from({ length: 5 }, () => ({ before: 'ERR_RULE_GROUP_THROTTLED' as const })));
    await expect(publisher.publish(change(A))).rejects.toMatchObject({ code: 'ERR_RULE_GROUP_THROTTLED' });
    expect(updates).toEqual([]);
    await publisher.reconcile();
    expect(blocked()).toEqual([A]);
  });

  test('what no further attempt would change is reported at once', async () => {
    const { list, publisher, faults, waits } = await world();
    list.push(manual(A));
    faults.get.push({ before: 'ERR_RULE_GROUP_DENIED' });
    await expect(publisher.reconcile()).rejects.toMatchObject({ code: 'ERR_RULE_GROUP_DENIED' });
    expect(waits).toEqual([]);
  });

  test('a list that cannot be read changes nothing: the group is not emptied', async () => {
    const { list, publisher, path, blocked, updates } = await world();
    list.push(manual(A));
    await publisher.reconcile();
    const unreadable = ruleGroupPublisher(
      () => Promise.reject(new Error('DynamoDB is not there')),
      await FileRuleGroup.open(path, 300),
      { tokenPrefix: '/', allowedOrigins: ['*'], sleep: async () => {} },
    );
    await expect(unreadable.reconcile()).rejects.toThrow('DynamoDB is not there');
    expect([blocked(), updates.length]).toEqual([[A], 1]);
  });

  test('who dies before the update, or right after it, leaves it to the next process', async () => {
    for (const fault of [{ before: 'ERR_RULE_GROUP_REFUSED' }, { after: 'ERR_RULE_GROUP_REFUSED' }] as const) {
      const first = await world();
      first.list.push(manual(A));
      first.faults.update.push(fault);
      await expect(first.publisher.reconcile()).rejects.toThrow();
      const second = await world({ path: first.path });
      second.list.push(manual(A));
      await second.publisher.reconcile();
      expect(second.blocked()).toEqual([A]);
    }
  });
});
