import * as v from 'valibot';
import { ALLOWED_ORIGINS, LEEWAY_SECONDS, MAX_TOKEN_LIFETIME_SECONDS } from '../viewer-request/settings.ts';

const origin = v.pipe(
  v.string(),
  v.regex(/^(?:\*|https?:\/\/[a-z0-9.-]+(?::\d{1,5})?)$/, "must be an origin like 'https://play.example.com', or '*'"),
);

/** What can be configured of the viewer-request function; defaults are those of its settings module. */
export const EdgeSettingsSchema = v.strictObject({
  /** Largest `exp − iat` of a token, in seconds. */
  maxTokenLifetimeSeconds: v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(60), v.maxValue(31 * 86400)),
    MAX_TOKEN_LIFETIME_SECONDS,
  ),
  /** Tolerated clock difference for `exp` and `nbf`, in seconds. */
  leewaySeconds: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(300)), LEEWAY_SECONDS),
  /** Origins whose pages may read a denial (CORS); `*` for all. */
  allowedOrigins: v.optional(v.array(origin), ALLOWED_ORIGINS),
});

export type EdgeSettings = v.InferOutput<typeof EdgeSettingsSchema>;
