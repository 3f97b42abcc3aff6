import { compileSessions, isOwnRule, type RuleGroupOptions } from './rule-group.ts';
import { RuleGroupError, type RuleGroups } from './rule-groups.ts';

/** A revoked session of the list. */
export interface RevokedSession {
  id: string;
  source: 'manual' | 'auto';
  /** Seconds since the epoch. */
  revokedAt: number;
}

/** What the rule group enforces now. */
export interface RuleGroupReport {
  /** Sessions that are blocked. */
  published: number;
  /** Sessions on the list that are not, the most important first: there is no room, or the id is no session id. */
  omitted: { kind: 'session'; id: string }[];
}

export interface RuleGroupPublisherOptions extends Omit<RuleGroupOptions, 'capacityWcu'> {
  /** Waits, in milliseconds. */
  sleep: (milliseconds: number) => Promise<unknown>;
}

/** UpdateRuleGroup may be called once a second (AWS WAF Developer Guide, "AWS WAF quotas"). */
const UPDATE_EVERY_MS = 1000;
const ATTEMPTS = 5;
/** What may be otherwise at the next attempt. */
const PASSING = new Set(['ERR_RULE_GROUP_CONFLICT', 'ERR_RULE_GROUP_THROTTLED', 'ERR_RULE_GROUP_UNAVAILABLE']);

/**
 * Keeps a rule group equal to the revoked sessions: a `RevocationPublisher`. WAF sees the path of a request alone, so sessions
 * are all that it can block. What is asked for while an update is under way, or less than a second after one, goes out
 * together in the next. `sessions` resolves to the revoked sessions, in any order; when they do not all fit, manual ones come
 * first, then the newest.
 *
 * Rejects with `RuleGroupError`, and with whatever `sessions` rejects with; the next call makes up for it. The group has to be
 * ours alone: `ERR_RULE_GROUP_FOREIGN` when it holds rules of anybody else.
 */
export function ruleGroupPublisher(
  group: RuleGroups,
  sessions: () => Promise<RevokedSession[]>,
  options: RuleGroupPublisherOptions,
) {
  let running: Promise<unknown> = Promise.resolve();
  let waiting: Promise<RuleGroupReport> | undefined;
  let mayUpdate: Promise<unknown> = Promise.resolve();
  let latest: RuleGroupReport = { published: 0, omitted: [] };

  const once = async (): Promise<RuleGroupReport> => {
    await mayUpdate;
    const { rules, lockToken, capacityWcu } = await group.get();
    const foreign = rules.find((rule) => !isOwnRule(rule));
    if (foreign) {
      const advice = 'give Portcullis a rule group of its own, since it replaces all the rules';
      throw new RuleGroupError('ERR_RULE_GROUP_FOREIGN', `the rule '${foreign.Name}' is not ours: ${advice}`);
    }
    // After the lock token: what is newer than this reading has a newer token too.
    const ids = (await sessions()).sort(byImportance).map(({ id }) => id);
    const compiled = compileSessions(ids, { ...options, capacityWcu });
    if (!holds(compiled.rules, rules)) {
      try {
        await group.update(compiled.rules, lockToken);
      } finally {
        mayUpdate = options.sleep(UPDATE_EVERY_MS);
      }
    }
    const { included, dropped } = compiled;
    return { published: included.length, omitted: dropped.map((id) => ({ kind: 'session', id })) };
  };
  const persistently = async (): Promise<RuleGroupReport> => {
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
  };
  const reconcile = (): Promise<RuleGroupReport> => {
    waiting ??= running
      .then(() => mayUpdate)
      .then(() => {
        waiting = undefined;
        const run = persistently();
        running = run.catch(() => undefined);
        return run;
      });
    return waiting;
  };
  return {
    /** Makes the group what the list says when one of the changed entries is a session. */
    publish: async (changed: readonly { kind: string; id: string }[]): Promise<RuleGroupReport> =>
      changed.some(({ kind }) => kind === 'session') ? reconcile() : latest,
    /** Makes the group what the list says: at start, and every minute, so that expired sessions go and give room to others. */
    reconcile,
  };
}

function byImportance(a: RevokedSession, b: RevokedSession): number {
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
