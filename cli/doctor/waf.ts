import { GetRuleGroupCommand, WAFV2Client } from '@aws-sdk/client-wafv2';
import { EDGE_REGION } from '../../config/deployment.ts';
import { ruleGroupName, type WafSettings } from '../../revocation/publish/settings.ts';
import { findRuleGroup } from '../../revocation/publish/waf.ts';
import { CLIENT } from './client.ts';
import { type Finding, failed, ok } from './finding.ts';

/** Whether the rule group of a deployment has the capacity of the settings: it cannot be changed (AWS WAF API, CreateRuleGroup). */
export async function ruleGroupCapacity(settings: WafSettings, region: string): Promise<Finding> {
  const { scope, capacityWcu } = settings;
  const name = ruleGroupName(settings);
  const client = new WAFV2Client({ ...CLIENT, region: scope === 'CLOUDFRONT' ? EDGE_REGION : region });
  const found = await findRuleGroup(client, name, scope);
  if (!found) return ok(`${name} is not there yet: deployed with ${capacityWcu} WCU`);
  const { RuleGroup } = await client.send(new GetRuleGroupCommand({ Name: name, Scope: scope, Id: found.id }));
  const { Capacity } = RuleGroup ?? {};
  if (Capacity === capacityWcu) return ok(`${name} has ${Capacity} WCU`);
  return failed(
    `${name} has ${Capacity} WCU, which never change: set revocation.waf.capacityWcu to that, or choose another name`,
  );
}
