import { setTimeout as sleep } from 'node:timers/promises';
import { type EdgeSettings, tokenPrefix } from '../edge-functions/build/settings.ts';
import type { RevocationList } from '../revocation/list/revocation-list.ts';
import type { RevocationPublisher } from '../revocation/publish/revocation-publisher.ts';
import { FileRuleGroup } from '../revocation/publish/rule-group-file.ts';
import { ruleGroupPublisher } from '../revocation/publish/rule-group-publisher.ts';
import type { WafSettings } from '../revocation/publish/settings.ts';
import type { DataDirectory } from './data-directory.ts';
import { liveRuleGroup, type RuleGroup } from './edge/rule-group.ts';

/** File of the rule group that revoked sessions are published to, as GetRuleGroup answers it. */
const RULE_GROUP_FILE = 'revoked-sessions.json';

export interface SessionRules {
  publisher: RevocationPublisher;
  /** What the edge evaluates: the rules as they were published last. */
  ruleGroup: RuleGroup;
}

/**
 * Publishes revoked sessions as on AWS, into a rule group in a file of the data directory. `now`: seconds since the epoch.
 * Rejects with `RuleGroupError` or `StackError`.
 */
export async function openSessionRules(
  data: DataDirectory,
  list: RevocationList,
  edge: EdgeSettings,
  waf: WafSettings,
  now: () => number,
): Promise<SessionRules> {
  const group = await FileRuleGroup.open(data.path(RULE_GROUP_FILE), waf.capacityWcu);
  const publisher = ruleGroupPublisher(() => list.active(now()), group, {
    tokenPrefix: tokenPrefix(edge),
    allowedOrigins: edge.allowedOrigins,
    sleep,
  });
  return { publisher, ruleGroup: liveRuleGroup(() => group.rules) };
}
