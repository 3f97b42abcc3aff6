/**
 * Settings of the function. A CloudFront Function has no environment, so the build replaces this module with the
 * configured values (`edge-functions/build/bundle.ts`); what stands here are the types and the defaults.
 */

/** Largest `exp − iat` of a token, in seconds. */
export const MAX_TOKEN_LIFETIME_SECONDS: number = 86400;
/** Tolerated clock difference for `exp` and `nbf`, in seconds. */
export const LEEWAY_SECONDS: number = 0;
/** Origins whose pages may read a denial (CORS); `*` for all. */
export const ALLOWED_ORIGINS: string[] = ['*'];
/** Whether all may: a constant of its own, so that the build drops what is then not needed. */
export const ANY_ORIGIN: boolean = true;
