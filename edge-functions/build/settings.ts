import * as v from 'valibot';
import { LEEWAY_SECONDS, MAX_TOKEN_LIFETIME_SECONDS, MODE } from '../viewer-request/settings.ts';

const origin = v.pipe(
  v.string(),
  v.regex(/^(?:\*|https?:\/\/[a-z0-9.-]+(?::\d{1,5})?)$/, "must be an origin like 'https://play.example.com', or '*'"),
);

/** The beginning of a User-Agent: nothing that could end a string of the function, no control character. */
const printable = v.pipe(v.string(), v.regex(/^[ !#-[\]-~]{1,128}$/, 'must be 1–128 printable ASCII characters'));

/** What can be configured of the viewer-request function. */
export const EdgeSettingsSchema = v.strictObject({
  /** Largest `exp − iat` of a token, in seconds. */
  maxTokenLifetimeSeconds: v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(60), v.maxValue(31 * 86400)),
    MAX_TOKEN_LIFETIME_SECONDS,
  ),
  /** Tolerated clock difference for `exp` and `nbf`, in seconds. */
  leewaySeconds: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(300)), LEEWAY_SECONDS),
  /** Where in a URL the token stands: the first segment, or after a fixed path. */
  tokenPosition: v.optional(
    v.pipe(
      v.string(),
      v.regex(/^\/(?:[\w-]+\/)*~TOKEN$/, "must be '/~TOKEN', or a path before it like '/live/~TOKEN'"),
    ),
    '/~TOKEN',
  ),
  /** Roll-out mode of paths for which the edge store has none. */
  mode: v.optional(v.picklist(['off', 'log', 'enforce']), MODE),
  /** What becomes of a genuine token when the edge store cannot tell whether its session or asset is blocked. */
  unreadableStore: v.optional(v.picklist(['deny', 'allow']), 'deny'),
  /** Beginnings of User-Agents that are let through without a token, during a migration. */
  legacyUserAgents: v.optional(v.array(printable), []),
  /** Origins whose pages may read a denial (CORS); `*` for all. */
  allowedOrigins: v.optional(v.array(origin), ['*']),
});

export type EdgeSettings = v.InferOutput<typeof EdgeSettingsSchema>;

/** The path before the token, begins and ends with a slash. */
export function tokenPrefix({ tokenPosition }: Pick<EdgeSettings, 'tokenPosition'>): string {
  return tokenPosition.replace('~TOKEN', '');
}
