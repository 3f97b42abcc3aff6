import { BINDING_DOCS } from './binding-docs.ts';
import { BINDINGS, type BindingName, bindingInput, bindingValue } from './bindings.ts';
import { type ClaimsSet, readClaims } from './claims.ts';
import type { MintCrypto } from './crypto.ts';
import type { MintingKey } from './keys.ts';
import { MAX_TOKEN_LENGTH, parse, TOKEN_TYPE } from './parse.ts';
import { isUnsafePath } from './path-scope.ts';
import type { Viewing } from './viewer.ts';

export type TokenErrorCode =
  | 'ERR_TOKEN_CLAIMS'
  | 'ERR_TOKEN_SCOPE'
  | 'ERR_TOKEN_BINDING_UNKNOWN'
  | 'ERR_TOKEN_BINDING_MISSING'
  | 'ERR_TOKEN_TOO_LONG';

/** Why a token cannot be minted. Carries names of claims and bindings, never their values. */
export class TokenError extends Error {
  readonly code: TokenErrorCode;
  constructor(code: TokenErrorCode, message: string) {
    super(message);
    this.name = 'TokenError';
    this.code = code;
  }
}

/** The parts of a binding: `header:x-device` → `['header', 'x-device']`. Throws `ERR_TOKEN_BINDING_UNKNOWN`. */
export function parseBinding(binding: string): [name: BindingName, argument: string] {
  const [name = '', ...rest] = binding.split(':');
  const argument = rest.join(':');
  if (!Object.hasOwn(BINDINGS, name)) {
    const known = Object.entries(BINDING_DOCS).map(([key, doc]) => (doc.argument ? `${key}:<name>` : key));
    throw new TokenError('ERR_TOKEN_BINDING_UNKNOWN', `unknown binding '${name}'; known are ${known.join(', ')}`);
  }
  const expected = BINDING_DOCS[name as BindingName].argument;
  if (expected ? !expected.pattern.test(argument) : binding !== name) {
    const form = expected ? `'${name}:<${expected.meaning}>'` : `'${name}' alone`;
    throw new TokenError('ERR_TOKEN_BINDING_UNKNOWN', `binding '${binding}' must be ${form}`);
  }
  return [name as BindingName, argument];
}

/**
 * Mints `<sid>.<header>.<payload>.<signature>`: a JWS in compact serialisation (RFC 7515 §7.1, HS256) behind the session
 * id. `claims` is everything but `bmac`, which is computed from the viewer when `bnd` is given. Refuses what the edge
 * would refuse: throws `TokenError`.
 */
export function mint(claims: Omit<ClaimsSet, 'bmac'>, key: MintingKey, viewing: Viewing, crypto: MintCrypto): string {
  const signedClaims: ClaimsSet = { ...claims };
  if (claims.bnd) {
    for (const binding of claims.bnd) {
      parseBinding(binding);
      if (bindingValue(binding, viewing) === '') {
        throw new TokenError('ERR_TOKEN_BINDING_MISSING', `the viewer has no single value for binding '${binding}'`);
      }
    }
    signedClaims.bmac = crypto.hmac(key.bind, bindingInput(claims.sid, claims.bnd, viewing));
  }
  const payload = JSON.stringify(signedClaims);
  if (!readClaims(payload)) {
    throw new TokenError('ERR_TOKEN_CLAIMS', 'a claim is missing, has the wrong type, or the times are out of order');
  }
  for (const scope of claims.paths) {
    if (isUnsafePath(scope)) throw new TokenError('ERR_TOKEN_SCOPE', `'${scope}' is not a safe absolute path`);
  }
  const header = JSON.stringify({ alg: 'HS256', typ: TOKEN_TYPE, kid: key.kid });
  const signed = `${crypto.encode(header)}.${crypto.encode(payload)}`;
  const token = `${claims.sid}.${signed}.${crypto.hmac(key.sign, signed)}`;
  if (token.length > MAX_TOKEN_LENGTH) {
    throw new TokenError('ERR_TOKEN_TOO_LONG', `the token has ${token.length} characters, at most ${MAX_TOKEN_LENGTH}`);
  }
  if (typeof parse(`/${token}/`, crypto) === 'string') {
    throw new TokenError('ERR_TOKEN_CLAIMS', 'the session id must be 12–64 and the key id 1–64 safe characters');
  }
  return token;
}
