import type { RevocationEntry } from '../list/revocation-list.ts';
import { coalesced } from './coalesced.ts';
import type { PublishReport, RevocationPublisher } from './revocation-publisher.ts';
import { compileSessions, isOwnRule, type RuleGroupOptions } from './rule-group.ts';
import { RuleGroupError, type RuleGroupStore } from './rule-group-store.ts';

export interface RuleGroupPublisherOptions extends Omit<RuleGroupOptions, 'capacityWcu'> {
  /** Waits, in milliseconds. */
  sleep: (milliseconds: number) => Promise<unknown>;
  /** Told what the rules use of the capacity, in WCU, whenever the group has them. */
  reportUsed?: (wcu: number) => void;
}

/** UpdateRuleGroup may be called once a second (AWS WAF Developer Guide, "AWS WAF quotas"). */
const UPDATE_EVERY_MS = 1000;
const ATTEMPTS = 5;
/** What may be otherwise at the next attempt. */
const PASSING = new Set(['ERR_RULE_GROUP_CONFLICT', 'ERR_RULE_GROUP_THROTTLED', 'ERR_RULE_GROUP_UNAVAILABLE']);

/**
 * Keeps a rule group equal to the revoked sessions. WAF knows neither asset nor start of a session, so it blocks nothing else
 * of the list. What is asked for while an update is under way, or less than a second after one, goes out together in the
 * next. `active` resolves to the entries of the list that hold now; when not all sessions fit, manual ones come first, then
 * the newest. Those that are omitted have no room, or are no session ids of ours.
 *
 * Rejects with `RuleGroupError`, and with whatever `active` rejects with. The group has to be ours alone:
 * `ERR_RULE_GROUP_FOREIGN` when it holds rules of anybody else.
 */
export function ruleGroupPublisher(
  active: () => Promise<RevocationEntry[]>,
  group: RuleGroupStore,
  options: RuleGroupPublisherOptions,
): RevocationPublisher {
  let mayUpdate: Promise<unknown> = Promise.resolve();
  let latest: PublishReport = { published: 0, omitted: [] };

  const once = async (): Promise<PublishReport> => {
    await mayUpdate;
    const { rules, lockToken, capacityWcu } = await group.get();
    const foreign = rules.find((rule) => !isOwnRule(rule));
    if (foreign) {
      const advice = 'give Portcullis a rule group of its own, since it replaces all the rules';
      throw new RuleGroupError('ERR_RULE_GROUP_FOREIGN', `the rule '${foreign.Name}' is not ours: ${advice}`);
    }
    // After the lock token: what is newer than this reading has a newer token too.
    const sessions = (await active()).filter(({ kind }) => kind === 'session').sort(byImportance);
    const compiled = compileSessions(
      sessions.map(({ id }) => id),
      { ...options, capacityWcu },
    );
    if (!holds(compiled.rules, rules)) {
      try {
        await group.update(compiled.rules, lockToken);
      } finally {
        mayUpdate = options.sleep(UPDATE_EVERY_MS);
      }
    }
    const { included, dropped } = compiled;
    options.reportUsed?.(compiled.capacityWcu);
    return { published: included.length, omitted: dropped.map((id) => ({ kind: 'session', id })) };
  };
  const reconcile = coalesced(async (): Promise<PublishReport> => {
    for (let attempt = 1; ; attempt++) {
      try {
        latest = await once();
        return latest;
      } catch (error) {
        const passing = error instanceof RuleGroupError && PASSING.has(error.code);
        if (!passing || attempt === ATTEMPTS) throw error;
        // Not in step with others who were throttled, or overtaken, at the same time.
        await options.sleep(UPDATE_EVERY_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2));
      }
    }
  });
  return {
    publish: async (changed) => (changed.some(({ kind }) => kind === 'session') ? reconcile() : latest),
    reconcile,
  };
}

function byImportance(a: RevocationEntry, b: RevocationEntry): number {
  if (a.source !== b.source) return a.source === 'manual' ? -1 : 1;
  // By id at last, so that equal lists make equal rules.
  return b.revokedAt - a.revokedAt || (a.id < b.id ? -1 : 1);
}

/** Whether `actual` has all that is in `expected`: services add fields of their own. */
function holds(expected: unknown, actual: unknown): boolean {
  if (typeof expected !== 'object' || expected === null) return Object.is(expected, actual);
  if (typeof actual !== 'object' || actual === null) return false;
  if (Array.isArray(expected)) {
    const list = actual as unknown[];
    return list.length === expected.length && expected.every((each, i) => holds(each, list[i]));
  }
  return Object.entries(expected).every(([key, value]) => holds(value, (actual as Record<string, unknown>)[key]));
}
