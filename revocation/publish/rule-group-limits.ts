import type { Rule, Statement } from '@aws-sdk/client-wafv2';
import { RuleGroupError } from './rule-group-store.ts';

/** Quotas of a WAFv2 rule group (AWS WAF Developer Guide, "AWS WAF quotas"; AWS WAF API Reference). */
export const RULE_GROUP_LIMITS = {
  /** Capacity that a group can be created with, in WCU. */
  capacityWcu: 5000,
  regexCharacters: 200,
  byteMatchCharacters: 200,
  /** Custom response headers of one rule, and of all rules of the group together. */
  responseHeaders: 10,
  groupResponseHeaders: 100,
  headerNameCharacters: 64,
  headerValueCharacters: 255,
  textTransformations: 10,
} as const;

/** What statements cost, in WCU (AWS WAF Developer Guide, "Using rule statements in AWS WAF"). */
export const WCU = { regexMatch: 3, byteMatch: 2, byteMatchContains: 10, geoMatch: 1, textTransformation: 10 } as const;

const NAME = /^[\w-]{1,128}$/;
/** Statuses that a custom response may have ("Supported status codes for custom response"). 410 and 451 are not among them. */
const STATUSES = new Set([
  ...[200, 201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 308],
  ...[400, 401, 402, 403, 404, 405, 408, 409, 411, 412, 413, 414, 415, 416, 421, 429],
  ...[500, 501, 502, 503, 504, 505],
]);

/** What a statement costs, those in it included, in WCU. Throws `ERR_RULE_GROUP_LIMIT` for a kind that we know no price of. */
export function statementWcu(statement: Statement): number {
  const transformed = (match: { TextTransformations?: { Type?: string | undefined }[] | undefined }, base: number) =>
    base + WCU.textTransformation * (match.TextTransformations ?? []).filter(({ Type }) => Type !== 'NONE').length;
  const sum = (statements: Statement[] | undefined) =>
    (statements ?? []).reduce((total, each) => total + statementWcu(each), 0);
  if (statement.RegexMatchStatement) return transformed(statement.RegexMatchStatement, WCU.regexMatch);
  if (statement.ByteMatchStatement) {
    const contains = statement.ByteMatchStatement.PositionalConstraint?.startsWith('CONTAINS');
    return transformed(statement.ByteMatchStatement, contains ? WCU.byteMatchContains : WCU.byteMatch);
  }
  if (statement.GeoMatchStatement) return WCU.geoMatch;
  if (statement.OrStatement) return sum(statement.OrStatement.Statements);
  if (statement.AndStatement) return sum(statement.AndStatement.Statements);
  if (statement.NotStatement?.Statement) return statementWcu(statement.NotStatement.Statement);
  throw new RuleGroupError('ERR_RULE_GROUP_LIMIT', `no price is known for ${Object.keys(statement).join(', ')}`);
}

/**
 * Throws `ERR_RULE_GROUP_LIMIT`, with the rule and what is wrong with it, for rules that WAF would not take into a group of
 * this capacity. It knows the statements that the local edge evaluates.
 */
export function checkRuleGroup(rules: Rule[], capacityWcu: number): void {
  const refuse = (message: string) => {
    throw new RuleGroupError('ERR_RULE_GROUP_LIMIT', message);
  };
  const names = new Set<string>();
  const priorities = new Set<number>();
  let wcu = 0;
  let groupHeaders = 0;
  for (const { Name = '', Priority = -1, Statement: statement = {}, Action, VisibilityConfig } of rules) {
    const ours = (message: string) => refuse(`rule '${Name}': ${message}`);
    if (!NAME.test(Name)) ours('its name must be 1–128 letters, digits, - and _');
    if (names.has(Name)) ours('another rule has the same Name');
    if (priorities.has(Priority)) ours('another rule has the same Priority');
    if (!NAME.test(VisibilityConfig?.MetricName ?? '')) ours('its MetricName must be 1–128 letters, digits, - and _');
    names.add(Name);
    priorities.add(Priority);
    wcu += statementWcu(statement);
    for (const fault of statementFaults(statement)) ours(fault);
    const response = Action?.Block?.CustomResponse;
    const headers = response?.ResponseHeaders ?? [];
    groupHeaders += headers.length;
    if (response && !STATUSES.has(response.ResponseCode ?? 0)) ours(`WAF cannot answer ${response.ResponseCode}`);
    if (headers.length > RULE_GROUP_LIMITS.responseHeaders) ours('at most 10 custom response headers');
    for (const { Name: header = '', Value: value = '' } of headers) {
      const { headerNameCharacters, headerValueCharacters } = RULE_GROUP_LIMITS;
      const fits = header.length <= headerNameCharacters && value.length <= headerValueCharacters;
      if (header === '' || value === '' || !fits || /^content-type$/i.test(header)) {
        ours(`the response header '${header.slice(0, headerNameCharacters)}' is one that WAF does not take`);
      }
    }
  }
  if (groupHeaders > RULE_GROUP_LIMITS.groupResponseHeaders) {
    refuse(`the rules have ${groupHeaders} custom response headers; a rule group takes 100`);
  }
  if (wcu > capacityWcu) refuse(`the rules need ${wcu} WCU; the group has ${capacityWcu}`);
}

function statementFaults(statement: Statement): string[] {
  const { RegexMatchStatement: regex, ByteMatchStatement: bytes, OrStatement: or, AndStatement: and } = statement;
  const faults: string[] = [];
  const expression = regex?.RegexString ?? '';
  if (expression.length > RULE_GROUP_LIMITS.regexCharacters) {
    faults.push(`a regular expression has ${expression.length} characters; WAF takes 200`);
  }
  if (captures(expression)) faults.push('WAF takes no capture groups and no references to them: write (?:…)');
  if ((bytes?.SearchString?.length ?? 0) > RULE_GROUP_LIMITS.byteMatchCharacters) {
    faults.push('a SearchString has more than 200 characters');
  }
  for (const match of [regex, bytes]) {
    if ((match?.TextTransformations?.length ?? 1) > RULE_GROUP_LIMITS.textTransformations) {
      faults.push('a statement takes at most 10 text transformations');
    }
  }
  for (const { Statements: nested = [] } of [or, and].filter((joined) => joined !== undefined)) {
    if (nested.length < 2) faults.push('an Or or And statement needs two statements at least');
    faults.push(...nested.flatMap(statementFaults));
  }
  const negated = statement.NotStatement?.Statement;
  return negated ? [...faults, ...statementFaults(negated)] : faults;
}

/** Whether an expression has a capture group or refers to one ("Supported regular expression syntax in AWS WAF"). */
function captures(expression: string): boolean {
  if (/\\[1-9gk]/.test(expression.replaceAll('\\\\', ''))) return true;
  const bare = expression.replace(/\\./g, '').replace(/\[\]?[^\]]*\]/g, '');
  return /\((?!\?)|\(\?(?:P?<(?![=!])|P?'|R|\d|\|)/.test(bare);
}
