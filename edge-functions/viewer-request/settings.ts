/**
 * Settings of the function. A CloudFront Function has no environment, so the build replaces this module with the
 * configured values (`edge-functions/build/bundle.ts`); what stands here are the types and the defaults.
 */

/**
 * What the function does with its decision: nothing at all (`off`), write it to the log (`log`), or also deny what is not
 * allowed (`enforce`).
 */
export type Mode = 'off' | 'log' | 'enforce';

/** Largest `exp − iat` of a token, in seconds. */
export const MAX_TOKEN_LIFETIME_SECONDS: number = 86400;
/** Tolerated clock difference for `exp` and `nbf`, in seconds. */
export const LEEWAY_SECONDS: number = 0;
/** Path before the token, begins and ends with a slash. */
export const TOKEN_PREFIX: string = '/';
/** Roll-out mode of paths for which the edge store has none. */
export const MODE: Mode = 'enforce';
/** Whether a request is denied when the store cannot tell if its session or asset is blocked. */
export const DENY_UNREADABLE: boolean = true;
/** Beginnings of User-Agents let through without a token during a migration; null for none, so that the build drops what is then not needed. */
export const LEGACY_USER_AGENTS: string[] | null = null;
/** Origins whose pages may read a denial (CORS); null for all. */
export const ALLOWED_ORIGINS: string[] | null = null;
