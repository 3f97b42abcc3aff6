import {
  createLocalJWKSet,
  exportJWK,
  generateKeyPair,
  importJWK,
  type JWK,
  type JWTVerifyGetKey,
  SignJWT,
} from 'jose';
import { AUDIENCE, ROLES, type Role } from '../token-api/http/authorize.ts';
import type { DataDirectory } from './data-directory.ts';
import { StackError } from './errors.ts';

export const ISSUER = 'portcullis-local';
/** How long a bearer token of the local issuer lives, in seconds. */
export const BEARER_SECONDS = 24 * 3600;

export type RoleTokens = Record<Role, string>;

/** The identity provider of the local stack: what a customer's own issuer is on AWS. */
export interface Issuer {
  /** The public keys, as a JWKS. */
  keys: JWTVerifyGetKey;
  /** A fresh bearer token for each role. */
  tokens(): Promise<RoleTokens>;
}

/** Opens the issuer; its key (ES256) is made at first start and kept, so that tokens survive a restart. */
export async function openIssuer(data: DataDirectory): Promise<Issuer> {
  let privateJwk = (await data.read('issuer.json')) as JWK | undefined;
  if (!privateJwk) {
    const { privateKey } = await generateKeyPair('ES256', { extractable: true });
    privateJwk = { ...(await exportJWK(privateKey)), alg: 'ES256', kid: 'local' };
    await data.write('issuer.json', privateJwk);
  }
  const signingKey = await importJWK(privateJwk, 'ES256').catch(() => {
    throw new StackError(
      'ERR_STACK_DATA',
      `${data.path('issuer.json')} holds no key; move it away and a new one is made`,
    );
  });
  const { d: _private, ...publicJwk } = privateJwk;
  const bearer = (role: Role) =>
    new SignJWT({ roles: [role] })
      .setProtectedHeader({ alg: 'ES256', kid: 'local' })
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setSubject(`local-${role}`)
      .setIssuedAt()
      .setExpirationTime(`${BEARER_SECONDS}s`)
      .sign(signingKey);
  return {
    keys: createLocalJWKSet({ keys: [publicJwk] }),
    async tokens() {
      const entries = await Promise.all(ROLES.map(async (role) => [role, await bearer(role)] as const));
      return Object.fromEntries(entries) as RoleTokens;
    },
  };
}
