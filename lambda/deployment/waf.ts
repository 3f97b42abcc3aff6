import {
  CreateRuleGroupCommand,
  DeleteRuleGroupCommand,
  GetRuleGroupCommand,
  ListRuleGroupsCommand,
  type ListRuleGroupsCommandOutput,
  type RuleGroupSummary,
  type Scope,
  type WAFV2Client,
} from '@aws-sdk/client-wafv2';

/** A rule group as a template describes it. */
export interface RuleGroupDescription {
  name: string;
  scope: Scope;
  capacityWcu: number;
}

/** Where a rule group is. */
export interface FoundRuleGroup {
  name: string;
  id: string;
  arn: string;
}

const ATTEMPTS = 5;

/** A capacity is for good, so a group of another one is another group: the name says which. */
export function ruleGroupName({ name, capacityWcu }: Pick<RuleGroupDescription, 'name' | 'capacityWcu'>): string {
  return `${name}-${capacityWcu}`;
}

/**
 * The rule group of this name, scope and capacity, made when there is none; one that is there keeps its rules (AWS WAF API Reference:
 * ListRuleGroups, CreateRuleGroup). Rejects with what the client rejects with.
 */
export async function makeRuleGroup(client: WAFV2Client, group: RuleGroupDescription): Promise<FoundRuleGroup> {
  const found = await findRuleGroup(client, group);
  if (found) return found;
  const Name = ruleGroupName(group);
  const create = new CreateRuleGroupCommand({
    ...{ Name, Scope: group.scope, Capacity: group.capacityWcu },
    Description: 'Revoked sessions, written by Portcullis: changes of others are undone',
    VisibilityConfig: {
      // Samples hold paths, and those hold tokens.
      ...{ SampledRequestsEnabled: false, CloudWatchMetricsEnabled: true, MetricName: Name },
    },
  });
  try {
    const { Summary } = await client.send(create);
    return placeOf(Summary);
  } catch (error) {
    // Made by a call whose reply was lost.
    const made = (error as Error).name === 'WAFDuplicateItemException' && (await findRuleGroup(client, group));
    if (made) return made;
    throw error;
  }
}

/** The rule group that `makeRuleGroup` made, if any. WAF tells of an id by listing only. */
export async function findRuleGroup(
  client: WAFV2Client,
  group: RuleGroupDescription,
): Promise<FoundRuleGroup | undefined> {
  const name = ruleGroupName(group);
  let NextMarker: string | undefined;
  do {
    const page: ListRuleGroupsCommandOutput = await client.send(
      new ListRuleGroupsCommand({ Scope: group.scope, Limit: 100, ...(NextMarker !== undefined && { NextMarker }) }),
    );
    const summary = page.RuleGroups?.find(({ Name }) => Name === name);
    if (summary) return placeOf(summary);
    NextMarker = page.NextMarker;
  } while (NextMarker);
  return undefined;
}

/**
 * Deletes a rule group by its ARN; resolves to whether it did: one that a web ACL refers to stays (AWS WAF API Reference,
 * DeleteRuleGroup).
 */
export async function deleteRuleGroup(client: WAFV2Client, arn: string): Promise<boolean> {
  const [, place = '', Name = '', Id = ''] = /:(global|regional)\/rulegroup\/([^/]+)\/([^/]+)$/.exec(arn) ?? [];
  if (Name === '') return true;
  const group = { Name, Id, Scope: place === 'global' ? ('CLOUDFRONT' as const) : ('REGIONAL' as const) };
  for (let attempt = 1; ; attempt++) {
    try {
      const { LockToken } = await client.send(new GetRuleGroupCommand(group));
      await client.send(new DeleteRuleGroupCommand({ ...group, LockToken }));
      return true;
    } catch (error) {
      const { name } = error as Error;
      if (name === 'WAFNonexistentItemException') return true;
      if (name === 'WAFAssociatedItemException') return false;
      if (name !== 'WAFOptimisticLockException' || attempt === ATTEMPTS) throw error;
    }
  }
}

function placeOf({ Name = '', Id = '', ARN = '' }: RuleGroupSummary = {}): FoundRuleGroup {
  return { name: Name, id: Id, arn: ARN };
}
