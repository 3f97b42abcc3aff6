import { createHash } from 'node:crypto';
import type {
  CachePolicyConfig,
  OriginRequestPolicyConfig,
  ResponseHeadersPolicyConfig,
} from '@aws-sdk/client-cloudfront';
import { AttachError } from './attach-error.ts';
import { POLICY_PREFIX } from './names.ts';

/** Parameters of low-latency HLS, which change what a playlist answers (RFC 8216bis §6.2.5). */
const HLS_PARAMETERS = ['_HLS_msn', '_HLS_part', '_HLS_skip'];
const REASON_HEADER = 'x-portcullis-reason';
/** Values of a kind in one policy, unless AWS raises the quota (AWS, "Quotas on policies"). */
const MAX_VALUES = 10;

/** A policy to be made out of one that is there; only ever with more than that. */
export interface DerivedPolicy<Config> {
  config: Config;
  /** What it has that the other lacks. */
  added: string[];
}

/** The name of a policy says all that is in it: a second run finds that of the first. */
function named<Config extends { Name: string | undefined; Comment?: string | undefined }>(config: Config): Config {
  const { Name: from, Comment, ...rest } = config;
  const digest = createHash('sha256').update(canonical(rest)).digest('hex').slice(0, 16);
  return {
    ...config,
    Name: `${POLICY_PREFIX}${digest}`,
    Comment: from ? `portcullis: made of ${from}`.slice(0, 128) : 'portcullis',
  };
}

/** JSON with its members in order, whatever order CloudFront answered in. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, v: unknown) =>
    v && typeof v === 'object' && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort()) : v,
  );
}

const missing = (wanted: string[], there: string[] = []) => {
  const names = new Set(there.map((name) => name.toLowerCase()));
  return wanted.filter((name) => !names.has(name.toLowerCase()));
};
const listed = (Items: string[]) => ({ Quantity: Items.length, Items });

/**
 * An origin request policy that makes CloudFront generate these headers, beside what `policy` forwards; null when it does that
 * already, or none are wanted. Throws `ERR_ATTACH_IMPOSSIBLE` when none can.
 */
export function withHeaders(
  policy: OriginRequestPolicyConfig | undefined,
  headers: string[],
): DerivedPolicy<OriginRequestPolicyConfig> | null {
  const { HeaderBehavior: behavior = 'none', Headers } = policy?.HeadersConfig ?? {};
  const there = behavior === 'none' || behavior === 'allViewer' ? [] : (Headers?.Items ?? []);
  const name = policy?.Name ?? '';
  if (behavior === 'allExcept') {
    const advice = "make it a list of headers, or 'all viewer headers and these of CloudFront'";
    throw impossible(`origin request policy '${name}' forwards all headers but some, and can add none: ${advice}`);
  }
  const added = missing(headers, there);
  if (added.length === 0) return null;
  const all = [...there, ...added];
  if (all.length > MAX_VALUES) {
    const advice = `take ${all.length - MAX_VALUES} out of it, which policies of tokens then cannot bind`;
    throw impossible(
      `origin request policy '${name}' would have ${all.length} headers, CloudFront takes ${MAX_VALUES}: ${advice}`,
    );
  }
  const isAll = behavior === 'allViewer' || behavior === 'allViewerAndWhitelistCloudFront';
  return {
    added,
    config: named({
      ...(policy ?? {
        Name: '',
        CookiesConfig: { CookieBehavior: 'none' },
        QueryStringsConfig: { QueryStringBehavior: 'none' },
      }),
      HeadersConfig: {
        HeaderBehavior: isAll ? 'allViewerAndWhitelistCloudFront' : 'whitelist',
        Headers: listed(all),
      },
    }),
  };
}

/** A cache policy that lets the parameters of low-latency HLS through beside what it has; null when it does already, or caches nothing. */
export function withParameters(policy: CachePolicyConfig): DerivedPolicy<CachePolicyConfig> | null {
  const key = policy.ParametersInCacheKeyAndForwardedToOrigin;
  const { QueryStringBehavior: behavior, QueryStrings } = key?.QueryStringsConfig ?? {};
  if (!key || policy.MaxTTL === 0 || (behavior !== 'none' && behavior !== 'whitelist')) return null;
  const there = behavior === 'whitelist' ? (QueryStrings?.Items ?? []) : [];
  const added = HLS_PARAMETERS.filter((name) => !there.includes(name));
  if (added.length === 0 || there.length + added.length > MAX_VALUES) return null;
  return {
    added,
    config: named({
      ...policy,
      ParametersInCacheKeyAndForwardedToOrigin: {
        ...key,
        QueryStringsConfig: { QueryStringBehavior: 'whitelist', QueryStrings: listed([...there, ...added]) },
      },
    }),
  };
}

/**
 * A response headers policy under which pages can read why a request was denied; null when they can: the function's own answer says
 * so, unless the policy has a list of its own.
 */
export function withReason(policy: ResponseHeadersPolicyConfig): DerivedPolicy<ResponseHeadersPolicyConfig> | null {
  const cors = policy.CorsConfig;
  if (!cors) return null;
  const there = cors.AccessControlExposeHeaders?.Items ?? [];
  const added = there.includes('*') ? [] : missing([REASON_HEADER], there);
  if (added.length === 0) return null;
  return {
    added,
    config: named({ ...policy, CorsConfig: { ...cors, AccessControlExposeHeaders: listed([...there, ...added]) } }),
  };
}

/** Whether a cache policy has the headers in its key that tell viewers apart: then each has objects of its own. */
export function splitsCache(policy: CachePolicyConfig, headers: string[]): string[] {
  const there = policy.ParametersInCacheKeyAndForwardedToOrigin?.HeadersConfig?.Headers?.Items ?? [];
  return there.filter((name) => headers.includes(name.toLowerCase()));
}

function impossible(message: string): AttachError {
  return new AttachError('ERR_ATTACH_IMPOSSIBLE', message);
}
