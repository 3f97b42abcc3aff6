import type { MiddlewareHandler } from 'hono';

/** What a route sees of the request's caller. */
export type CallerEnv = { Variables: { caller: { subject: string; roles: string[] } } };

/** Makes the middleware that lets only callers with the role through. */
export type Authorize = (role: 'security') => MiddlewareHandler<CallerEnv>;
