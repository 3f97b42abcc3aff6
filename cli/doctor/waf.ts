import { GetRuleGroupCommand, ListRuleGroupsCommand, WAFV2Client } from '@aws-sdk/client-wafv2';
import { EDGE_REGION } from '../../config/deployment.ts';
import type { WafSettings } from '../../revocation/publish/settings.ts';
import { CLIENT } from './client.ts';
import { type Finding, failed, ok } from './finding.ts';

/** Whether the rule group of a deployment has the capacity of the settings: it cannot be changed (AWS WAF API, CreateRuleGroup). */
export async function ruleGroupCapacity(settings: WafSettings, region: string): Promise<Finding> {
  const { scope, capacityWcu } = settings;
  const name = `${settings.name}-${capacityWcu}`;
  const client = new WAFV2Client({ ...CLIENT, region: scope === 'CLOUDFRONT' ? EDGE_REGION : region });
  const id = await ruleGroupId(client, name, scope);
  if (id === undefined) return ok(`${name} is not there yet: deployed with ${capacityWcu} WCU`);
  const { RuleGroup } = await client.send(new GetRuleGroupCommand({ Name: name, Scope: scope, Id: id }));
  const { Capacity } = RuleGroup ?? {};
  if (Capacity === capacityWcu) return ok(`${name} has ${Capacity} WCU`);
  return failed(
    `${name} has ${Capacity} WCU, which never change: set revocation.waf.capacityWcu to that, or choose another name`,
  );
}

/** The id of the group of that name, undefined when there is none. */
async function ruleGroupId(
  client: WAFV2Client,
  name: string,
  scope: WafSettings['scope'],
): Promise<string | undefined> {
  let NextMarker: string | undefined;
  do {
    const page = await client.send(new ListRuleGroupsCommand({ Scope: scope, Limit: 100, NextMarker }));
    const found = page.RuleGroups?.find((group) => group.Name === name);
    if (found) return found.Id;
    NextMarker = page.NextMarker;
  } while (NextMarker);
  return undefined;
}
