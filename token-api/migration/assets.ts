import * as v from 'valibot';
import { isUnsafePath, parseBinding } from '../../token/index.ts';
import type { Asset } from '../assets/assets.ts';
import { CatalogueId } from '../http/catalogue-id.ts';
import { ATTRIBUTE_HEADERS, type Policy, PolicySchema } from '../minting/policy.ts';
import {
  endsSegment,
  type Finding,
  finding,
  isFile,
  LONGEST_LIFETIME_SECONDS,
  lifetimeSeconds,
  policyFindings,
  type ReadPolicy,
  readTokenPolicy,
} from './policy-findings.ts';

/** An asset of the AWS solution v1 in our words. */
export interface MigratedAsset {
  asset: Asset;
  policy: Policy;
  findings: Finding[];
}

/** An item that cannot be taken over, and why. */
export interface SkippedItem {
  /** Its place among the items, from 1. */
  item: number;
  why: string;
}

/** What was read of the tables. */
export interface MigratedTables {
  assets: MigratedAsset[];
  /** Ids of sessions that are still revoked there. */
  sessions: string[];
  skipped: SkippedItem[];
}

/** Session ids that its rule group could match, and ours can. */
const COMPAT_SESSION = /^[A-Za-z0-9]{7,128}$/;

/**
 * Takes over the items of its tables: assets (`id`, `endpoint_hostname`, `url_path`, `token_policy`) and revoked sessions
 * (`session_id`, `ttl`). `now` is in seconds since the epoch.
 */
export function migrateTables(items: Record<string, unknown>[], now: number): MigratedTables {
  const tables: MigratedTables = { assets: [], sessions: [], skipped: [] };
  for (const [index, item] of items.entries()) {
    const skip = (why: string) => tables.skipped.push({ item: index + 1, why });
    if (typeof item.session_id === 'string') {
      if (typeof item.ttl === 'number' && item.ttl <= now) continue;
      if (COMPAT_SESSION.test(item.session_id)) tables.sessions.push(item.session_id);
      else skip('a session id that is not 7–128 letters and digits cannot be blocked');
      continue;
    }
    if (item.token_policy === undefined && item.url_path === undefined) {
      skip('it is neither an asset nor a revoked session');
      continue;
    }
    const id = v.safeParse(CatalogueId, typeof item.id === 'number' ? String(item.id) : item.id);
    if (!id.success) skip(`the id of an asset ${id.issues[0].message}`);
    else if (tables.assets.some(({ asset }) => asset.id === id.output)) skip('another asset has the same id');
    else if (typeof item.url_path !== 'string' || isUnsafePath(item.url_path))
      skip('url_path is no safe absolute path');
    else {
      const migrated = migrateAsset(id.output, item.url_path, item);
      if ('why' in migrated) skip(migrated.why);
      else tables.assets.push(migrated);
    }
  }
  return tables;
}

function migrateAsset(id: string, path: string, item: Record<string, unknown>): MigratedAsset | { why: string } {
  const read = readTokenPolicy(item.token_policy);
  const findings = policyFindings(read, item.token_policy, path);
  const host = item.endpoint_hostname;
  if (typeof host === 'string' && /^http:/i.test(host)) findings.push(finding('http-endpoint', 'endpoint_hostname'));

  const safe = (name: string) => read.list(name).filter((entry) => !isUnsafePath(entry));
  const whole = (entry: string) => (endsSegment(entry) ? entry : `${entry}/`);
  const files = safe('paths').filter(isFile);
  const directories = safe('paths').filter((entry) => !isFile(entry));
  const opened = directories.map(whole);
  const exclusions = safe('exc').filter((entry) => entry !== '/');
  const bindings = bindingsOf(read, findings);
  const policy: Policy = {
    lifetime: lifetimeOf(read.exp),
    asset: id,
    ...(opened.length > 0 && { paths: [...new Set(opened)] }),
    ...(files.length > 0 && { files: [...new Set(files)] }),
    ...(opened.length + files.length === 0 && { paths: [path.slice(0, path.lastIndexOf('/') + 1)] }),
    ...(exclusions.length > 0 && { exclusions: [...new Set(exclusions.map(whole))] }),
    ...(bindings.length > 0 && { bindings }),
  };
  const checked = v.safeParse(PolicySchema, policy);
  if (!checked.success)
    return { why: `its policy cannot be said here: ${v.getDotPath(checked.issues[0]) ?? 'policy'}` };
  return { asset: { id, title: id, path, policy: id }, policy, findings };
}

function lifetimeOf(exp: string | null): string {
  const seconds = exp === null ? Number.NaN : lifetimeSeconds(exp);
  if (!(seconds > 0)) return 'PT1H';
  return seconds > LONGEST_LIFETIME_SECONDS ? 'P1D' : `PT${seconds / 60}M`;
}

/** What attributes of the viewer are bound by, by the header that shows them. */
const BINDING_OF_HEADER: Record<string, string> = {
  [ATTRIBUTE_HEADERS.country]: 'country',
  [ATTRIBUTE_HEADERS.region]: 'region',
  [ATTRIBUTE_HEADERS.city]: 'city',
  [ATTRIBUTE_HEADERS.asn]: 'asn',
  [ATTRIBUTE_HEADERS.ja4]: 'ja4',
  [ATTRIBUTE_HEADERS.userAgent]: 'user-agent',
  [ATTRIBUTE_HEADERS.referer]: 'referer',
};

/** Our bindings: of the address its network; with the fallbacks there, tolerant. What cannot be bound here is said. */
function bindingsOf({ flag, list }: ReadPolicy, findings: Finding[]): string[] {
  const tolerant = (name: string, fallback: string) => `${name}${flag(fallback) ? '?' : ''}`;
  const wanted = [
    ...(flag('ip') ? ['network'] : []),
    ...(flag('co') ? [tolerant('country', 'co_fallback')] : []),
    ...(flag('reg') ? [tolerant('region', 'reg_fallback')] : []),
    ...(flag('cty') ? [tolerant('city', 'cty_fallback')] : []),
    ...list('headers').map((name) => BINDING_OF_HEADER[name.toLowerCase()] ?? `header:${name.toLowerCase()}`),
    ...list('querystrings').map((name) => `query:${name}`),
  ];
  const bare = (name: string) => name.replace(/\?$/, '');
  return wanted.filter((name, i) => {
    if (wanted.findIndex((other) => bare(other) === bare(name)) < i) return false;
    try {
      parseBinding(name);
      return true;
    } catch {
      findings.push(finding('not-bound', name));
      return false;
    }
  });
}
