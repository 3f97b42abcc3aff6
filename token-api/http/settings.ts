import * as v from 'valibot';

const origin = v.pipe(
  v.string(),
  v.regex(/^(?:\*|https?:\/\/[a-z0-9.-]+(?::\d{1,5})?)$/, "must be an origin like 'https://play.example.com', or '*'"),
);
const seconds = (initial: number) =>
  v.optional(v.pipe(v.number(), v.integer(), v.minValue(60), v.maxValue(31 * 86400)), initial);
const perMinute = (initial: number) =>
  v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10_000_000)), initial);

/** What can be configured of the HTTP API. */
export const ApiSettingsSchema = v.strictObject({
  /** Origins whose pages may call the API (CORS), beside the console's; none by default, `*` for all. */
  allowedOrigins: v.optional(v.array(origin), []),
  /** Requests that a caller may make in a minute, by the role it has. The role security has no limit. */
  requestsPerMinute: v.optional(v.strictObject({ player: perMinute(300), backend: perMinute(12_000) }), {}),
  /** How long a session may go on, renewals and hand-offs included, in seconds. No policy may live longer. */
  maxSessionSeconds: seconds(86400),
  /** Sessions that a subject may have at a time; 0 for any number. */
  sessionsPerSubject: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(100)), 0),
  /** Longest lifetime of a token that is handed to another device, in seconds. */
  handoffSeconds: seconds(4 * 3600),
});

export type ApiSettings = v.InferOutput<typeof ApiSettingsSchema>;
