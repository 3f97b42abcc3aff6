import * as v from 'valibot';
import { expect, test } from 'vitest';
import { RULE_GROUP_LIMITS } from '../../../revocation/publish/rule-group-limits.ts';
import { ruleGroupName, WafSettingsSchema } from '../../../revocation/publish/settings.ts';

/** AWS WAF API Reference, CreateRuleGroup: the name, and that of its metric. */
const AWS_NAME = /^[\w-]{1,128}$/;

test.each([
  ['x', true],
  ['portcullis-revoked_sessions', true],
  ['x'.repeat(123), true],
  ['x'.repeat(124), false],
  ['', false],
  ['revoked sessions', false],
  ['gesperrt-ü', false],
  ['a/b', false],
  ['name\n', false],
])('rule group %j: %s', (name, isTaken) => {
  const { success, output } = v.safeParse(WafSettingsSchema, { name });
  expect(success).toBe(isTaken);
  if (!success) return;
  // With the capacity that a deployment appends it is still a name.
  for (const capacityWcu of [1, output.capacityWcu, RULE_GROUP_LIMITS.capacityWcu]) {
    expect(ruleGroupName({ name: output.name, capacityWcu })).toMatch(AWS_NAME);
  }
});

test.each([
  [1, true],
  [RULE_GROUP_LIMITS.capacityWcu, true],
  [0, false],
  [RULE_GROUP_LIMITS.capacityWcu + 1, false],
  [1.5, false],
  ['1500', false],
])('a capacity of %s WCU: %s', (capacityWcu, isTaken) => {
  expect(v.safeParse(WafSettingsSchema, { capacityWcu }).success).toBe(isTaken);
});
