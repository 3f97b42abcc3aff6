import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { Rule } from '@aws-sdk/client-wafv2';
import * as v from 'valibot';
import writeFileAtomic from 'write-file-atomic';
import { checkRuleGroup } from './rule-group-limits.ts';
import { RuleGroupError, type RuleGroupStore, type StoredRuleGroup } from './rule-group-store.ts';

/** What GetRuleGroup answers (AWS WAF API Reference), as far as it is used here. */
const RuleGroupFile = v.object({
  LockToken: v.string(),
  RuleGroup: v.object({ Capacity: v.number(), Rules: v.array(v.looseObject({ Name: v.string() })) }),
});

/**
 * A rule group in one file (mode 0600), replaced atomically, with the quotas and the lock token of AWS WAF; readers in this
 * process see a change at once.
 */
export class FileRuleGroup implements RuleGroupStore {
  readonly #path: string;
  readonly #capacityWcu: number;
  #rules: Rule[];
  #lockToken: string;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(path: string, { rules, lockToken, capacityWcu }: StoredRuleGroup) {
    this.#path = path;
    this.#capacityWcu = capacityWcu;
    this.#rules = rules;
    this.#lockToken = lockToken;
  }

  /**
   * Opens the group at `path`, or an empty one. The capacity of a group is for good, so with another one it is another
   * group, and empty. Rejects with `ERR_RULE_GROUP_FILE` or `ERR_RULE_GROUP_LIMIT`.
   */
  static async open(path: string, capacityWcu: number): Promise<FileRuleGroup> {
    const empty = { rules: [], lockToken: randomUUID(), capacityWcu };
    const stored = existsSync(path) ? await readRuleGroupFile(path) : empty;
    return new FileRuleGroup(path, stored.capacityWcu === capacityWcu ? stored : empty);
  }

  /** The rules as the edge has them now: another array after each change. */
  get rules(): Rule[] {
    return this.#rules;
  }

  async get(): Promise<StoredRuleGroup> {
    return { rules: this.#rules, lockToken: this.#lockToken, capacityWcu: this.#capacityWcu };
  }

  update(rules: Rule[], lockToken: string): Promise<void> {
    const result = this.#writing.then(() => this.#replace(rules, lockToken));
    this.#writing = result.catch(() => undefined);
    return result;
  }

  async #replace(rules: Rule[], lockToken: string): Promise<void> {
    if (lockToken !== this.#lockToken) {
      throw new RuleGroupError('ERR_RULE_GROUP_CONFLICT', 'the rule group was changed by somebody else meanwhile');
    }
    checkRuleGroup(rules, this.#capacityWcu);
    const next = randomUUID();
    const content = { LockToken: next, RuleGroup: { Capacity: this.#capacityWcu, Rules: rules } };
    await writeFileAtomic(this.#path, `${JSON.stringify(content, null, 1)}\n`, { mode: 0o600 });
    this.#rules = structuredClone(rules);
    this.#lockToken = next;
  }
}

async function readRuleGroupFile(path: string): Promise<StoredRuleGroup> {
  const refused = (why: string) =>
    new RuleGroupError('ERR_RULE_GROUP_FILE', `cannot read ${path}: ${why}; without the file the group is made anew`);
  let content: unknown;
  try {
    content = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw refused(error instanceof SyntaxError ? 'it is not JSON' : String((error as NodeJS.ErrnoException).code));
  }
  const parsed = v.safeParse(RuleGroupFile, content);
  if (!parsed.success) throw refused('it is no answer of GetRuleGroup');
  const { LockToken: lockToken, RuleGroup } = parsed.output;
  const rules = RuleGroup.Rules as unknown as Rule[];
  checkRuleGroup(rules, RuleGroup.Capacity);
  return { rules, lockToken, capacityWcu: RuleGroup.Capacity };
}
