import { randomBytes } from 'node:crypto';
import { isUnsafePath } from '../../token/index.ts';
import { mintCompatToken } from '../minting/compat.ts';
import { parseDuration } from '../minting/policy.ts';

/** What is wrong with a policy of the AWS solution v1, or differs here. */
export interface Finding {
  code: FindingCode;
  /** What of the policy it is about. */
  field: string;
  /** `unsafe`: it protects less than it says, today. `changed`: it is safe, and will be something else here. */
  kind: 'unsafe' | 'changed';
  /** What it means, and what becomes of it here. */
  text: string;
}

/** Every finding there is: its kind, and its words. */
const FINDINGS = {
  'binds-nothing': ['unsafe', 'whoever has the URL plays: bind something that tells viewers apart'],
  'never-expires': ['unsafe', 'without it a token is good for ever; an hour is set'],
  'fixed-expiry': ['unsafe', 'a time instead of a duration: all tokens expire at once, or have long; an hour is set'],
  'long-lifetime': [
    'unsafe',
    'a leaked URL is good for more than a day; a day is set: let players renew (docs/player.md)',
  ],
  'exact-address': [
    'unsafe',
    'drops viewers whose address changes while they watch (mobile networks, IPv4 and IPv6), and lets in all behind one gateway; bound is the network (/24, /48)',
  ],
  'forgeable-header': ['unsafe', 'the viewer chooses this header: who passes the URL on passes it on too'],
  'forgeable-parameter': ['unsafe', 'the viewer sees and chooses this parameter: it is passed on with the URL'],
  'header-never-found': [
    'unsafe',
    'header names are in lower case at the edge: this one binds nothing there; it does here',
  ],
  'header-signs': [
    'unsafe',
    'bound alone, a header that a viewer chooses can be a token to be signed under the same key: take that key out first (docs/compat.md)',
  ],
  'fallback-drops-all': [
    'unsafe',
    'where the location is not known, every binding is dropped with it; here this one alone is skipped',
  ],
  'city-unchecked': ['unsafe', 'is signed and never checked there; it is checked here'],
  'session-unbound': ['unsafe', 'without a session id no token can be revoked; ours always have one'],
  'exclusions-unbound': [
    'unsafe',
    'opens these paths to everybody who holds a token, bindings and session aside; here exclusions skip the check of paths alone',
  ],
  'exclusion-of-all': ['unsafe', 'excludes everything, so that nothing is checked; it is left out'],
  'neighbour-paths': ['unsafe', 'opens everything that begins with the same letters; here a path ends at a slash'],
  'unsafe-path': ['unsafe', 'is no safe path: it is left out'],
  'opens-nothing': ['unsafe', 'opens nothing: the directory of the asset is opened instead'],
  'unknown-field': ['unsafe', 'means nothing to that solution, and protects nothing'],
  'wrong-type': ['unsafe', 'is of a type that it does not have there; it is left out'],
  'not-before-dropped': ['changed', 'a fixed time in a policy is left out: tokens hold from when they are minted'],
  'http-endpoint': ['unsafe', 'tokens go over the wire in clear; use https'],
  'not-bound': ['unsafe', 'cannot be bound here, and is left out: bind something else'],
  'refused-at-minting': ['unsafe', 'is refused when its tokens are minted here'],
} as const satisfies Record<string, readonly [Finding['kind'], string]>;
export type FindingCode = keyof typeof FINDINGS;
export const FINDING_CODES = Object.keys(FINDINGS) as FindingCode[];

/** A finding about a field, with more words when there are some. */
export function finding(code: FindingCode, field: string, detail?: string): Finding {
  const [kind, text] = FINDINGS[code];
  return { code, field, kind, text: detail === undefined ? text : `${text} (${detail})` };
}

const FLAGS = ['ip', 'co', 'co_fallback', 'cty', 'cty_fallback', 'reg', 'reg_fallback', 'ssn'];
const LISTS = ['paths', 'exc', 'headers', 'querystrings'];
const OTHERS = ['exp', 'nbf', 'session_auto_generate'];
const DAY = 86_400;
export const LONGEST_LIFETIME_SECONDS = DAY;

/** A policy whose fields are of the right types: what is not is left out, and said. */
export interface ReadPolicy {
  flag(name: string): boolean;
  list(name: string): string[];
  exp: string | null;
  hasNotBefore: boolean;
  findings: Finding[];
}

/** Reads a `token_policy`, whatever it is. */
export function readTokenPolicy(input: unknown): ReadPolicy {
  const isObject = typeof input === 'object' && input !== null && !Array.isArray(input);
  const policy: Record<string, unknown> = isObject ? { ...input } : {};
  const findings: Finding[] = isObject ? [] : [finding('wrong-type', 'token_policy')];
  const isText = (value: unknown) => typeof value === 'string';
  for (const [name, value] of Object.entries(policy)) {
    if (value === null || value === undefined) continue;
    const isRight = FLAGS.includes(name)
      ? typeof value === 'boolean'
      : LISTS.includes(name)
        ? Array.isArray(value) && value.every(isText)
        : isText(value) || typeof value === 'number';
    const isKnown = FLAGS.includes(name) || LISTS.includes(name) || OTHERS.includes(name);
    if (isKnown && isRight) continue;
    findings.push(finding(isKnown ? 'wrong-type' : 'unknown-field', name));
    delete policy[name];
  }
  return {
    flag: (name) => policy[name] === true,
    list: (name) => (policy[name] as string[] | undefined) ?? [],
    exp: policy.exp === undefined || policy.exp === null ? null : String(policy.exp),
    hasNotBefore: Boolean(policy.nbf),
    findings,
  };
}

/** What is wrong with a policy, field by field. */
export function policyFindings(policy: ReadPolicy, raw: unknown, path: string): Finding[] {
  const { flag, list, exp, findings: wrong } = policy;
  const found: Finding[] = [...wrong];
  const add = (code: FindingCode, field: string, detail?: string) => found.push(finding(code, field, detail));
  const [headers, parameters] = [list('headers'), list('querystrings')];
  const others = flag('ip') || flag('co') || flag('reg') || flag('cty') || flag('ssn');

  if (!others && headers.length + parameters.length === 0) add('binds-nothing', 'token_policy');
  if (flag('ip')) add('exact-address', 'ip');
  for (const name of headers) {
    if (name !== name.toLowerCase()) add('header-never-found', `headers: ${name}`);
    else if (!name.startsWith('cloudfront-')) add('forgeable-header', `headers: ${name}`);
  }
  for (const name of parameters) add('forgeable-parameter', `querystrings: ${name}`);
  if (!others && headers.length === 1 && parameters.length === 0) add('header-signs', 'headers');
  if (flag('co') && flag('co_fallback')) add('fallback-drops-all', 'co_fallback');
  if (flag('reg') && flag('reg_fallback')) add('fallback-drops-all', 'reg_fallback');
  if (flag('cty')) add('city-unchecked', 'cty');
  if (!flag('ssn')) add('session-unbound', 'ssn');

  if (exp === null) add('never-expires', 'exp');
  else if (!exp.startsWith('+')) add('fixed-expiry', 'exp');
  else if (!(lifetimeSeconds(exp) <= LONGEST_LIFETIME_SECONDS)) add('long-lifetime', 'exp');
  if (policy.hasNotBefore) add('not-before-dropped', 'nbf');

  if (list('paths').length === 0) add('opens-nothing', 'paths');
  for (const name of ['paths', 'exc']) {
    for (const entry of list(name)) {
      if (isUnsafePath(entry)) add('unsafe-path', name);
      else if (name === 'exc' && entry === '/') add('exclusion-of-all', name);
      else if (!endsSegment(entry)) add('neighbour-paths', name, entry);
    }
  }
  if (list('exc').length > 0) add('exclusions-unbound', 'exc');
  const refusal = refusalAtMinting(raw, path);
  if (refusal !== null) add('refused-at-minting', 'token_policy', refusal);
  return found;
}

/** Whether a path opens no neighbours: it ends with a slash, or with the extension of a file. */
export function endsSegment(path: string): boolean {
  return path.endsWith('/') || isFile(path);
}

export function isFile(path: string): boolean {
  return /\.\w+$/.test(path);
}

/** Seconds of `+3h` or `+90m`, as far as that solution reads the digits; NaN for none. */
export function lifetimeSeconds(exp: string): number {
  const [, digits = '', unit = ''] = /^\+(\d+)[\d.]*([hm])$/.exec(exp) ?? [];
  return parseDuration(`+${digits}${unit}`);
}

/** What the compatibility dialect says when a token of this policy is minted for a viewer who has everything; null for nothing. */
function refusalAtMinting(policy: unknown, path: string): string | null {
  const { headers = [], querystrings = [] } = (policy ?? {}) as { headers?: unknown; querystrings?: unknown };
  const values = (names: unknown) => Object.fromEntries((Array.isArray(names) ? names : []).map((name) => [name, 'x']));
  const viewer = {
    ip: '192.0.2.1',
    co: 'DE',
    reg: 'BE',
    cty: 'Berlin',
    headers: values(headers),
    qs: values(querystrings),
  };
  const key = { kid: 'trial', key: randomBytes(32).toString('base64url') };
  try {
    mintCompatToken({ policy, viewer, url: `https://media.example.com${path}` }, key, Math.floor(Date.now() / 1000));
    return null;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (typeof code !== 'string' || !code.startsWith('ERR_COMPAT_')) throw error;
    return code;
  }
}
