import type { Rule, Statement } from '@aws-sdk/client-wafv2';
import { SESSION_ID } from '../../token/index.ts';
import { RULE_GROUP_LIMITS, WCU } from './rule-group-limits.ts';

/** What the rules depend on beside the sessions. */
export interface RuleGroupOptions {
  /** Path before the token, begins and ends with a slash. */
  tokenPrefix: string;
  /** Origins whose pages may read a denial (CORS); `*` for all. */
  allowedOrigins: string[];
  /** What the rules may use, in WCU. */
  capacityWcu: number;
}

/** Rules that block sessions. */
export interface CompiledSessions {
  /** `Rules` of a WAFv2 rule group (AWS WAF API Reference, `Rule`), in the order of their priority. */
  rules: Rule[];
  /** What they use, in WCU. */
  capacityWcu: number;
  /** Session ids that they block. */
  included: string[];
  /** Those that they do not: for want of capacity, or because they are no session ids. */
  dropped: string[];
}

/**
 * Expressions in one rule. WAF takes 100 custom response headers a rule group: with four a rule, the 17 rules of the
 * largest group have 68.
 */
const EXPRESSIONS_PER_RULE = 100;

const RULE_NAME = 'portcullis-sessions-';
const OWN_RULE = new RegExp(`^${RULE_NAME}[0-9]+$`);

/** Whether we made a rule, judging by its name. */
export function isOwnRule(rule: Rule): boolean {
  return OWN_RULE.test(rule.Name ?? '');
}

/**
 * Rules that block every request whose token has one of these sessions, as many of them as fit, in their order: callers
 * give the most important first. The ids are packed into `^<token prefix>(?:a|b|…)\.` expressions of at most 200
 * characters, joined by Or statements, which cost what is in them (AWS WAF Developer Guide, "OR rule statement"). Without
 * the dot an expression would block every session that begins with one of the ids.
 */
export function compileSessions(sessionIds: string[], options: RuleGroupOptions): CompiledSessions {
  const { tokenPrefix, allowedOrigins, capacityWcu } = options;
  const start = `^${escaped(tokenPrefix)}(?:`;
  const end = ')\\.';
  const room = RULE_GROUP_LIMITS.regexCharacters - start.length - end.length;
  const most = Math.floor(Math.min(capacityWcu, RULE_GROUP_LIMITS.capacityWcu) / WCU.regexMatch);

  const included: string[] = [];
  const dropped: string[] = [];
  const packs: string[] = [];
  let isFull = false;
  for (const id of new Set(sessionIds)) {
    if (!SESSION_ID.test(id) || id.length > room || isFull) {
      dropped.push(id);
      continue;
    }
    const last = packs.at(-1);
    if (last !== undefined && last.length + 1 + id.length <= room) packs[packs.length - 1] = `${last}|${id}`;
    else if (packs.length < most) packs.push(id);
    else isFull = true;
    (isFull ? dropped : included).push(id);
  }

  const expressions = packs.map((pack) => start + pack + end);
  const rules: Rule[] = [];
  for (let i = 0; i < expressions.length; i += EXPRESSIONS_PER_RULE) {
    rules.push(blockRule(rules.length, expressions.slice(i, i + EXPRESSIONS_PER_RULE), allowedOrigins));
  }
  return { rules, capacityWcu: expressions.length * WCU.regexMatch, included, dropped };
}

function blockRule(index: number, expressions: string[], allowedOrigins: string[]): Rule {
  const statements = expressions.map(pathMatches);
  const [only] = statements;
  const name = `${RULE_NAME}${index}`;
  return {
    Name: name,
    Priority: index,
    // An Or statement takes two or more.
    Statement: only && statements.length === 1 ? only : { OrStatement: { Statements: statements } },
    Action: { Block: { CustomResponse: { ResponseCode: 403, ResponseHeaders: denialHeaders(allowedOrigins) } } },
    // Sampled requests show the whole path to whoever may use the WAF console, and a token is in it.
    VisibilityConfig: { SampledRequestsEnabled: false, CloudWatchMetricsEnabled: true, MetricName: name },
  };
}

function pathMatches(expression: string): Statement {
  return {
    RegexMatchStatement: {
      RegexString: expression,
      FieldToMatch: { UriPath: {} },
      TextTransformations: [{ Priority: 0, Type: 'NONE' }],
    },
  };
}

/** The headers of a denial, as the edge function gives them. WAF cannot repeat the origin that asks: of several, none may read it. */
function denialHeaders(allowedOrigins: string[]): { Name: string; Value: string }[] {
  const origin = allowedOrigins.includes('*') ? '*' : allowedOrigins.length === 1 ? allowedOrigins[0] : undefined;
  return [
    ...(origin === undefined ? [] : [{ Name: 'access-control-allow-origin', Value: origin }]),
    { Name: 'access-control-expose-headers', Value: 'x-portcullis-reason' },
    { Name: 'cache-control', Value: 'no-store' },
    { Name: 'x-portcullis-reason', Value: 'session-revoked' },
  ];
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
