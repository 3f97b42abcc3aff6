import * as v from 'valibot';
import { type PreparedClaims, parseBinding, prepareClaims } from '../../token/index.ts';
import {
  describeIssue,
  type Issues,
  isMissing,
  MintingError,
  type MintingErrorCode,
  type Policy,
  PolicySchema,
  parseDuration,
} from './policy.ts';

/**
 * Scope of a policy that opens files alone: a token must have one path at least, and below this one there is nothing. An
 * origin must keep it so.
 */
export const NOTHING = '/.portcullis/nothing';

/** What policies are held to. */
export interface PolicyLimits {
  /** Largest lifetime that the edge accepts, in seconds (`edge.maxTokenLifetimeSeconds`). */
  maxLifetimeSeconds: number;
}

/** A policy that was checked: made by `loadPolicy`, frozen throughout, and good for any number of tokens. */
export interface LoadedPolicy {
  /** A copy of what was given. */
  readonly policy: Policy;
  /** Lifetime of a token, in seconds. */
  readonly lifetimeSeconds: number;
}

/**
 * Checks a policy once, for any number of tokens; nothing of it can change afterwards. Throws `MintingError` with the
 * path of the offending field: a code for each kind of mistake, `ERR_POLICY_…` (docs/minting.md).
 */
export function loadPolicy(input: unknown, limits: PolicyLimits): LoadedPolicy {
  return compilePolicy(input, limits);
}

/** What minting needs of a policy, none of it left to be checked or computed for a token. */
export class CompiledPolicy implements LoadedPolicy {
  readonly policy: Policy;
  readonly lifetimeSeconds: number;
  /** Path scope without the exclusions; undefined when it is the directory of the playback URL. */
  readonly paths: string[] | undefined;
  /** Query parameters that the policy binds. */
  readonly queryParameters: string[];
  /** The claims that all its tokens share; undefined when they depend on the playback URL. */
  readonly claims: PreparedClaims | undefined;

  /** `policy` is one that passed the schema, and nobody else's. */
  constructor(policy: Policy) {
    this.policy = policy;
    this.lifetimeSeconds = parseDuration(policy.lifetime);
    this.paths = policy.paths ?? (policy.files && [NOTHING]);
    const bindings = (policy.bindings ?? []).map(parseBinding);
    this.queryParameters = bindings.filter(({ name }) => name === 'query').map(({ argument }) => argument);
    this.claims = this.paths && this.claimsFor(this.paths);
    deepFreeze(this);
  }

  /** The claims of tokens that open `paths`. */
  claimsFor(paths: string[]): PreparedClaims {
    const { countries, files, exclusions = [], bindings } = this.policy;
    return prepareClaims({
      // An exclusion is one more path that the token opens: the check of the path is all that it is excluded from.
      paths: [...new Set([...paths, ...exclusions])],
      ...(countries && { cty: countries }),
      ...(files && { files }),
      ...(bindings && { bnd: bindings }),
    });
  }
}

function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  Object.freeze(value);
  for (const member of Object.values(value)) deepFreeze(member);
}

/** As `loadPolicy`, with what minting needs. */
export function compilePolicy(input: unknown, limits: PolicyLimits): CompiledPolicy {
  const result = v.safeParse(PolicySchema, input, { abortEarly: true });
  if (!result.success) {
    throw new MintingError(codeOf(result.issues), `policy: ${describeIssue(result.issues, PolicySchema.entries)}`);
  }
  const policy = new CompiledPolicy(result.output);
  checkLifetime(policy, limits);
  return policy;
}

/** Throws `ERR_POLICY_LIFETIME_TOO_LONG` when the edge would refuse the tokens of a policy, or when no maximum is given. */
export function checkLifetime({ lifetimeSeconds }: LoadedPolicy, { maxLifetimeSeconds }: PolicyLimits): void {
  if (lifetimeSeconds <= maxLifetimeSeconds) return;
  const message = `policy: lifetime: ${lifetimeSeconds} s is above the maximum of ${maxLifetimeSeconds} s that the edge accepts`;
  throw new MintingError('ERR_POLICY_LIFETIME_TOO_LONG', message);
}

/** The code of what is wrong with the value of a field, or with an item of its list. */
const FIELD_CODES: Record<keyof Policy, MintingErrorCode> = {
  lifetime: 'ERR_POLICY_LIFETIME',
  asset: 'ERR_POLICY_ASSET',
  paths: 'ERR_POLICY_SCOPE',
  files: 'ERR_POLICY_SCOPE',
  exclusions: 'ERR_POLICY_SCOPE',
  countries: 'ERR_POLICY_COUNTRY',
  bindings: 'ERR_POLICY_BINDING',
};

/** The code of the first issue. */
function codeOf([issue]: Issues): MintingErrorCode {
  const [field, item] = issue.path ?? [];
  if (!field) return 'ERR_POLICY_TYPE';
  if (issue.expected === 'never') return 'ERR_POLICY_FIELD_UNKNOWN';
  if (isMissing(issue) && !item) return 'ERR_POLICY_FIELD_MISSING';
  const isLength = issue.type === 'min_length' || issue.type === 'max_length';
  if (issue.type === 'array' || (isLength && field.key !== 'asset')) return 'ERR_POLICY_LIST';
  if (issue.type === 'check' && field.key === 'bindings') return 'ERR_POLICY_BINDING_REPEATED';
  return FIELD_CODES[field.key as keyof Policy];
}
