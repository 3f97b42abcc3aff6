import * as v from 'valibot';
import { StorageError } from '../object-store.ts';

/** What is known for certain: a statement applies or does not, or that depends on something nobody here can tell. */
export type Certainty = 'yes' | 'no' | 'unknown';

/** A request as IAM sees it. */
export interface AccessRequest {
  /**
   * Nobody; somebody of an account that the policy does not name; an account, a user or an identity provider that it does; an AWS
   * service; or somebody of the bucket's account: one that the policy names, or any other.
   */
  caller:
    | { type: 'anonymous' | 'other-account' | 'named' | 'service' }
    | { type: 'own-account'; arn?: string | undefined };
  action: string;
  /** ARN. */
  resource: string;
  /** Condition keys in lower case. `null` is one that the request does not have; one that is missing here may have any value. */
  context: Readonly<Record<string, string | AnyArn | null>>;
}

/** An ARN of which something is known: six parts, of which `*` may be anything. */
export interface AnyArn {
  like: string;
}

/** What a policy says of a request: `allow` and `deny` each whether a statement that applies does so, and which one. */
export interface Decision {
  allow: Certainty;
  deny: Certainty;
  /** Names of the statements that decide: Sid, or number. */
  by: string[];
}

const oneOrMore = v.pipe(
  v.union([v.string(), v.array(v.string())]),
  v.transform((value) => [value].flat()),
);
const scalar = v.pipe(v.union([v.string(), v.number(), v.boolean()]), v.transform(String));
const PrincipalSchema = v.union([v.literal('*'), v.record(v.string(), oneOrMore)]);
const StatementSchema = v.strictObject({
  Sid: v.optional(v.string()),
  Effect: v.picklist(['Allow', 'Deny']),
  Principal: v.optional(PrincipalSchema),
  NotPrincipal: v.optional(PrincipalSchema),
  Action: v.optional(oneOrMore),
  NotAction: v.optional(oneOrMore),
  Resource: v.optional(oneOrMore),
  NotResource: v.optional(oneOrMore),
  Condition: v.optional(
    v.record(
      v.string(),
      v.record(
        v.string(),
        v.pipe(
          v.union([scalar, v.array(scalar)]),
          v.transform((value) => [value].flat()),
        ),
      ),
    ),
  ),
});
const either = (name: 'Principal' | 'Action' | 'Resource') =>
  v.check(
    (statement: v.InferOutput<typeof StatementSchema>) =>
      (statement[name] === undefined) !== (statement[`Not${name}`] === undefined),
    `a statement has ${name} or Not${name}`,
  );
const StatementOfBucket = v.pipe(StatementSchema, either('Principal'), either('Action'), either('Resource'));
const PolicySchema = v.strictObject({
  Version: v.optional(v.picklist(['2012-10-17', '2008-10-17'])),
  Id: v.optional(v.string()),
  Statement: v.pipe(
    v.union([v.array(StatementOfBucket), StatementOfBucket]),
    v.transform((value) => [value].flat()),
  ),
});

export type PolicyDocument = v.InferOutput<typeof PolicySchema>;
type PolicyStatement = PolicyDocument['Statement'][number];

/** Reads a bucket policy (IAM, "IAM JSON policy elements reference"). Throws `StorageError` `ERR_STORAGE_INVALID`. */
export function parsePolicy(document: unknown): PolicyDocument {
  const parsed = v.safeParse(PolicySchema, document);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const where = v.getDotPath(issue) ?? 'the document';
  throw new StorageError('ERR_STORAGE_INVALID', `this is no bucket policy, at ${where}: ${issue.message}`);
}

/** What a policy says of a request, in the logic of three values: what is not understood is never taken for a yes or a no. */
export function evaluatePolicy(policy: PolicyDocument, request: AccessRequest): Decision {
  const decision: Decision = { allow: 'no', deny: 'no', by: [] };
  for (const [index, statement] of policy.Statement.entries()) {
    const applies = all([
      principalMatches(statement, request),
      actionMatches(statement, request.action),
      resourceMatches(statement, request.resource),
      conditionHolds(statement.Condition ?? {}, request.context),
    ]);
    if (applies === 'no') continue;
    const effect = statement.Effect === 'Deny' ? 'deny' : 'allow';
    decision[effect] = any([decision[effect], applies]);
    decision.by.push(statement.Sid ?? `statement ${index + 1}`);
  }
  return decision;
}

const all = (certainties: Certainty[]): Certainty =>
  certainties.includes('no') ? 'no' : certainties.includes('unknown') ? 'unknown' : 'yes';
const any = (certainties: Certainty[]): Certainty =>
  certainties.includes('yes') ? 'yes' : certainties.includes('unknown') ? 'unknown' : 'no';
const not = (certainty: Certainty): Certainty =>
  certainty === 'unknown' ? 'unknown' : certainty === 'yes' ? 'no' : 'yes';
const certain = (is: boolean): Certainty => (is ? 'yes' : 'no');

function principalMatches({ Principal, NotPrincipal }: PolicyStatement, { caller }: AccessRequest): Certainty {
  if (Principal !== undefined) return isNamed(Principal, caller);
  return not(isNamed(NotPrincipal ?? {}, caller));
}

function isNamed(principal: NonNullable<PolicyStatement['Principal']>, caller: AccessRequest['caller']): Certainty {
  if (principal === '*') return 'yes';
  return any(
    Object.entries(principal).flatMap(([type, names]) =>
      names.map((name): Certainty => {
        if (name === '*' && type === 'AWS') return 'yes';
        // A service may act for anybody, or for the account that set it up only.
        if (caller.type === 'service') return type === 'Service' ? 'unknown' : 'no';
        if (caller.type === 'named') return certainlyNot(!isOfNamed(type, name));
        if (caller.type !== 'own-account' || type === 'Service' || type === 'Federated') return 'no';
        // An account may be the bucket's own, which then is everybody in it.
        if (isOfNamed(type, name)) return 'unknown';
        return certain(name === caller.arn);
      }),
    ),
  );
}

const certainlyNot = (is: boolean): Certainty => (is ? 'no' : 'unknown');

/** Whether a name is one of somebody who may be of another account, and of which nothing else is known. */
export function isOfNamed(type: string, name: string): boolean {
  if (type === 'AWS') return /^(?:\d{12}|arn:[\w-]+:iam::\d{12}:root)$/.test(name);
  return type !== 'Service';
}

function actionMatches({ Action, NotAction }: PolicyStatement, action: string): Certainty {
  const matches = (patterns: string[]) =>
    any(patterns.map((pattern) => wildcard(pattern.toLowerCase(), action.toLowerCase())));
  return Action ? matches(Action) : not(matches(NotAction ?? []));
}

function resourceMatches({ Resource, NotResource }: PolicyStatement, resource: string): Certainty {
  const matches = (patterns: string[]) => any(patterns.map((pattern) => wildcard(pattern, resource)));
  return Resource ? matches(Resource) : not(matches(NotResource ?? []));
}

/** Whether a value is like a pattern with `*` and `?`; a policy variable (`${aws:username}`) may stand for anything. */
export function wildcard(pattern: string, value: string): Certainty {
  if (pattern.includes('${')) return 'unknown';
  // No regular expression: many asterisks would make it try for ever.
  let [at, star, resume] = [0, -1, 0];
  for (let i = 0; i < value.length; ) {
    if (pattern[at] === '*') {
      star = at++;
      resume = i;
    } else if (pattern[at] === '?' || pattern[at] === value[i]) {
      at++;
      i++;
    } else if (star >= 0) {
      at = star + 1;
      i = ++resume;
    } else return 'no';
  }
  return certain(/^\**$/.test(pattern.slice(at)));
}

const equals = (expected: string, value: string) => (expected.includes('${') ? 'unknown' : certain(expected === value));
const equalsIgnoringCase = (expected: string, value: string) => equals(expected.toLowerCase(), value.toLowerCase());
const numeric =
  (compare: (value: number, expected: number) => boolean) =>
  (expected: string, value: string): Certainty => {
    const numbers = [value, expected].map((text) => (/^-?\d+(?:\.\d+)?$/.test(text) ? Number(text) : Number.NaN));
    const [actual = Number.NaN, limit = Number.NaN] = numbers;
    return Number.isNaN(actual + limit) ? 'unknown' : certain(compare(actual, limit));
  };
const like = (expected: string, value: string) => wildcard(expected, value);

interface Operator {
  matches: (expected: string, value: string) => Certainty;
  /** Holds when no expected value matches, and when the request does not have the key. */
  negated?: true;
}

/**
 * The operators that are understood (IAM, "IAM JSON policy elements: Condition operators"); `Null` and `…IfExists` are about the
 * presence of a key and stand in `operatorHolds`. Of any other the outcome is unknown.
 */
const OPERATORS: Record<string, Operator> = {
  StringEquals: { matches: equals },
  StringNotEquals: { matches: equals, negated: true },
  StringEqualsIgnoreCase: { matches: equalsIgnoringCase },
  StringNotEqualsIgnoreCase: { matches: equalsIgnoringCase, negated: true },
  StringLike: { matches: like },
  StringNotLike: { matches: like, negated: true },
  ArnEquals: { matches: like },
  ArnLike: { matches: like },
  ArnNotEquals: { matches: like, negated: true },
  ArnNotLike: { matches: like, negated: true },
  Bool: { matches: equalsIgnoringCase },
  NumericEquals: { matches: numeric((value, expected) => value === expected) },
  NumericNotEquals: { matches: numeric((value, expected) => value === expected), negated: true },
  NumericLessThan: { matches: numeric((value, limit) => value < limit) },
  NumericLessThanEquals: { matches: numeric((value, limit) => value <= limit) },
  NumericGreaterThan: { matches: numeric((value, limit) => value > limit) },
  NumericGreaterThanEquals: { matches: numeric((value, limit) => value >= limit) },
};

function conditionHolds(
  condition: Record<string, Record<string, string[]>>,
  context: AccessRequest['context'],
): Certainty {
  return all(
    Object.entries(condition).flatMap(([operator, keys]) =>
      Object.entries(keys).map(([key, expected]) => operatorHolds(operator, context[key.toLowerCase()], expected)),
    ),
  );
}

function operatorHolds(operator: string, value: string | AnyArn | null | undefined, expected: string[]): Certainty {
  if (value === undefined) return 'unknown';
  if (value !== null && typeof value !== 'string') return operatorHoldsForAny(operator, value, expected);
  if (operator === 'Null') return any(expected.map((absent) => equalsIgnoringCase(absent, String(value === null))));
  const [, name = '', ifExists] = /^(\w+?)(IfExists)?$/.exec(operator) ?? [];
  const known = Object.hasOwn(OPERATORS, name) ? OPERATORS[name] : undefined;
  if (!known) return 'unknown';
  if (value === null) return certain(ifExists !== undefined || known.negated === true);
  const matches = any(expected.map((one) => known.matches(one, value)));
  return known.negated ? not(matches) : matches;
}

/** As `operatorHolds`, of an ARN that may be any of a kind: certain only when none of the kind is expected. */
function operatorHoldsForAny(operator: string, { like: kind }: AnyArn, expected: string[]): Certainty {
  const [, name = ''] = /^(\w+?)(?:IfExists)?$/.exec(operator) ?? [];
  const known = /^(?:String|Arn)/.test(name) && Object.hasOwn(OPERATORS, name) ? OPERATORS[name] : undefined;
  if (!known || expected.some((one) => mayBeLike(one, kind))) return 'unknown';
  return certain(known.negated === true);
}

/** Whether a pattern is like some ARN of a kind; part by part, as IAM compares them. */
function mayBeLike(pattern: string, kind: string): boolean {
  const [parts, kinds] = [pattern, kind].map((arn) => /^(.*?):(.*?):(.*?):(.*?):(.*?):(.*)$/s.exec(arn)?.slice(1));
  if (!parts || !kinds || pattern.includes('${')) return /[*?]|\$\{/.test(pattern);
  return kinds.every((part, index) => part === '*' || wildcard(parts[index] ?? '', part) !== 'no');
}
