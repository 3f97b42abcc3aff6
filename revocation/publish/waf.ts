import {
  GetRuleGroupCommand,
  type GetRuleGroupCommandOutput,
  ListRuleGroupsCommand,
  type ListRuleGroupsCommandOutput,
  type RuleGroup,
  type RuleGroupSummary,
  type Scope,
  UpdateRuleGroupCommand,
  WAFV2Client,
} from '@aws-sdk/client-wafv2';
import { type AwsFailure, awsFailure } from '../../edge-functions/store/aws-failure.ts';
import { RuleGroupError, type RuleGroupErrorCode, type RuleGroupStore } from './rule-group-store.ts';

/** Which rule group. */
export interface WafRuleGroup {
  name: string;
  /** As CreateRuleGroup and ListRuleGroups give it. */
  id: string;
  /** `CLOUDFRONT` for a distribution. */
  scope: Scope;
}

const MISSING = 'there is no such rule group: check its name, id, scope and account';

/** Where a rule group is. */
export interface FoundRuleGroup {
  name: string;
  id: string;
  arn: string;
}

const CODES: Record<AwsFailure['cause'], RuleGroupErrorCode> = {
  credentials: 'ERR_RULE_GROUP_CREDENTIALS',
  denied: 'ERR_RULE_GROUP_DENIED',
  throttled: 'ERR_RULE_GROUP_THROTTLED',
  unreachable: 'ERR_RULE_GROUP_UNAVAILABLE',
  failed: 'ERR_RULE_GROUP_UNAVAILABLE',
  refused: 'ERR_RULE_GROUP_REFUSED',
  answer: 'ERR_RULE_GROUP_REFUSED',
};

/**
 * A rule group of AWS WAF: GetRuleGroup and UpdateRuleGroup (AWS WAF API Reference). Changes reach all edge locations in
 * seconds to minutes. Throttling and faults are reported once the client has tried as often as it is set to. What it rejects
 * with quotes nothing of the rules.
 */
export function wafRuleGroup(client: WAFV2Client, { name, id, scope }: WafRuleGroup): RuleGroupStore {
  const refuse = (error: unknown): never => {
    throw translated(error, name);
  };
  const read = async () => {
    const input = { Name: name, Id: id, Scope: scope };
    const { RuleGroup: group, LockToken: lockToken }: GetRuleGroupCommandOutput = await client
      .send(new GetRuleGroupCommand(input))
      .catch(refuse);
    if (!group || !lockToken || group.Capacity === undefined) {
      throw new RuleGroupError('ERR_RULE_GROUP_REFUSED', `rule group ${name}: what answered is not AWS WAF`);
    }
    return { group, lockToken, capacityWcu: group.Capacity };
  };
  let latest: RuleGroup | undefined;
  return {
    async get() {
      const { group, lockToken, capacityWcu } = await read();
      latest = group;
      return { rules: group.Rules ?? [], lockToken, capacityWcu };
    },
    async update(rules, lockToken) {
      latest ??= (await read()).group;
      // An update replaces all of the group: what it leaves out is gone.
      const { VisibilityConfig, Description, CustomResponseBodies } = latest;
      await client
        .send(
          new UpdateRuleGroupCommand({
            ...{ Name: name, Id: id, Scope: scope, LockToken: lockToken, Rules: rules, VisibilityConfig },
            ...(Description ? { Description } : {}),
            ...(CustomResponseBodies ? { CustomResponseBodies } : {}),
          }),
        )
        .catch(refuse);
    },
  };
}

/** The rule group of a name, if there is one: WAF tells of an id by listing only (ListRuleGroups). Rejects with what the client rejects with. */
export async function findRuleGroup(
  client: WAFV2Client,
  name: string,
  scope: Scope,
): Promise<FoundRuleGroup | undefined> {
  for await (const { Name, Id, ARN } of listRuleGroups(client, scope)) {
    if (Name === name && Id !== undefined && ARN !== undefined) return { name, id: Id, arn: ARN };
  }
  return undefined;
}

/** All rule groups of an account, page after page (AWS WAF API Reference, ListRuleGroups). Rejects with what the client rejects with. */
export async function* listRuleGroups(client: WAFV2Client, scope: Scope): AsyncGenerator<RuleGroupSummary> {
  let NextMarker: string | undefined;
  do {
    const page: ListRuleGroupsCommandOutput = await client.send(
      new ListRuleGroupsCommand({ Scope: scope, Limit: 100, ...(NextMarker !== undefined && { NextMarker }) }),
    );
    yield* page.RuleGroups ?? [];
    NextMarker = page.NextMarker;
  } while (NextMarker);
}

/**
 * A rule group of AWS WAF by its name alone. Its id is looked up once, and anew when there is no group of that id any more: one
 * that was deleted and made again has another.
 */
export function namedRuleGroup(client: WAFV2Client, { name, scope }: Omit<WafRuleGroup, 'id'>): RuleGroupStore {
  let known: RuleGroupStore | undefined;
  const group = async () => {
    if (known) return known;
    const found = await findRuleGroup(client, name, scope).catch((error) => {
      throw translated(error, name);
    });
    if (!found) throw new RuleGroupError('ERR_RULE_GROUP_MISSING', `rule group ${name}: ${MISSING}`);
    known = wafRuleGroup(client, { name, id: found.id, scope });
    return known;
  };
  const forget = (error: unknown) => {
    if (error instanceof RuleGroupError && error.code === 'ERR_RULE_GROUP_MISSING') known = undefined;
    throw error;
  };
  return {
    get: async () => (await group()).get().catch(forget),
    update: async (rules, lockToken) => (await group()).update(rules, lockToken).catch(forget),
  };
}

/** A client for the account of the environment; rule groups of scope `CLOUDFRONT` are in us-east-1 (API Reference). */
export function wafClient(scope: Scope): WAFV2Client {
  return new WAFV2Client(scope === 'CLOUDFRONT' ? { region: 'us-east-1' } : {});
}

function translated(error: unknown, group: string): unknown {
  const fail = (code: RuleGroupErrorCode, message: string) =>
    new RuleGroupError(code, `rule group ${group}: ${message}`);
  const { name } = error as Error;
  if (name === 'WAFOptimisticLockException') {
    return fail('ERR_RULE_GROUP_CONFLICT', 'somebody else changed it meanwhile');
  }
  if (name === 'WAFNonexistentItemException') {
    return fail('ERR_RULE_GROUP_MISSING', MISSING);
  }
  if (name === 'WAFLimitsExceededException') {
    return fail('ERR_RULE_GROUP_LIMIT', 'the rules pass a quota of AWS WAF: see the quotas of the account');
  }
  if (name === 'WAFUnavailableEntityException') {
    return fail('ERR_RULE_GROUP_UNAVAILABLE', 'it is not to be had just now: try again in a minute');
  }
  const failure = awsFailure(
    error,
    'AWS WAF',
    'wafv2:GetRuleGroup and wafv2:UpdateRuleGroup on it, wafv2:ListRuleGroups on *',
  );
  if (!failure) return error;
  // One of the names in the API Reference, such as STATEMENT; the parameter itself may be a session id.
  const { Field } = error as { Field?: string };
  return fail(CODES[failure.cause], `${failure.advice} (${failure.detail}${Field ? `, field ${Field}` : ''})`);
}
