import type { Context, MiddlewareHandler } from 'hono';
import { createMiddleware } from 'hono/factory';
import { type JWTVerifyGetKey, jwtVerify } from 'jose';
import { problem } from './problem-docs.ts';

/** Who may call what: a player asks for playback, a backend mints for others, security watches and revokes. */
export const ROLES = ['player', 'backend', 'security'] as const;
export type Role = (typeof ROLES)[number];

/** Audience of the bearer tokens that callers present. */
export const AUDIENCE = 'portcullis';

/** The caller that a bearer token proved. */
export interface Caller {
  subject: string;
  roles: string[];
}

/** What a route sees of the request's caller. */
export type CallerEnv = { Variables: { caller: Caller } };

/** Makes the middleware that lets only callers with one of `roles` through. */
export type Authorize = (...roles: Role[]) => MiddlewareHandler<CallerEnv>;

/** Lets the caller that `callerOf` finds through who has one of the roles asked for; 403 for another. `callerOf` throws the 401. */
export function roleAuthorization(callerOf: (c: Context) => Caller | Promise<Caller>): Authorize {
  return (...roles) =>
    createMiddleware<CallerEnv>(async (c, next) => {
      const caller = await callerOf(c);
      if (!roles.some((role) => caller.roles.includes(role))) {
        throw problem('ERR_ROLE', `This needs the role ${roles.join(' or ')}.`);
      }
      c.set('caller', caller);
      await next();
    });
}

/**
 * Checks the bearer JWT (RFC 6750) of a request against `keys` (a JWKS, local or remote): signature, `iss`, `aud`, `exp`,
 * and claim `roles`. 401 when it is absent or not valid, 403 when it has none of the roles asked for.
 */
export function bearerAuthorization(keys: JWTVerifyGetKey, issuer: string): Authorize {
  return roleAuthorization(async (c) => {
    const [, bearer] = /^Bearer ([\w.~+/-]+=*)$/i.exec(c.req.header('authorization') ?? '') ?? [];
    if (!bearer) throw problem('ERR_UNAUTHENTICATED', 'A bearer token is required.');
    const { payload } = await jwtVerify(bearer, keys, {
      issuer,
      audience: AUDIENCE,
      algorithms: ['ES256', 'RS256', 'PS256', 'EdDSA'],
      requiredClaims: ['exp', 'sub'],
    }).catch(() => {
      throw problem('ERR_UNAUTHENTICATED', 'The bearer token is not valid or has expired.');
    });
    const roles = Array.isArray(payload.roles) ? payload.roles.filter((role) => typeof role === 'string') : [];
    return { subject: payload.sub ?? '', roles };
  });
}
