import {
  CreateRuleGroupCommand,
  DeleteRuleGroupCommand,
  GetRuleGroupCommand,
  type Scope,
  type WAFV2Client,
} from '@aws-sdk/client-wafv2';
import { ruleGroupName } from '../../revocation/publish/settings.ts';
import { type FoundRuleGroup, findRuleGroup, listRuleGroups } from '../../revocation/publish/waf.ts';

/** A rule group as a template describes it. */
export interface RuleGroupDescription {
  name: string;
  scope: Scope;
  capacityWcu: number;
}

const ATTEMPTS = 5;
/** By which a group is known for one of ours, whatever its name. */
const DESCRIPTION = 'Revoked sessions, written by Portcullis: changes of others are undone';

/**
 * The rule group of this name, scope and capacity, made when there is none; one that is there keeps its rules (AWS WAF API Reference:
 * ListRuleGroups, CreateRuleGroup). Rejects with what the client rejects with.
 */
export async function makeRuleGroup(client: WAFV2Client, group: RuleGroupDescription): Promise<FoundRuleGroup> {
  const Name = ruleGroupName(group);
  const found = await findRuleGroup(client, Name, group.scope);
  if (found) return found;
  const create = new CreateRuleGroupCommand({
    ...{ Name, Scope: group.scope, Capacity: group.capacityWcu },
    Description: DESCRIPTION,
    VisibilityConfig: {
      // Samples hold paths, and those hold tokens.
      ...{ SampledRequestsEnabled: false, CloudWatchMetricsEnabled: true, MetricName: Name },
    },
  });
  try {
    const { Summary } = await client.send(create);
    return { name: Name, id: Summary?.Id ?? '', arn: Summary?.ARN ?? '' };
  } catch (error) {
    // Made by a call whose reply was lost.
    const made =
      (error as Error).name === 'WAFDuplicateItemException' && (await findRuleGroup(client, Name, group.scope));
    if (made) return made;
    throw error;
  }
}

/** Names of groups of ours but for the present one: of an earlier name or capacity. Rejects with what the client rejects with. */
export async function earlierRuleGroups(client: WAFV2Client, scope: Scope, present?: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { Name = '', Description } of listRuleGroups(client, scope)) {
    if (Description === DESCRIPTION && Name !== present) names.push(Name);
  }
  return names;
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
