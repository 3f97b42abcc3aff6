import type { Rule } from '@aws-sdk/client-wafv2';
import * as v from 'valibot';
import { checkRuleGroup, RULE_GROUP_LIMITS } from '../../revocation/publish/rule-group-limits.ts';
import { RuleGroupError } from '../../revocation/publish/rule-group-store.ts';
import { StackError } from '../errors.ts';

/** What a rule can look at. `path` and `query` as sent. */
export interface InspectedRequest {
  method: string;
  path: string;
  query: string;
  headers: Record<string, string | string[] | undefined>;
  country: string | undefined;
}

/** The block that a rule decided on; custom headers by name. */
export interface Block {
  rule: string;
  status: number;
  headers: Record<string, string>;
}

/** A compiled rule group: the block of the first rule that matches, undefined when none does. */
export type RuleGroup = (request: InspectedRequest) => Block | undefined;

type Test = (request: InspectedRequest) => boolean;

const transformation = v.looseObject({ Priority: v.number(), Type: v.picklist(['NONE', 'LOWERCASE', 'URL_DECODE']) });
const field = v.union([
  v.strictObject({ UriPath: v.strictObject({}) }),
  v.strictObject({ QueryString: v.strictObject({}) }),
  v.strictObject({ Method: v.strictObject({}) }),
  v.strictObject({ SingleHeader: v.strictObject({ Name: v.string() }) }),
]);
const match = { FieldToMatch: field, TextTransformations: v.pipe(v.array(transformation), v.minLength(1)) };

const statement: v.GenericSchema<unknown, LocalStatement> = v.union([
  v.strictObject({
    ByteMatchStatement: v.strictObject({
      SearchString: v.string(),
      PositionalConstraint: v.picklist(['STARTS_WITH', 'ENDS_WITH', 'CONTAINS', 'EXACTLY']),
      ...match,
    }),
  }),
  v.strictObject({ RegexMatchStatement: v.strictObject({ RegexString: v.string(), ...match }) }),
  v.strictObject({ GeoMatchStatement: v.strictObject({ CountryCodes: v.pipe(v.array(v.string()), v.minLength(1)) }) }),
  v.strictObject({ OrStatement: v.strictObject({ Statements: v.lazy(() => statements) }) }),
  v.strictObject({ AndStatement: v.strictObject({ Statements: v.lazy(() => statements) }) }),
  v.strictObject({ NotStatement: v.strictObject({ Statement: v.lazy(() => statement) }) }),
]);
const statements = v.pipe(v.array(statement), v.minLength(2));

type LocalStatement = {
  ByteMatchStatement?: Match & { SearchString: string; PositionalConstraint: string };
  RegexMatchStatement?: Match & { RegexString: string };
  GeoMatchStatement?: { CountryCodes: string[] };
  OrStatement?: { Statements: LocalStatement[] };
  AndStatement?: { Statements: LocalStatement[] };
  NotStatement?: { Statement: LocalStatement };
};
type Match = { FieldToMatch: v.InferOutput<typeof field>; TextTransformations: v.InferOutput<typeof transformation>[] };

const header = v.object({ Name: v.string(), Value: v.string() });
const RulesSchema = v.array(
  v.looseObject({
    Name: v.string(),
    Priority: v.pipe(v.number(), v.integer()),
    Statement: statement,
    Action: v.union([
      v.strictObject({
        Block: v.object({
          CustomResponse: v.optional(
            v.looseObject({ ResponseCode: v.number(), ResponseHeaders: v.optional(v.array(header), []) }),
          ),
        }),
      }),
      v.strictObject({ Allow: v.looseObject({}) }),
      v.strictObject({ Count: v.looseObject({}) }),
    ]),
    VisibilityConfig: v.looseObject({ MetricName: v.string() }),
  }),
);

/**
 * Compiles the `Rules` of a WAFv2 rule group (the JSON of CreateRuleGroup; `SearchString` as text, as in the console's
 * rule editor). Rules run by priority; a block or an allow ends it, a count goes on. Throws `ERR_RULE_GROUP` for
 * anything that it could not evaluate as WAF would, or that WAF would not take.
 */
export function compileRuleGroup(input: unknown): RuleGroup {
  const result = v.safeParse(RulesSchema, input);
  if (!result.success) {
    const [issue] = result.issues;
    throw new StackError('ERR_RULE_GROUP', `rule group: ${v.getDotPath(issue) ?? 'Rules'}: ${issue.message}`);
  }
  const rules = [...result.output].sort((a, b) => a.Priority - b.Priority);
  try {
    checkRuleGroup(rules as unknown as Rule[], RULE_GROUP_LIMITS.capacityWcu);
  } catch (error) {
    if (!(error instanceof RuleGroupError)) throw error;
    throw new StackError('ERR_RULE_GROUP', `rule group: ${error.message}`);
  }
  const compiled = rules.map((rule) => ({ rule, matches: compile(rule.Statement) }));
  return (request) => {
    for (const { rule, matches } of compiled) {
      if (!matches(request)) continue;
      if ('Allow' in rule.Action) return undefined;
      if ('Count' in rule.Action) continue;
      const custom = rule.Action.Block.CustomResponse;
      const headers = Object.fromEntries(
        (custom?.ResponseHeaders ?? []).map(({ Name, Value }) => [Name.toLowerCase(), Value]),
      );
      return { rule: rule.Name, status: custom?.ResponseCode ?? 403, headers };
    }
    return undefined;
  };
}

/** The rule group of the rules that `current` gives, compiled again when it gives another array. Throws `ERR_RULE_GROUP`. */
export function liveRuleGroup(current: () => unknown[]): RuleGroup {
  let rules = current();
  let group = compileRuleGroup(rules);
  return (request) => {
    if (current() !== rules) {
      rules = current();
      group = compileRuleGroup(rules);
    }
    return group(request);
  };
}

function compile(statement: LocalStatement): Test {
  if (statement.ByteMatchStatement) {
    const { SearchString: wanted, PositionalConstraint: position } = statement.ByteMatchStatement;
    return onField(statement.ByteMatchStatement, (text) => {
      if (position === 'STARTS_WITH') return text.startsWith(wanted);
      if (position === 'ENDS_WITH') return text.endsWith(wanted);
      return position === 'EXACTLY' ? text === wanted : text.includes(wanted);
    });
  }
  if (statement.RegexMatchStatement) {
    let expression: RegExp;
    try {
      expression = new RegExp(statement.RegexMatchStatement.RegexString);
    } catch {
      throw new StackError('ERR_RULE_GROUP', 'rule group: a RegexString is not a regular expression');
    }
    return onField(statement.RegexMatchStatement, (text) => expression.test(text));
  }
  if (statement.GeoMatchStatement) {
    const countries = new Set(statement.GeoMatchStatement.CountryCodes);
    return ({ country }) => country !== undefined && countries.has(country);
  }
  if (statement.OrStatement) {
    const tests = statement.OrStatement.Statements.map(compile);
    return (request) => tests.some((test) => test(request));
  }
  if (statement.AndStatement) {
    const tests = statement.AndStatement.Statements.map(compile);
    return (request) => tests.every((test) => test(request));
  }
  const negated = compile(statement.NotStatement?.Statement ?? {});
  return (request) => !negated(request);
}

function onField({ FieldToMatch, TextTransformations }: Match, test: (text: string) => boolean): Test {
  const types = [...TextTransformations].sort((a, b) => a.Priority - b.Priority).map(({ Type }) => Type);
  return (request) => {
    const texts = fieldTexts(FieldToMatch, request);
    return texts.some((text) => test(types.reduce(transform, text)));
  };
}

function fieldTexts(field: Match['FieldToMatch'], request: InspectedRequest): string[] {
  if ('UriPath' in field) return [request.path];
  if ('QueryString' in field) return [request.query];
  if ('Method' in field) return [request.method];
  const value = request.headers[field.SingleHeader.Name.toLowerCase()];
  return value === undefined ? [] : [value].flat();
}

function transform(text: string, type: 'NONE' | 'LOWERCASE' | 'URL_DECODE'): string {
  if (type === 'LOWERCASE') return text.toLowerCase();
  if (type === 'NONE') return text;
  return text.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
