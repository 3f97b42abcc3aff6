import * as v from 'valibot';
import { type Authorize, ROLES, roleAuthorization } from '../../token-api/http/authorize.ts';
import { problem } from '../../token-api/http/problem-docs.ts';

/** What a role is called as a scope of a Cognito resource server. */
const SCOPE_PREFIX = 'portcullis/';

const Text = v.pipe(v.string(), v.nonEmpty());
/** A list claim, as it is or as the gateway writes it: `[player backend]`; or one name alone. */
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
            exp: v.union([Text, v.number()]),
            roles: Names,
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
 * function is invoked. Roles are those in claim `roles`, in `cognito:groups`, and in `scope` as `portcullis/<role>`. 401 for a
 * request whose event has no verified claims, whatever its Authorization header says: then its route has no authoriser.
 */
export const gatewayAuthorization: Authorize = roleAuthorization((c) => {
  const result = v.safeParse(Authorised, c.env);
  if (!result.success) throw problem('ERR_UNAUTHENTICATED', 'A bearer token is required.');
  const { claims } = result.output.event.requestContext.authorizer.jwt;
  const scopes = claims.scope.split(' ').filter((scope) => scope.startsWith(SCOPE_PREFIX));
  const named = [
    ...claims.roles,
    ...claims['cognito:groups'],
    ...scopes.map((scope) => scope.slice(SCOPE_PREFIX.length)),
  ];
  return { subject: claims.sub, roles: ROLES.filter((role) => named.includes(role)) };
});
