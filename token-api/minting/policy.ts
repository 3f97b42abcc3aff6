import * as v from 'valibot';
import { canonicalIp, DEVICES, isUnsafePath, parseBinding } from '../../token/index.ts';

export type MintingErrorCode =
  | 'ERR_POLICY_TYPE'
  | 'ERR_POLICY_FIELD_UNKNOWN'
  | 'ERR_POLICY_FIELD_MISSING'
  | 'ERR_POLICY_LIST'
  | 'ERR_POLICY_LIFETIME'
  | 'ERR_POLICY_LIFETIME_TOO_LONG'
  | 'ERR_POLICY_ASSET'
  | 'ERR_POLICY_SCOPE'
  | 'ERR_POLICY_COUNTRY'
  | 'ERR_POLICY_BINDING'
  | 'ERR_POLICY_BINDING_REPEATED'
  | 'ERR_VIEWER_INVALID'
  | 'ERR_VIEWER_COUNTRY'
  | 'ERR_URL_INVALID'
  | 'ERR_URL_OUT_OF_SCOPE'
  | 'ERR_KEY_INVALID'
  | 'ERR_CLOCK'
  | 'ERR_TOKEN_PREFIX';

/** Why a policy, viewer, URL, key or clock cannot be minted with. Names fields, never a key or a value of a viewer. */
export class MintingError extends Error {
  readonly code: MintingErrorCode;
  constructor(code: MintingErrorCode, message: string) {
    super(message);
    this.name = 'MintingError';
    this.code = code;
  }
}

const DAY = 86400;
const ISO_DURATION = /^P(?=\d|T\d)(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?$/;
const PLUS_DURATION = /^\+(\d+)([dhms])$/;
const UNIT_SECONDS: Record<string, number> = { d: DAY, h: 3600, m: 60, s: 1 };

/** Seconds of an ISO 8601 duration in days, hours, minutes and seconds (`PT1H30M`), or of `+3h`; NaN for anything else. */
export function parseDuration(text: string): number {
  const plus = PLUS_DURATION.exec(text);
  if (plus) return Number(plus[1]) * (UNIT_SECONDS[plus[2] ?? ''] ?? Number.NaN);
  const iso = ISO_DURATION.exec(text);
  if (!iso) return Number.NaN;
  const [days = 0, hours = 0, minutes = 0, seconds = 0] = iso.slice(1).map((part) => Number(part ?? 0));
  return days * DAY + hours * 3600 + minutes * 60 + seconds;
}

/**
 * What may stand for a value in a query (RFC 3986 §3.4), and nothing that a browser would rewrite: a bound value must reach
 * the edge as it was at minting.
 */
const QUERY_TEXT = /^[\w!$%()*+,./:;=?@~-]+$/;

/** Items of a list at most: a token has 2,047 characters for all of them. */
const MAX_ITEMS = 64;
/** ISO 3166-1 has 249 countries, and whoever excludes a few lists all others. */
const MAX_COUNTRIES = 249;

function atMost(maxItems: number) {
  return v.maxLength<string[], number, string>(maxItems, `must have at most ${maxItems} items`);
}

/** A list with something in it: an empty one opens or allows nothing, which nobody means. */
function listOf<Item extends v.GenericSchema<string>>(item: Item, example: string, maxItems = MAX_ITEMS) {
  const message = `must be a list of at least one text, like ${example}`;
  return v.pipe(v.array(item, message), v.minLength(1, message), atMost(maxItems));
}

const PATH = "must be an absolute path like '/aurora/', without dot segments, // or escaped separators";
const pathScope = v.pipe(
  v.string(PATH),
  v.check((path) => !isUnsafePath(path), PATH),
);
const pathList = listOf(pathScope, "['/aurora/']");
const file = v.pipe(
  pathScope,
  v.check((path) => !path.endsWith('/'), 'must not end with a slash: files are exact; put a directory into paths'),
);

const binding = v.pipe(
  v.string("must be the name of a binding, like 'country'"),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    try {
      parseBinding(dataset.value);
    } catch (error) {
      addIssue({ message: (error as Error).message });
    }
  }),
);

const COUNTRY = "must be two upper-case letters (ISO 3166-1 alpha-2), like 'DE', and 'GB' for the United Kingdom";
const LIFETIME = "must be a duration above zero like 'PT1H' or '+3h'";
const ASSET = 'must be a text of 1 to 128 characters';

/** What a policy file may say; the interface documents the fields. */
export const PolicySchema = v.strictObject({
  lifetime: v.pipe(
    v.string(LIFETIME),
    v.check((text) => parseDuration(text) > 0, LIFETIME),
  ),
  asset: v.optional(v.pipe(v.string(ASSET), v.minLength(1, ASSET), v.maxLength(128, ASSET))),
  paths: v.optional(pathList),
  files: v.optional(listOf(file, "['/aurora/intro.mp4']")),
  exclusions: v.optional(
    v.pipe(
      pathList,
      v.checkItems((path) => path !== '/', "must not be '/': that would open everything"),
    ),
  ),
  countries: v.optional(
    listOf(v.pipe(v.string(COUNTRY), v.regex(/^(?!UK)[A-Z]{2}$/, COUNTRY)), "['DE']", MAX_COUNTRIES),
  ),
  bindings: v.optional(
    v.pipe(
      v.array(binding, "must be a list of bindings, like ['country']"),
      atMost(MAX_ITEMS),
      v.check(
        (names) => repeated(names) === undefined,
        ({ input }) => `names '${repeated(input)}' twice`,
      ),
    ),
  ),
});

/** The first binding that stands in a list before, with or without the question mark of the tolerant. */
function repeated(names: string[]): string | undefined {
  const seen = new Set<string>();
  return names
    .map((name) => name.replace(/\?$/, ''))
    .find((name) => {
      const isSeen = seen.has(name);
      seen.add(name);
      return isSeen;
    });
}

/** What tokens of one kind say: how long they live, what they open, what they are bound to. */
export interface Policy {
  /** Lifetime of a token, ISO 8601 (`PT1H`) or `+3h`. */
  lifetime: string;
  /** Asset id (claim `aid`); by default the first segment of the playback URL's path, behind the token's place. */
  asset?: string | undefined;
  /** Path scope (claim `paths`); by default the directory of the playback URL, or nothing when there are `files`. */
  paths?: string[] | undefined;
  /** Exact files opened beside them (claim `files`); each opens itself alone, and none ends with a slash. */
  files?: string[] | undefined;
  /** Further paths that the token opens although they are not in its scope, such as shared fonts: excluded from that check alone. */
  exclusions?: string[] | undefined;
  /** Countries from which the token may be used, ISO 3166-1 alpha-2; all by default. */
  countries?: string[] | undefined;
  /**
   * Bindings such as `country` or `header:x-device`, in the order they are signed; none by default. One that ends in `?`
   * is skipped when the viewer, at minting or later, has no value for it.
   */
  bindings?: string[] | undefined;
}

export type Issues = [v.BaseIssue<unknown>, ...v.BaseIssue<unknown>[]];

/** The first issue as `field.path: message`; `fields` are those there are. */
export function describeIssue([issue]: Issues, fields: Record<string, v.GenericSchema>): string {
  const path = v.getDotPath(issue);
  if (!path) return 'must be a JSON object';
  if (issue.expected === 'never') return `${path}: unknown field; known are ${Object.keys(fields).join(', ')}`;
  const field = fields[path];
  if (!isMissing(issue) || !field) return `${path}: ${issueMessage(issue)}`;
  return `${path}: is missing; it ${v.safeParse(field, undefined).issues?.[0].message}`;
}

/** What is wrong, in words that repeat nothing of what was given, as the validator's own do. */
export function issueMessage({ message, expected }: v.BaseIssue<unknown>): string {
  return /^Invalid [a-z ]+:/.test(message) ? `must be ${expected ?? 'another value'}` : message;
}

/** Whether a field is not there. */
export function isMissing(issue: v.BaseIssue<unknown>): boolean {
  return issue.kind === 'schema' && issue.received === 'undefined';
}

const text = v.pipe(
  v.string(),
  v.regex(/^(?!\s)[^\p{Cc}]+(?<!\s)$/u, 'must be a text without control characters, and without spaces around it'),
);
const ascii = v.pipe(text, v.regex(/^[ -~]*$/, 'must be ASCII: other characters reach the edge in no one spelling'));
const parameter = v.pipe(v.string(), v.regex(QUERY_TEXT, 'must be percent-encoded, as it will stand in the URL'));

/** The attributes of a viewer; the interface documents them. */
export const ViewerSchema = v.strictObject({
  ip: v.optional(
    v.pipe(
      v.string(),
      v.check((ip) => canonicalIp(ip) !== '', 'must be an IPv4 or IPv6 address'),
    ),
  ),
  country: v.optional(
    v.pipe(
      v.string(),
      v.regex(
        /^(?!UK)[A-Z]{2}$/i,
        "must be two letters (ISO 3166-1 alpha-2), like 'DE', and 'GB' for the United Kingdom",
      ),
    ),
  ),
  region: v.optional(ascii),
  city: v.optional(text),
  asn: v.optional(v.pipe(v.string(), v.regex(/^\d{1,10}$/, "must be digits, like '3320'"))),
  ja4: v.optional(ascii),
  device: v.optional(v.picklist(DEVICES)),
  userAgent: v.optional(ascii),
  referer: v.optional(ascii),
  method: v.optional(v.picklist(['GET', 'HEAD'])),
  headers: v.optional(v.record(v.string(), ascii)),
  query: v.optional(v.record(v.string(), parameter)),
  subject: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(128))),
});

/** What is known of a viewer at minting. */
export interface ViewerAttributes {
  ip?: string | undefined;
  /** ISO 3166-1 alpha-2. */
  country?: string | undefined;
  /** The part of ISO 3166-2 after the country. */
  region?: string | undefined;
  city?: string | undefined;
  /** Autonomous system number, digits only. */
  asn?: string | undefined;
  /** JA4 fingerprint of the TLS client hello. */
  ja4?: string | undefined;
  device?: (typeof DEVICES)[number] | undefined;
  userAgent?: string | undefined;
  referer?: string | undefined;
  /** GET unless given. */
  method?: 'GET' | 'HEAD' | undefined;
  /** Further request headers by name, in any case. */
  headers?: Record<string, string> | undefined;
  /** Query parameters as they will stand in the URL, percent-encoded. */
  query?: Record<string, string> | undefined;
  /** Opaque viewer id (claim `sub`). */
  subject?: string | undefined;
}

/** The request header in which the edge shows an attribute; `device` has a header for each kind instead. */
export const ATTRIBUTE_HEADERS = {
  country: 'cloudfront-viewer-country',
  region: 'cloudfront-viewer-country-region',
  city: 'cloudfront-viewer-city',
  asn: 'cloudfront-viewer-asn',
  ja4: 'cloudfront-viewer-ja4-fingerprint',
  userAgent: 'user-agent',
  referer: 'referer',
} as const satisfies Partial<Record<keyof ViewerAttributes, string>>;

const ATTRIBUTE_SCHEMAS: Record<string, v.GenericSchema> = ViewerSchema.entries;

/** Checks the attributes of a viewer. Throws `ERR_VIEWER_INVALID` with the path of the offending field. */
export function parseViewer(input: unknown): ViewerAttributes {
  if (hasRightAttributes(input)) return input;
  const result = v.safeParse(ViewerSchema, input);
  if (result.success) return result.output;
  throw new MintingError('ERR_VIEWER_INVALID', `viewer: ${describeIssue(result.issues, ViewerSchema.entries)}`);
}

/** The short answer for nearly every viewer: most attributes are absent, and asking the whole schema takes six times as long. */
function hasRightAttributes(input: unknown): input is ViewerAttributes {
  if (typeof input !== 'object' || input === null) return false;
  for (const name in input) {
    if (!isAttribute(name, (input as Record<string, unknown>)[name])) return false;
  }
  return true;
}

function isAttribute(name: string, value: unknown): boolean {
  const schema = Object.hasOwn(ATTRIBUTE_SCHEMAS, name) ? ATTRIBUTE_SCHEMAS[name] : undefined;
  return schema !== undefined && v.is(schema, value);
}

/**
 * What of some attributes is right; the rest counts as unknown. For what a request carries, where an odd User-Agent must
 * not keep a viewer from a token that does not bind it: one that does is refused at minting for want of the value.
 */
export function knownViewer(attributes: Partial<Record<keyof ViewerAttributes, unknown>>): ViewerAttributes {
  const known = Object.entries(attributes).filter(([name, value]) => value !== undefined && isAttribute(name, value));
  return Object.fromEntries(known);
}
