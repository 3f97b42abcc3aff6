import type { MintCrypto } from '../crypto.ts';
import { canonicalIp } from '../ip.ts';
import { isInScope, isUnsafePath } from '../path-scope.ts';
import { compatBindings, countChosen, MAY_HOLD_COLON, spellIp } from './bindings.ts';
import { type CompatClaims, FLAGS, readCompatClaims } from './claims.ts';
import { MAX_COMPAT_TOKEN_LENGTH } from './parse.ts';

export type CompatErrorCode =
  | 'ERR_COMPAT_POLICY'
  | 'ERR_COMPAT_PATHS'
  | 'ERR_COMPAT_TIME'
  | 'ERR_COMPAT_SESSION'
  | 'ERR_COMPAT_FALLBACK'
  | 'ERR_COMPAT_BINDING_NAME'
  | 'ERR_COMPAT_BINDING_MISSING'
  | 'ERR_COMPAT_BINDING_VALUE'
  | 'ERR_COMPAT_URL'
  | 'ERR_COMPAT_TOO_LONG';

/** Why a token of the AWS solution v1 is not minted. Carries names, never values of a viewer. */
export class CompatError extends Error {
  readonly code: CompatErrorCode;
  constructor(code: CompatErrorCode, message: string) {
    super(message);
    this.name = 'CompatError';
    this.code = code;
  }
}

/** A policy of the AWS solution v1 (`token_policy`), as it is stored there. */
export interface CompatPolicy {
  paths: string[];
  exc?: string[];
  /** `+3h`, `+90m`, or seconds since the epoch as text. */
  exp: string;
  /** Seconds since the epoch. */
  nbf?: string | number;
  ip?: boolean;
  co?: boolean;
  co_fallback?: boolean;
  cty?: boolean;
  cty_fallback?: boolean;
  reg?: boolean;
  reg_fallback?: boolean;
  ssn?: boolean;
  /** Length of a session id that is made up, above 6. */
  session_auto_generate?: number | string;
  headers?: string[];
  querystrings?: string[];
}

/** What is known of a viewer, as that solution calls it (`viewer_attributes`). */
export interface CompatViewer {
  ip?: string;
  co?: string;
  cty?: string;
  reg?: string;
  sessionId?: string;
  headers?: Record<string, string>;
  qs?: Record<string, string>;
}

/** What minting needs beyond policy and viewer. */
export interface CompatMinting {
  kid: string;
  /** HMAC key, base64url. */
  key: string;
  /** Seconds since the epoch. */
  now: number;
  crypto: MintCrypto;
  /** A random session id of so many letters and digits. */
  createSessionId(length: number): string;
}

/** A minted token, and the playback URL with it in place when one was given. `sessionId` is '' when none is bound. */
export interface CompatToken {
  token: string;
  url: string | null;
  sessionId: string;
  issuedAt: number;
  expiresAt: number;
}

type FieldType = 'true or false' | 'a list of texts' | 'text' | 'a whole number';

/** What a policy may say, and of what type. A field that is not here would be taken for a binding by its author only. */
const FIELDS: Record<keyof CompatPolicy, FieldType[]> = {
  paths: ['a list of texts'],
  exc: ['a list of texts'],
  exp: ['text'],
  nbf: ['text', 'a whole number'],
  ip: ['true or false'],
  co: ['true or false'],
  co_fallback: ['true or false'],
  cty: ['true or false'],
  cty_fallback: ['true or false'],
  reg: ['true or false'],
  reg_fallback: ['true or false'],
  ssn: ['true or false'],
  session_auto_generate: ['a whole number', 'text'],
  headers: ['a list of texts'],
  querystrings: ['a list of texts'],
};

const IS: Record<FieldType, (value: unknown) => boolean> = {
  'true or false': (value) => typeof value === 'boolean',
  'a list of texts': (value) => Array.isArray(value) && value.every((item) => typeof item === 'string'),
  text: (value) => typeof value === 'string',
  'a whole number': (value) => typeof value === 'number' && Number.isSafeInteger(value),
};

/** Seconds since the epoch at the end of the year 9999: what lies behind it was meant in milliseconds. */
const LATEST = 253_402_300_799;
const DEFAULT_SESSION_LENGTH = 12;
const SHORTEST_SESSION_LENGTH = 7;
const LONGEST_SESSION_LENGTH = 128;
/** What of RFC 3986 `pchar` no part of the path escapes, without the dot, which ends a session id, and the colon, which joins values. */
const SESSION = /^[\w~!$&'()*+,;=@-]{1,128}$/;
const HEADER_NAME = /^(?!cookie$)[a-z0-9!#$%&'*+.^_`|~-]+$/;
const PARAMETER_NAME = /^[\w.~-]+$/;
/** A header and payload, encoded: what a signature covers. */
const SIGNED = /^[\w-]{20,}\.[\w-]{20,}$/;
/** Ends with a slash, or with the extension of a file. */
const WHOLE_SEGMENTS = /\/$|\.\w+$/;
const PLAYBACK_URL = /^https?:\/\/[^/?#\s]+\/[^#\s]*$/i;

function refuse(code: CompatErrorCode, message: string): never {
  throw new CompatError(code, message);
}

/** Checks the shape of a policy; an absent field may also be null. Throws `ERR_COMPAT_POLICY`. */
function readPolicy(input: unknown): CompatPolicy {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    refuse('ERR_COMPAT_POLICY', 'policy: must be a JSON object');
  }
  const entries = Object.entries(input).filter(([, value]) => value !== null && value !== undefined);
  for (const [name, value] of entries) {
    const types = Object.hasOwn(FIELDS, name) ? FIELDS[name as keyof CompatPolicy] : undefined;
    if (!types) refuse('ERR_COMPAT_POLICY', `policy: ${name}: unknown field, it would protect nothing`);
    // An expiry has an error of its own.
    if (name !== 'exp' && !types.some((type) => IS[type](value))) {
      refuse('ERR_COMPAT_POLICY', `policy: ${name}: must be ${types.join(' or ')}`);
    }
  }
  return Object.fromEntries(entries) as unknown as CompatPolicy;
}

/** Checks what the token opens. Throws `ERR_COMPAT_PATHS`. */
function checkPaths({ paths = [], exc = [] }: CompatPolicy): void {
  if (paths.length === 0) refuse('ERR_COMPAT_PATHS', 'policy: paths: is missing, the token would open nothing');
  for (const path of [...paths, ...exc]) {
    if (isUnsafePath(path)) refuse('ERR_COMPAT_PATHS', `policy: '${path}' is not a safe absolute path`);
    if (!WHOLE_SEGMENTS.test(path)) {
      const message = `policy: '${path}' must end with / or name a file: it also opens whatever begins with it`;
      refuse('ERR_COMPAT_PATHS', message);
    }
  }
  if (exc.includes('/')) refuse('ERR_COMPAT_PATHS', 'policy: exc: / opens everything to every holder of the token');
  const undone = paths.find((path) => isInScope(path, exc));
  if (undone)
    refuse('ERR_COMPAT_PATHS', `policy: exc: excludes '${undone}', where the bindings would never be checked`);
}

/** The expiry of a policy, seconds since the epoch; digits are read as far as they go. Throws `ERR_COMPAT_TIME`. */
function expiryOf({ exp }: CompatPolicy, now: number): number {
  if (typeof exp !== 'string')
    refuse('ERR_COMPAT_TIME', "policy: exp: must be text like '+3h'; without it nothing expires");
  const unit = { h: 3600, m: 60 }[exp.slice(-1)] ?? Number.NaN;
  const expiry = exp.startsWith('+') ? now + Number.parseInt(exp.slice(1, -1), 10) * unit : Number.parseInt(exp, 10);
  if (!Number.isSafeInteger(expiry)) refuse('ERR_COMPAT_TIME', "policy: exp: must be '+3h', '+90m' or epoch seconds");
  if (expiry <= now) refuse('ERR_COMPAT_TIME', 'policy: exp: the token would have expired already');
  if (expiry > LATEST)
    refuse('ERR_COMPAT_TIME', 'policy: exp: must be in seconds; in milliseconds it is never reached');
  return expiry;
}

/** The time from which on a token is good; undefined when the policy has none. Throws `ERR_COMPAT_TIME`. */
function startOf({ nbf }: CompatPolicy, expiry: number): number | undefined {
  if (!nbf) return undefined;
  if (!/^\d+$/.test(String(nbf))) refuse('ERR_COMPAT_TIME', 'policy: nbf: must be epoch seconds, or it is no limit');
  const start = Number(nbf);
  if (start > expiry) refuse('ERR_COMPAT_TIME', 'policy: nbf: lies behind exp, the token would never be good');
  return start;
}

/** The session id of the viewer, or a new one. Throws `ERR_COMPAT_SESSION`. */
function sessionOf(policy: CompatPolicy, viewer: CompatViewer, createSessionId: (length: number) => string): string {
  if (viewer.sessionId) {
    if (typeof viewer.sessionId === 'string' && SESSION.test(viewer.sessionId)) return viewer.sessionId;
    const why = 'a dot would split the token, a colon move it into the next value, an escape differ at the edge';
    refuse('ERR_COMPAT_SESSION', `viewer: sessionId: must be 1–128 characters that stand in a URL as they are: ${why}`);
  }
  const length = Number.parseInt(String(policy.session_auto_generate || DEFAULT_SESSION_LENGTH), 10);
  if (!(length >= SHORTEST_SESSION_LENGTH && length <= LONGEST_SESSION_LENGTH)) {
    const bounds = `${SHORTEST_SESSION_LENGTH} to ${LONGEST_SESSION_LENGTH}`;
    refuse('ERR_COMPAT_SESSION', `policy: session_auto_generate: must be a number from ${bounds}`);
  }
  return createSessionId(length);
}

/** Query parameters of a playback URL, decoded. Its first parameter is left out: that solution does not find it. */
function parametersOf(url: string | null): Map<string, string[]> {
  const parameters = new Map<string, string[]>();
  const [, ...pairs] = url?.includes('?') ? url.slice(url.indexOf('?') + 1).split('&') : [''];
  for (const pair of pairs) {
    const [name = '', ...rest] = pair.split('=');
    const value = decode(rest.join('='));
    parameters.set(decode(name), [...(parameters.get(decode(name)) ?? []), value]);
  }
  return parameters;
}

/** Form decoding; Throws `ERR_COMPAT_URL` for an escape that is none. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    refuse('ERR_COMPAT_URL', 'url: has an escape in its query that is none');
  }
}

/** An address as it is signed, IPv6 in the case it has, and its version. Throws `ERR_COMPAT_BINDING_VALUE`. */
function signedIp(ip: string): { text: string; version: 4 | 6 } {
  const canonical = canonicalIp(ip);
  if (canonical === ip && !ip.includes(':')) return { text: ip, version: 4 };
  const lower = spellIp(canonical, 6);
  // The edge sees an IPv4 address within an IPv6 one as IPv4, and tries either case, not both at once.
  if (lower !== '' && !ip.includes('.')) {
    if (ip === ip.toLowerCase()) return { text: lower, version: 6 };
    if (ip === ip.toUpperCase()) return { text: lower.toUpperCase(), version: 6 };
  }
  refuse('ERR_COMPAT_BINDING_VALUE', 'viewer: ip: must be IPv4, or IPv6 in one case and without an IPv4 address in it');
}

/**
 * Mints the token that the AWS solution v1 mints for a policy, byte for byte, or refuses: a policy that its format cannot
 * protect, because the token would open more, to more viewers or for longer than the policy says, and one whose token could
 * never be used. `policy`, `viewer` and `url` (null without one) are that solution's `token_policy`, `viewer_attributes`
 * and playback URL. Throws `CompatError`.
 */
export function mintCompat(
  policyInput: unknown,
  viewerInput: unknown,
  url: string | null,
  minting: CompatMinting,
): CompatToken {
  const policy = readPolicy(policyInput);
  const viewer = (typeof viewerInput === 'object' && viewerInput !== null ? viewerInput : {}) as CompatViewer;
  if (url !== null && !PLAYBACK_URL.test(url))
    refuse('ERR_COMPAT_URL', 'url: must be http(s)://host/path without a fragment');
  const { now, crypto } = minting;
  checkPaths(policy);
  const exp = expiryOf(policy, now);
  const nbf = startOf(policy, exp);
  if (policy.ip && ((policy.co && policy.co_fallback) || (policy.reg && policy.reg_fallback))) {
    const message =
      'policy: a fallback for the location drops every binding with it, the address too; bind one or the other';
    refuse('ERR_COMPAT_FALLBACK', message);
  }
  const sessionId = policy.ssn ? sessionOf(policy, viewer, minting.createSessionId) : '';

  const { headers = [], querystrings = [] } = policy;
  const flags = { ip: !!policy.ip, co: !!policy.co, cty: !!policy.cty, reg: !!policy.reg, ssn: !!policy.ssn };
  const parameters = parametersOf(url);
  const nameless =
    headers.find((name) => !HEADER_NAME.test(name)) ?? querystrings.find((name) => !PARAMETER_NAME.test(name));
  if (nameless !== undefined) {
    const message = `policy: the edge finds no header or parameter '${nameless}' and binds nothing; header names are in lower case`;
    refuse('ERR_COMPAT_BINDING_NAME', message);
  }
  const bindings = compatBindings({ ...flags, headers, qs: querystrings } as CompatClaims);
  const chosen = countChosen(bindings);
  let ipVersion: number | undefined;
  const values = bindings.map((binding) => {
    const value = binding === 'session' ? sessionId : attribute(binding, viewer, parameters);
    if (binding === 'ip') {
      const { text, version } = signedIp(value);
      ipVersion = version;
      return text;
    }
    if ((binding === 'country' || binding === 'region') && value !== value.toUpperCase()) {
      refuse('ERR_COMPAT_BINDING_VALUE', `viewer: the ${binding} must be in capitals, as the edge sees it`);
    }
    const isChosen = binding.includes(':');
    const mayHoldColon = isChosen && (chosen < 2 || (chosen < 3 && MAY_HOLD_COLON.test(binding)));
    if (value.includes(':') && !mayHoldColon) {
      const message = `viewer: '${binding}' has a colon, with which values are joined: part of it could pass for another value`;
      refuse('ERR_COMPAT_BINDING_VALUE', message);
    }
    if (binding !== 'city' && !binding.startsWith('query:') && !/^[ -~]*$/.test(value)) {
      refuse(
        'ERR_COMPAT_BINDING_VALUE',
        `viewer: '${binding}' must be ASCII: other text reaches the edge in no one spelling`,
      );
    }
    return value;
  });

  const input = values.join(':');
  // One key signs bindings and tokens, so whoever chooses all of the input could have a token of his own signed.
  if (SIGNED.test(input)) {
    refuse('ERR_COMPAT_BINDING_VALUE', `viewer: the value of '${bindings[0]}' has the form of a token to be signed`);
  }

  // Member by member in the order of that solution, on which the bytes depend.
  const payload = {
    ...flags,
    exp,
    headers,
    qs: querystrings,
    ...(values.length > 0 ? { intsig: crypto.hmac(minting.key)(input) } : {}),
    paths: policy.paths,
    exc: policy.exc ?? [],
    ...(ipVersion ? { ip_ver: ipVersion } : {}),
    ...(policy.co && policy.co_fallback ? { co_fallback: true } : {}),
    ...(policy.reg && policy.reg_fallback ? { reg_fallback: true } : {}),
    ...(nbf === undefined ? {} : { nbf }),
    iat: now,
  };
  const payloadText = JSON.stringify(payload);
  if (!readCompatClaims(payloadText))
    refuse('ERR_COMPAT_PATHS', 'policy: paths: hold more brackets than the edge takes');
  const header = JSON.stringify({ alg: 'HS256', typ: 'JWT', kid: minting.kid });
  const signed = `${crypto.encode(header)}.${crypto.encode(payloadText)}`;
  const token = `${sessionId && `${sessionId}.`}${signed}.${crypto.hmac(minting.key)(signed)}`;
  if (token.length > MAX_COMPAT_TOKEN_LENGTH) {
    refuse('ERR_COMPAT_TOO_LONG', `the token has ${token.length} characters, at most ${MAX_COMPAT_TOKEN_LENGTH}`);
  }
  return { token, url: url && withToken(url, token), sessionId, issuedAt: now, expiresAt: exp };
}

/** The playback URL with the token as its first path segment. */
function withToken(url: string, token: string): string {
  const path = url.indexOf('/', url.indexOf('//') + 2);
  return `${url.slice(0, path)}/${token}${url.slice(path)}`;
}

/** The value of a binding among what is known of the viewer. Throws `ERR_COMPAT_BINDING_MISSING`, or `…_VALUE` when there are two. */
function attribute(binding: string, viewer: CompatViewer, parameters: Map<string, string[]>): string {
  const [kind = '', ...rest] = binding.split(':');
  const name = rest.join(':');
  const sent = kind === 'query' ? (parameters.get(name) ?? []) : [];
  if (sent.length > 1) refuse('ERR_COMPAT_BINDING_VALUE', `url: has the bound parameter '${name}' more than once`);
  const own = FLAGS.find(([, ours]) => ours === binding)?.[0] ?? binding;
  const known = { ip: viewer.ip, country: viewer.co, city: viewer.cty, region: viewer.reg }[kind];
  const value = sent[0] || (known ?? member(viewer, kind, name));
  if (typeof value !== 'string' || value === '') {
    const message = `viewer: nothing is known for '${own}': it would be bound to the text "undefined", or to nothing`;
    refuse('ERR_COMPAT_BINDING_MISSING', message);
  }
  return value;
}

/** A header or query parameter of the viewer, its own, not what every object inherits. */
function member(viewer: CompatViewer, kind: string, name: string): unknown {
  const fields = { header: viewer.headers, query: viewer.qs }[kind];
  return typeof fields === 'object' && fields !== null && Object.hasOwn(fields, name) ? fields[name] : undefined;
}
