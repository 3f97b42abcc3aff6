import { BINDING_DOCS } from './binding-docs.ts';
import { BINDINGS, type BindingName, bindingInput } from './bindings.ts';
import { type ClaimsSet, isText, isTime, readClaims, SESSION_ID } from './claims.ts';
import type { MintCrypto } from './crypto.ts';
import type { MintingKey } from './keys.ts';
import { KEY_ID, MAX_TOKEN_LENGTH, TOKEN_TYPE } from './parse.ts';
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

/** Claims that are the same in every token of a policy. */
export type FixedClaims = Omit<MintClaims, keyof SessionClaims>;

/** Claims that differ from token to token. */
export type SessionClaims = Pick<MintClaims, 'sid' | 'aid' | 'iat' | 'exp' | 'sst' | 'sub'>;

/** Fixed claims, checked and serialised once for many tokens. */
export interface PreparedClaims {
  /** `,"paths":[…]` */
  paths: string;
  /** The other members, JSON, each behind a comma; '' when there are none. */
  others: string;
  /** Bindings that must be there, in the order they are signed. */
  required: string[];
  /** `,"bnd":[…]`; '' when there are none. */
  bnd: string;
  /** Bindings that are skipped where the viewer has no value. */
  tolerant: string[];
}

/** A minting key, made ready once for many tokens. */
export interface PreparedKey {
  /** The header of its tokens, base64url. */
  header: string;
  /** MAC of a text under the signing key, base64url. */
  sign(text: string): string;
  /** MAC of a text under the binding key, base64url. */
  bind(text: string): string;
  /** UTF-8 text as base64url. */
  encode(text: string): string;
}

/** What stands in for a session while the claims that are fixed are checked. */
const ANY_SESSION: SessionClaims = { sid: 'anysession00', aid: 'any', iat: 0, exp: 1, sst: 0 };

/**
 * Checks fixed claims as the edge will, and serialises them. Throws `ERR_TOKEN_CLAIMS`, `ERR_TOKEN_SCOPE`,
 * `ERR_TOKEN_BINDING_UNKNOWN`. What is given may change afterwards: only text is kept.
 */
export function prepareClaims(claims: FixedClaims): PreparedClaims {
  const { sid, aid, iat, exp, sst, sub, paths, bnd = [], ...others } = claims as MintClaims;
  const bindings = bnd.map(parseBinding);
  const required = bindings.filter(({ isTolerant }) => !isTolerant).map(({ binding }) => binding);
  const members = JSON.stringify(others).slice(1, -1);
  const prepared: PreparedClaims = {
    paths: `,"paths":${JSON.stringify(paths)}`,
    others: members && `,${members}`,
    required,
    bnd: required.length > 0 ? `,"bnd":${JSON.stringify(required)}` : '',
    tolerant: bindings.filter(({ isTolerant }) => isTolerant).map(({ binding }) => binding),
  };
  if (!readClaims(payloadOf(prepared, ANY_SESSION, ''))) throw claimsError();
  for (const scope of [...paths, ...(others.files ?? [])]) {
    if (isUnsafePath(scope)) throw new TokenError('ERR_TOKEN_SCOPE', `'${scope}' is not a safe absolute path`);
  }
  return prepared;
}

/** Makes a key ready. Throws `ERR_TOKEN_CLAIMS` when its id is none. */
export function prepareKey(key: MintingKey, crypto: MintCrypto): PreparedKey {
  const { kid } = key;
  if (typeof kid !== 'string' || !KEY_ID.test(kid)) {
    throw new TokenError('ERR_TOKEN_CLAIMS', 'the key id must be 1–64 letters, digits, _ or -');
  }
  const header = crypto.encode(JSON.stringify({ alg: 'HS256', typ: TOKEN_TYPE, kid }));
  return { header, sign: crypto.hmac(key.sign), bind: crypto.hmac(key.bind), encode: crypto.encode };
}

/**
 * Mints `<sid>.<header>.<payload>.<signature>`: a JWS in compact serialisation (RFC 7515 §7.1, HS256) behind the session
 * id. The MACs of the bindings are computed from the viewer; a tolerant binding of which the viewer has no value is left
 * out. Refuses what the edge would refuse: throws `TokenError`.
 */
export function mint(claims: MintClaims, key: MintingKey, viewing: Viewing, crypto: MintCrypto): string {
  return mintPrepared(prepareClaims(claims), claims, prepareKey(key, crypto), viewing);
}

/** As `mint`, of parts that were made ready before: checks only what differs from token to token. */
export function mintPrepared(
  claims: PreparedClaims,
  session: SessionClaims,
  key: PreparedKey,
  viewing: Viewing,
): string {
  if (!isSession(session)) throw claimsError();
  const { sid } = session;
  const payload = payloadOf(claims, session, boundMembers(claims, sid, key, viewing));
  const signed = `${key.header}.${key.encode(payload)}`;
  const token = `${sid}.${signed}.${key.sign(signed)}`;
  if (token.length > MAX_TOKEN_LENGTH) {
    throw new TokenError('ERR_TOKEN_TOO_LONG', `the token has ${token.length} characters, at most ${MAX_TOKEN_LENGTH}`);
  }
  return token;
}

function claimsError(): TokenError {
  return new TokenError('ERR_TOKEN_CLAIMS', 'a claim is missing, has the wrong type, or the times are out of order');
}

/** Whether the edge will take these claims: what `readClaims` asks of them, and that the session id is safe in a path. */
function isSession({ sid, aid, iat, exp, sst, sub }: SessionClaims): boolean {
  return (
    typeof sid === 'string' &&
    SESSION_ID.test(sid) &&
    isText(aid) &&
    isTime(sst) &&
    isTime(iat) &&
    isTime(exp) &&
    sst <= iat &&
    iat < exp &&
    (sub === undefined || isText(sub))
  );
}

/** The payload, JSON. A session id and times have the same spelling in a template as in JSON, and it costs half. */
function payloadOf(claims: PreparedClaims, session: SessionClaims, bound: string): string {
  const { sid, aid, iat, exp, sst, sub } = session;
  const required = `"sid":"${sid}","aid":${JSON.stringify(aid)},"iat":${iat},"exp":${exp},"sst":${sst}`;
  const subject = sub === undefined ? '' : `,"sub":${JSON.stringify(sub)}`;
  return `{${required}${claims.paths}${subject}${claims.others}${bound}}`;
}

/** The members that bind a session to a viewer, JSON, each behind a comma; '' when nothing is bound. */
function boundMembers(claims: PreparedClaims, sid: string, key: PreparedKey, viewing: Viewing): string {
  const { required, tolerant } = claims;
  let members = '';
  if (required.length > 0) {
    const input = bindingInput(sid, required, viewing);
    if (input === '') {
      const missing = required.find((binding) => bindingInput(sid, [binding], viewing) === '');
      throw new TokenError('ERR_TOKEN_BINDING_MISSING', `the viewer has no single value for binding '${missing}'`);
    }
    members = `${claims.bnd},"bmac":"${key.bind(input)}"`;
  }
  if (tolerant.length > 0) {
    const inputs = tolerant.map((binding) => [binding, bindingInput(sid, [binding], viewing)] as const);
    const present = inputs.filter(([, input]) => input !== '');
    const btol = present.map(([binding, input]) => `${binding}=${key.bind(input)}`);
    if (btol.length > 0) members += `,"btol":${JSON.stringify(btol)}`;
  }
  return members;
}
