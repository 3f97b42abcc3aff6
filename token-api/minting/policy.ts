import * as v from 'valibot';
import { canonicalIp, DEVICES, isUnsafePath, parseBinding } from '../../token/index.ts';

export type MintingErrorCode =
  | 'ERR_POLICY_INVALID'
  | 'ERR_POLICY_LIFETIME'
  | 'ERR_VIEWER_INVALID'
  | 'ERR_URL_INVALID'
  | 'ERR_URL_OUT_OF_SCOPE';

/** Why a policy, viewer or URL cannot be minted for. Names fields, never values of a viewer. */
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

const pathScope = v.pipe(
  v.string(),
  v.check((path) => !isUnsafePath(path), 'must be an absolute path without dot segments, // or escaped separators'),
);

const binding = v.pipe(
  v.string(),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    try {
      parseBinding(dataset.value);
    } catch (error) {
      addIssue({ message: (error as Error).message });
    }
  }),
);

const COUNTRY = "must be two upper-case letters (ISO 3166-1 alpha-2), like 'DE'";

/** What a policy file may say; the interface documents the fields. */
export const PolicySchema = v.strictObject({
  lifetime: v.pipe(
    v.string("must be a duration like 'PT1H' or '+3h'"),
    v.check((text) => parseDuration(text) > 0, "must be a duration above zero like 'PT1H' or '+3h'"),
  ),
  asset: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(128))),
  paths: v.optional(v.pipe(v.array(pathScope), v.minLength(1))),
  files: v.optional(v.pipe(v.array(pathScope), v.minLength(1))),
  exclusions: v.optional(
    v.pipe(
      v.array(pathScope),
      v.minLength(1),
      v.check((paths) => !paths.includes('/'), "must not name '/': that would open everything"),
    ),
  ),
  countries: v.optional(v.pipe(v.array(v.pipe(v.string(), v.regex(/^[A-Z]{2}$/, COUNTRY))), v.minLength(1))),
  bindings: v.optional(
    v.pipe(
      v.array(binding),
      v.check(
        (names) => new Set(names.map((name) => name.replace('?', ''))).size === names.length,
        'names a binding twice',
      ),
    ),
    [],
  ),
});

/** What tokens of one kind say: how long they live, what they open, what they are bound to. */
export interface Policy {
  /** Lifetime of a token, ISO 8601 (`PT1H`) or `+3h`. */
  lifetime: string;
  /** Asset id (claim `aid`); by default the first segment of the playback URL's path, behind the token's place. */
  asset?: string | undefined;
  /** Path scope (claim `paths`); by default `files`, and without them the directory of the playback URL. */
  paths?: string[] | undefined;
  /** Exact files opened beside them (claim `files`); each opens itself alone. */
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

/** The first issue as `field.path: message`. */
function describe(issues: [v.BaseIssue<unknown>, ...v.BaseIssue<unknown>[]], known: object): string {
  const [issue] = issues;
  const path = v.getDotPath(issue);
  if (!path) return 'must be a JSON object';
  if (issue.expected === 'never') return `${path}: unknown field; known are ${Object.keys(known).join(', ')}`;
  return `${path}: ${issue.received === 'undefined' ? 'is missing' : issue.message}`;
}

/**
 * Checks a policy. Throws `ERR_POLICY_INVALID` with the path of the offending field, `ERR_POLICY_LIFETIME` when it lives
 * longer than `maxLifetimeSeconds`.
 */
export function parsePolicy(input: unknown, maxLifetimeSeconds: number): Policy {
  const result = v.safeParse(PolicySchema, input);
  if (!result.success)
    throw new MintingError('ERR_POLICY_INVALID', `policy: ${describe(result.issues, PolicySchema.entries)}`);
  const lifetime = parseDuration(result.output.lifetime);
  if (lifetime > maxLifetimeSeconds) {
    const message = `policy: lifetime: ${lifetime} s is above the maximum of ${maxLifetimeSeconds} s that the edge accepts`;
    throw new MintingError('ERR_POLICY_LIFETIME', message);
  }
  return result.output;
}

const text = v.pipe(v.string(), v.minLength(1));
const ascii = v.pipe(text, v.regex(/^[ -~]*$/, 'must be ASCII: other characters reach the edge in no one spelling'));
const fields = v.optional(v.record(v.string(), ascii), {});

/** What may be known of a viewer; the interface documents the fields. */
export const ViewerSchema = v.strictObject({
  ip: v.optional(
    v.pipe(
      v.string(),
      v.check((ip) => canonicalIp(ip) !== '', 'must be an IPv4 or IPv6 address'),
    ),
  ),
  country: v.optional(
    v.pipe(v.string(), v.regex(/^[A-Z]{2}$/i, "must be two letters (ISO 3166-1 alpha-2), like 'DE'")),
  ),
  region: v.optional(ascii),
  city: v.optional(text),
  asn: v.optional(v.pipe(v.string(), v.regex(/^\d{1,10}$/, "must be digits, like '3320'"))),
  ja4: v.optional(ascii),
  device: v.optional(v.picklist(DEVICES)),
  userAgent: v.optional(ascii),
  referer: v.optional(ascii),
  method: v.optional(v.picklist(['GET', 'HEAD'])),
  headers: fields,
  query: fields,
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

/** Checks the attributes of a viewer. Throws `ERR_VIEWER_INVALID` with the path of the offending field. */
export function parseViewer(input: unknown): ViewerAttributes {
  const result = v.safeParse(ViewerSchema, input);
  if (!result.success)
    throw new MintingError('ERR_VIEWER_INVALID', `viewer: ${describe(result.issues, ViewerSchema.entries)}`);
  return result.output;
}

/**
 * What of some attributes is right; the rest counts as unknown. For what a request carries, where an odd User-Agent must
 * not keep a viewer from a token that does not bind it: one that does is refused at minting for want of the value.
 */
export function knownViewer(attributes: Partial<Record<keyof ViewerAttributes, unknown>>): ViewerAttributes {
  const schemas: Record<string, v.GenericSchema> = ViewerSchema.entries;
  const known = Object.entries(attributes).filter(([name, value]) => {
    const schema = schemas[name];
    return schema !== undefined && value !== undefined && v.is(schema, value);
  });
  return Object.fromEntries(known);
}
