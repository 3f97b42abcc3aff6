import { decodeJwt } from 'jose';
import * as v from 'valibot';
import { type Authorize, ROLES, roleAuthorization } from '../../token-api/http/authorize.ts';
import { problem } from '../../token-api/http/problem-docs.ts';

/** What a role is called as a scope of a Cognito resource server. */
const SCOPE_PREFIX = 'portcullis/';

const Text = v.pipe(v.string(), v.nonEmpty());
/** Claim `roles` of a token. */
const Roles = v.fallback(
  v.union([
    v.array(v.string()),
    v.pipe(
      v.string(),
      v.transform((role) => [role]),
    ),
  ]),
  [],
);
/** A list of names without spaces, as it is or as the gateway writes it: `[player backend]`; or one name alone. */
const Names = v.fallback(
  v.union([
    v.array(v.string()),
    v.pipe(
      v.string(),
      v.transform((text) => /^\[(.*)\]$/.exec(text)?.[1]?.split(' ') ?? [text]),
    ),
  ]),
  [],
);

/** What the JWT authoriser puts into the event (API Gateway Developer Guide, "JWT authorizers for HTTP APIs"): all values are text there. */
const Authorised = v.object({
  event: v.object({
    requestContext: v.object({
      authorizer: v.object({
        jwt: v.object({
          claims: v.object({
            sub: Text,
            iss: Text,
            exp: v.union([Text, v.number()]),
            'cognito:groups': Names,
            scope: v.fallback(v.string(), ''),
          }),
        }),
      }),
    }),
  }),
});

/**
 * Callers as the JWT authoriser of an HTTP API verified them: signature, issuer, audience and expiry are checked before the
 * function is invoked. Roles are those in claim `roles`, in `cognito:groups`, and in `scope` as `portcullis/<role>`. The first are
 * read from the token itself: the gateway writes `["IT security"]` as it writes two roles. 401 for a request whose event has no
 * verified claims, whatever its Authorization header says, and for one whose header is not the token that they are of.
 */
export const gatewayAuthorization: Authorize = roleAuthorization((c) => {
  const result = v.safeParse(Authorised, c.env);
  if (!result.success) throw problem('ERR_UNAUTHENTICATED', 'A bearer token is required.');
  const { claims } = result.output.event.requestContext.authorizer.jwt;
  const roles = rolesOf(c.req.header('authorization') ?? '', claims);
  const scopes = claims.scope.split(' ').filter((scope) => scope.startsWith(SCOPE_PREFIX));
  const named = [...roles, ...claims['cognito:groups'], ...scopes.map((scope) => scope.slice(SCOPE_PREFIX.length))];
  return { subject: claims.sub, roles: ROLES.filter((role) => named.includes(role)) };
});

/** Roles that the token of the Authorization header names, which has to be the one that the gateway verified. */
function rolesOf(authorization: string, { sub, iss }: { sub: string; iss: string }): string[] {
  try {
    const token = decodeJwt(authorization.replace(/^Bearer +/i, ''));
    if (token.sub === sub && token.iss === iss) return v.parse(Roles, token.roles);
  } catch {
    // Not a JWT: refused as another one is.
  }
  throw problem('ERR_UNAUTHENTICATED', 'The bearer token is not the one that was verified.');
}
