import type { Rule } from '@aws-sdk/client-wafv2';

/** A rule group as it is now. */
export interface StoredRuleGroup {
  rules: Rule[];
  /** Names this state; `update` takes it so that nobody overwrites what somebody else wrote meanwhile. */
  lockToken: string;
  /** The capacity that it was created with and has for good, in WCU. */
  capacityWcu: number;
}

/** Where one WAFv2 rule group is kept: all its rules are replaced together. */
export interface RuleGroupStore {
  /** Rejects with `RuleGroupError`. */
  get(): Promise<StoredRuleGroup>;
  /**
   * Replaces the rules if the group is still in the state that `lockToken` names. Rejects with `RuleGroupError`:
   * `ERR_RULE_GROUP_CONFLICT` when it is not, `ERR_RULE_GROUP_LIMIT` when the rules pass a quota; after
   * `ERR_RULE_GROUP_UNAVAILABLE` they may have been replaced or not.
   */
  update(rules: Rule[], lockToken: string): Promise<void>;
}

export type RuleGroupErrorCode =
  /** Somebody else changed the group meanwhile. */
  | 'ERR_RULE_GROUP_CONFLICT'
  /** The rules pass a quota of WAF. */
  | 'ERR_RULE_GROUP_LIMIT'
  /** There are rules in the group that we did not make. */
  | 'ERR_RULE_GROUP_FOREIGN'
  /** The file of a local rule group cannot be read. */
  | 'ERR_RULE_GROUP_FILE'
  /** There is no such rule group. */
  | 'ERR_RULE_GROUP_MISSING'
  /** No AWS credentials, or none that AWS accepts. */
  | 'ERR_RULE_GROUP_CREDENTIALS'
  /** The credentials do not permit it. */
  | 'ERR_RULE_GROUP_DENIED'
  | 'ERR_RULE_GROUP_THROTTLED'
  /** No connection, no reply in time, or a fault of WAF: an update may have taken effect. */
  | 'ERR_RULE_GROUP_UNAVAILABLE'
  /** WAF refused for another reason, or answered something that its API reference does not provide for. */
  | 'ERR_RULE_GROUP_REFUSED';

/** Why a rule group cannot be read or changed; the message says what to do next. */
export class RuleGroupError extends Error {
  readonly code: RuleGroupErrorCode;
  constructor(code: RuleGroupErrorCode, message: string) {
    super(message);
    this.name = 'RuleGroupError';
    this.code = code;
  }
}
