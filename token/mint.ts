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

/** Claims to mint: without the MACs, which are computed, and with `bnd` as in a policy (`country?`). */
export type MintClaims = Omit<ClaimsSet, 'bmac' | 'btol'>;

/** A binding as a policy names it. */
export interface PolicyBinding {
  /** Without the question mark: `header:x-device`. */
  binding: string;
  name: BindingName;
  /** What follows the colon: `x-device`. */
  argument: string;
  /** Whether a request without the value is let through. */
  isTolerant: boolean;
}

/** Reads a binding of a policy, such as `country`, `header:x-device` or `country?`. Throws `ERR_TOKEN_BINDING_UNKNOWN`. */
export function parseBinding(text: string): PolicyBinding {
  const isTolerant = text.endsWith('?');
  const binding = isTolerant ? text.slice(0, -1) : text;
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
  return { binding, name: name as BindingName, argument, isTolerant };
}

/**
 * Mints `<sid>.<header>.<payload>.<signature>`: a JWS in compact serialisation (RFC 7515 §7.1, HS256) behind the session
 * id. The MACs of the bindings are computed from the viewer; a tolerant binding of which the viewer has no value is left
 * out. Refuses what the edge would refuse: throws `TokenError`.
 */
export function mint(claims: MintClaims, key: MintingKey, viewing: Viewing, crypto: MintCrypto): string {
  const { bnd = [], ...unbound } = claims;
  const signedClaims: ClaimsSet = { ...unbound, ...boundClaims(claims.sid, bnd, key, viewing, crypto) };
  const payload = JSON.stringify(signedClaims);
  if (!readClaims(payload)) {
    throw new TokenError('ERR_TOKEN_CLAIMS', 'a claim is missing, has the wrong type, or the times are out of order');
  }
  for (const scope of [...claims.paths, ...(claims.files ?? [])]) {
    if (isUnsafePath(scope)) throw new TokenError('ERR_TOKEN_SCOPE', `'${scope}' is not a safe absolute path`);
  }
  const header = JSON.stringify({ alg: 'HS256', typ: TOKEN_TYPE, kid: key.kid });
  const signed = `${crypto.encode(header)}.${crypto.encode(payload)}`;
  const token = `${claims.sid}.${signed}.${crypto.hmac(key.sign, signed)}`;
  if (token.length > MAX_TOKEN_LENGTH) {
    throw new TokenError('ERR_TOKEN_TOO_LONG', `the token has ${token.length} characters, at most ${MAX_TOKEN_LENGTH}`);
  }
  if (typeof parse(`/${token}/`, '/', crypto) === 'string') {
    throw new TokenError('ERR_TOKEN_CLAIMS', 'the session id must be 12–64 and the key id 1–64 safe characters');
  }
  return token;
}

/** The claims that bind a session to a viewer; none when nothing is bound. */
function boundClaims(
  sid: string,
  policyBindings: string[],
  key: MintingKey,
  viewing: Viewing,
  crypto: MintCrypto,
): Pick<ClaimsSet, 'bnd' | 'bmac' | 'btol'> {
  const bindings = policyBindings.map(parseBinding);
  const macOf = (names: string[]) => crypto.hmac(key.bind, bindingInput(sid, names, viewing));
  const hasValue = (binding: string) => bindingValue(binding, viewing) !== '';
  const required = bindings.filter(({ isTolerant }) => !isTolerant).map(({ binding }) => binding);
  const missing = required.find((binding) => !hasValue(binding));
  if (missing !== undefined) {
    throw new TokenError('ERR_TOKEN_BINDING_MISSING', `the viewer has no single value for binding '${missing}'`);
  }
  const tolerant = bindings.filter(({ isTolerant, binding }) => isTolerant && hasValue(binding));
  return {
    ...(required.length > 0 && { bnd: required, bmac: macOf(required) }),
    ...(tolerant.length > 0 && { btol: tolerant.map(({ binding }) => `${binding}=${macOf([binding])}`) }),
  };
}
