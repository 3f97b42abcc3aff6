import { randomUUID } from 'node:crypto';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateRuleGroupCommand, GetRuleGroupCommand, type Rule, WAFV2Client } from '@aws-sdk/client-wafv2';
import { mockClient } from 'aws-sdk-client-mock';
import { afterAll, describe, expect, test } from 'vitest';
import { compileSessions } from '../../revocation/publish/rule-group.ts';
import { FileRuleGroup } from '../../revocation/publish/rule-group-file.ts';
import { ruleGroupPublisher } from '../../revocation/publish/rule-group-publisher.ts';
import type { RuleGroupStore } from '../../revocation/publish/rule-group-store.ts';
import { wafRuleGroup } from '../../revocation/publish/waf.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
const CAPACITY = 300;

/** An empty group of `CAPACITY`, opened as by another process each time. */
type Open = () => Promise<() => Promise<RuleGroupStore>>;

const openFile: Open = async () => {
  const path = join(scratch, `${randomUUID()}.json`);
  return () => FileRuleGroup.open(path, CAPACITY);
};

const moto = useMoto();
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
/** A client of moto_server, once it is asked for. */
const motoClient = async () => new WAFV2Client(await moto());
async function createWafGroup() {
  const client = await motoClient();
  const name = `group-${randomUUID()}`;
  const { Summary } = await client.send(
    new CreateRuleGroupCommand({
      Name: name,
      Scope: 'CLOUDFRONT',
      Capacity: CAPACITY,
      Description: 'revoked sessions',
      VisibilityConfig: { SampledRequestsEnabled: false, CloudWatchMetricsEnabled: true, MetricName: 'revoked' },
    }),
  );
  return { client, group: { name, id: Summary?.Id ?? '', scope: 'CLOUDFRONT' as const } };
}
const openWaf: Open = async () => {
  const { client, group } = await createWafGroup();
  return async () => wafRuleGroup(client, group);
};

afterAll(() => {
  removeDirectory(scratch);
});

const compiled = (...ids: string[]): Rule[] =>
  compileSessions(ids, { tokenPrefix: '/', allowedOrigins: ['*'], capacityWcu: CAPACITY }).rules;

/** moto_server 5.2.1 checks no capacity, length, name or priority, and takes an empty list of rules for none given. */
const ADAPTERS: [name: string, open: Open, isHere: boolean, hasQuotas: boolean][] = [
  ['file', openFile, true, true],
  ['AWS WAF (moto_server)', openWaf, HAS_MOTO, false],
];

for (const [name, open, isHere, hasQuotas] of ADAPTERS) {
  describe.skipIf(!isHere)(`RuleGroupStore: ${name}${isHere ? '' : ' (not on the PATH)'}`, () => {
    test('a new group is empty and says its capacity', async () => {
      const group = await (await open())();
      expect(await group.get()).toEqual({ rules: [], lockToken: expect.stringMatching(/./), capacityWcu: CAPACITY });
    });

    test('an update replaces all the rules', async () => {
      const reopen = await open();
      for (const rules of [compiled('AbCdEf123456'), compiled('ZZZZZZ123456', 'YYYYYY123456')]) {
        const group = await reopen();
        await group.update(rules, (await group.get()).lockToken);
        expect((await (await reopen()).get()).rules).toEqual(rules);
      }
    });

    test('a lock token holds until the next update, and what comes with an old one changes nothing', async () => {
      const group = await (await open())();
      const { lockToken } = await group.get();
      expect((await group.get()).lockToken).toBe(lockToken);
      await group.update(compiled('AbCdEf123456'), lockToken);
      await expect(group.update(compiled('ZZZZZZ123456'), lockToken)).rejects.toMatchObject({
        name: 'RuleGroupError',
        code: 'ERR_RULE_GROUP_CONFLICT',
      });
      expect((await group.get()).rules).toEqual(compiled('AbCdEf123456'));
    });

    test('of two who update the same state one is refused', async () => {
      const group = await (await open())();
      const { lockToken } = await group.get();
      const others = [compiled('AbCdEf123456'), compiled('ZZZZZZ123456')];
      const outcomes = await Promise.allSettled(others.map((rules) => group.update(rules, lockToken)));
      const refused = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason.code] : []));
      expect(refused).toEqual(['ERR_RULE_GROUP_CONFLICT']);
      expect((await group.get()).rules).toEqual(others[outcomes.findIndex(({ status }) => status === 'fulfilled')]);
    });

    test('the publisher fills it, and finds in another process that nothing is left to do', async () => {
      const reopen = await open();
      const sessions = ['AbCdEf123456', 'ZZZZZZ123456'].map(
        (id) => ({ kind: 'session', id, source: 'manual', reasons: [], by: 'test', revokedAt: 1 }) as const,
      );
      const entries = async () => sessions.map((entry) => ({ ...entry, reasons: [] }));
      const options = { tokenPrefix: '/', allowedOrigins: ['*'], sleep: async () => {} };
      const publisher = ruleGroupPublisher(entries, await reopen(), options);
      expect(await publisher.reconcile()).toEqual({ published: 2, omitted: [] });
      const { lockToken, rules } = await (await reopen()).get();
      expect(rules).toEqual(compiled('AbCdEf123456', 'ZZZZZZ123456'));
      await ruleGroupPublisher(entries, await reopen(), options).reconcile();
      expect((await (await reopen()).get()).lockToken).toBe(lockToken);
    });

    test.runIf(hasQuotas)('an empty list of rules clears it', async () => {
      const group = await (await open())();
      await group.update(compiled('AbCdEf123456'), (await group.get()).lockToken);
      await group.update([], (await group.get()).lockToken);
      expect((await group.get()).rules).toEqual([]);
    });

    test.runIf(hasQuotas)('rules that pass a quota are refused, and those that were there stay', async () => {
      const group = await (await open())();
      const rules = compiled('AbCdEf123456');
      await group.update(rules, (await group.get()).lockToken);
      const ids = Array.from({ length: 1415 }, (_, i) => i.toString(36).padStart(12, 'S'));
      const tooLarge = compileSessions(ids, { tokenPrefix: '/', allowedOrigins: [], capacityWcu: CAPACITY + 3 }).rules;
      for (const bad of [tooLarge, [...rules, ...rules]]) {
        const { lockToken } = await group.get();
        await expect(group.update(bad, lockToken)).rejects.toMatchObject({ code: 'ERR_RULE_GROUP_LIMIT' });
      }
      expect((await group.get()).rules).toEqual(rules);
    });
  });
}

describe('the file', () => {
  test('is readable by its owner alone and has the shape of GetRuleGroup', async () => {
    const path = join(scratch, 'shape.json');
    const group = await FileRuleGroup.open(path, CAPACITY);
    await group.update(compiled('AbCdEf123456'), (await group.get()).lockToken);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
      LockToken: (await group.get()).lockToken,
      RuleGroup: { Capacity: CAPACITY, Rules: compiled('AbCdEf123456') },
    });
  });

  test('of a group with another capacity is another group', async () => {
    const path = join(scratch, 'capacity.json');
    const group = await FileRuleGroup.open(path, CAPACITY);
    await group.update(compiled('AbCdEf123456'), (await group.get()).lockToken);
    expect((await FileRuleGroup.open(path, 1500)).rules).toEqual([]);
  });

  test.each([
    ['half of it', '{"LockToken":', 'ERR_RULE_GROUP_FILE'],
    ['another thing', '[]', 'ERR_RULE_GROUP_FILE'],
    [
      'rules that WAF would not take',
      JSON.stringify({ LockToken: 'x', RuleGroup: { Capacity: 2, Rules: compiled('AbCdEf123456') } }),
      'ERR_RULE_GROUP_LIMIT',
    ],
  ])('with %s is refused', async (_, content, code) => {
    const path = join(scratch, `${randomUUID()}.json`);
    writeFileSync(path, content);
    await expect(FileRuleGroup.open(path, 2)).rejects.toMatchObject({ name: 'RuleGroupError', code });
  });
});

describe.skipIf(!HAS_MOTO)('a group of AWS WAF', () => {
  test('keeps its description and visibility configuration when its rules are replaced', async () => {
    const { client, group } = await createWafGroup();
    const opened = wafRuleGroup(client, group);
    const describe = async () => {
      const { RuleGroup } = await client.send(
        new GetRuleGroupCommand({ Name: group.name, Id: group.id, Scope: group.scope }),
      );
      return { description: RuleGroup?.Description, visibility: RuleGroup?.VisibilityConfig };
    };
    const before = await describe();
    await opened.update(compiled('AbCdEf123456'), (await opened.get()).lockToken);
    expect(await describe()).toEqual(before);
    expect(before.description).toBe('revoked sessions');
  });

  test('that is not there is said to be missing', async () => {
    const { client, group } = await createWafGroup();
    const code = 'ERR_RULE_GROUP_MISSING';
    await expect(wafRuleGroup(client, { ...group, id: randomUUID() }).get()).rejects.toMatchObject({ code });
  });
});

describe('what AWS WAF answers', () => {
  const failing = (error: object) => {
    const client = new WAFV2Client({ region: 'us-east-1', credentials });
    mockClient(client)
      .on(GetRuleGroupCommand)
      .rejects(Object.assign(new Error('^/(?:AbCdEf123456)'), { $metadata: {}, ...error }));
    return wafRuleGroup(client, { name: 'revoked', id: 'i', scope: 'CLOUDFRONT' });
  };

  test.each([
    ['WAFOptimisticLockException', 'client', 'ERR_RULE_GROUP_CONFLICT'],
    ['WAFNonexistentItemException', 'client', 'ERR_RULE_GROUP_MISSING'],
    ['WAFLimitsExceededException', 'client', 'ERR_RULE_GROUP_LIMIT'],
    ['WAFUnavailableEntityException', 'client', 'ERR_RULE_GROUP_UNAVAILABLE'],
    ['WAFInternalErrorException', 'server', 'ERR_RULE_GROUP_UNAVAILABLE'],
    ['ThrottlingException', 'client', 'ERR_RULE_GROUP_THROTTLED'],
    ['AccessDeniedException', 'client', 'ERR_RULE_GROUP_DENIED'],
    ['CredentialsProviderError', undefined, 'ERR_RULE_GROUP_CREDENTIALS'],
    ['WAFInvalidParameterException', 'client', 'ERR_RULE_GROUP_REFUSED'],
    ['TimeoutError', undefined, 'ERR_RULE_GROUP_UNAVAILABLE'],
  ])('%s has a code, and quotes no session', async (name, $fault, code) => {
    const error = await failing({ name, $fault, Field: 'STATEMENT', Parameter: 'AbCdEf123456' })
      .get()
      .catch((caught) => caught);
    expect(error).toMatchObject({ name: 'RuleGroupError', code });
    expect(error.message).not.toContain('AbCdEf');
    expect(error.message).toContain('rule group revoked');
  });

  test('an answer without a group is none of AWS WAF', async () => {
    const client = new WAFV2Client({ region: 'us-east-1', credentials });
    mockClient(client).on(GetRuleGroupCommand).resolves({});
    const group = wafRuleGroup(client, { name: 'revoked', id: 'i', scope: 'CLOUDFRONT' });
    await expect(group.get()).rejects.toMatchObject({ code: 'ERR_RULE_GROUP_REFUSED' });
  });
});
