import {
  bindingValue,
  type ClaimsSet,
  isInScope,
  type MintClaims,
  type MintingKey,
  mint,
  parse,
  type Reason,
  readClaims,
  TokenError,
  type VerificationKey,
  verify,
} from '../../token/index.ts';
import { nodeCrypto } from './crypto.ts';
import { edgeView, issueTime } from './minter.ts';
import type { ViewerAttributes } from './policy.ts';

export type RenewalErrorCode = 'ERR_TOKEN_REFUSED' | 'ERR_SESSION_ENDED' | 'ERR_RENEWAL_NOT_LATER';

/** Why a presented token is not exchanged for another. Never carries the token or a value of the viewer. */
export class RenewalError extends Error {
  readonly code: RenewalErrorCode;
  /** Why the edge would deny the presented token; with `ERR_TOKEN_REFUSED` alone. */
  readonly reason: Reason | undefined;
  constructor(code: RenewalErrorCode, message: string, reason?: Reason) {
    super(message);
    this.name = 'RenewalError';
    this.code = code;
    this.reason = reason;
  }
}

/** What a renewer is made of. */
export interface RenewerOptions {
  /** The key to mint with, asked for at every call. */
  key: () => MintingKey;
  /** A key that the edge accepts, by its id; undefined when there is none. */
  verificationKey: (kid: string) => VerificationKey | undefined;
  /** Largest `exp − iat` that the edge accepts, in seconds. */
  maxLifetimeSeconds: number;
  /** Tolerated clock difference for `exp` and `nbf`, in seconds. */
  leewaySeconds: number;
  /** How long a session may go on, from `sst`, in seconds. */
  maxSessionSeconds: number;
  /** Longest lifetime of a token for another device, in seconds. */
  handoffSeconds: number;
  /** Path before the token in a URL, begins and ends with a slash. */
  tokenPrefix: string;
  /** Seconds since the epoch. */
  now: () => number;
}

/** A presented token that the edge would let through. */
export interface PresentedToken {
  claims: ClaimsSet;
  /** Id of the key that it is signed with. */
  kid: string;
  /** Who presented it, and whom it is bound to: the two are the same as far as it is bound. */
  viewer: ViewerAttributes;
  /** Where it was presented, origin and path without the token; undefined when it was presented alone. */
  location: { origin: string; path: string } | undefined;
  /** Query string that it is used with, without `?`. */
  query: string;
}

/** A token minted in place of a presented one. `expiresAt` is in seconds since the epoch. */
export interface RenewedToken {
  token: string;
  /** Undefined when the token was presented alone and no playback URL that it opens is known. */
  url: string | undefined;
  sessionId: string;
  /** Id of the key that it is signed with. */
  kid: string;
  expiresAt: number;
}

/** What the other device of a hand-off is known by. Where it is cannot be said: that stays what it was. */
export type DeviceAttributes = Pick<
  ViewerAttributes,
  'ja4' | 'device' | 'userAgent' | 'referer' | 'method' | 'headers' | 'query'
>;

/**
 * Exchanges unexpired tokens for others of the same session. Knows nothing of revocation: whoever calls it asks first. Both
 * ways of minting throw `MintingError` `ERR_CLOCK` when the clock cannot be right.
 */
export interface Renewer {
  /**
   * Verifies a token, or a playback URL that carries one, as the edge would for this viewer. Throws `ERR_TOKEN_REFUSED`
   * with the edge's reason. Stricter than the edge in one point: a value that a tolerant binding is about has to be there,
   * because the binding would be lost without it.
   */
  verify(presented: string, viewer: ViewerAttributes): PresentedToken;
  /**
   * Mints the token that follows: it says the same, lives as long again, and at most until the session has lasted
   * `maxSessionSeconds`. Throws `ERR_SESSION_ENDED` at that point, `ERR_RENEWAL_NOT_LATER` when it would not outlive the
   * presented one. `playbackUrl` is where the asset lies, for a token that was presented alone.
   */
  renew(presented: PresentedToken, playbackUrl?: string): RenewedToken;
  /**
   * Mints a token of the same session for another device: what binds the device is taken from `device`, all else stays.
   * It lives no longer than a renewed one, nor than `handoffSeconds`. Throws `ERR_SESSION_ENDED`, and the `TokenError`
   * `ERR_TOKEN_BINDING_MISSING` when `device` lacks what the token is bound to.
   */
  handOff(presented: PresentedToken, device: DeviceAttributes, playbackUrl?: string): RenewedToken;
}

const URL_SHAPE = /^(https?:\/\/[^/?#\s]+)(\/[^?#\s]*)(?:\?([^#\s]*))?$/i;
const TOKEN_SHAPE = /^[\w.-]+$/;
/** Length of `=<MAC>` at the end of an entry of claim `btol`. */
const MAC_SUFFIX_LENGTH = 44;

const refused = (reason: Reason) =>
  new RenewalError('ERR_TOKEN_REFUSED', `The edge would deny the presented token: ${reason}.`, reason);

/** Makes a renewer. It keeps no state between calls. */
export function createRenewer(options: RenewerOptions): Renewer {
  const { tokenPrefix, maxLifetimeSeconds, leewaySeconds, maxSessionSeconds, handoffSeconds, now } = options;

  /** Mints for the session of a presented token; `bound` is whom the new one is bound to. */
  function mintNext(
    { claims, location }: PresentedToken,
    { iat, exp, key }: { iat: number; exp: number; key: MintingKey },
    bound: ViewerAttributes,
    query: string,
    playbackUrl: string | undefined,
  ): RenewedToken {
    const next: MintClaims = { sid: claims.sid, aid: claims.aid, iat, exp, sst: claims.sst, paths: claims.paths };
    if (claims.sub) next.sub = claims.sub;
    if (claims.cty) next.cty = claims.cty;
    if (claims.files) next.files = claims.files;
    const bindings = bindingsOf(claims);
    if (bindings.length > 0) next.bnd = bindings.map(({ name, isTolerant }) => (isTolerant ? `${name}?` : name));
    const token = mint(next, key, edgeView(bound, query), nodeCrypto);
    const at = location ?? opened(claims, playbackUrl, tokenPrefix);
    const rest = at && `${at.path.slice(tokenPrefix.length)}${query ? `?${query}` : ''}`;
    const url = at && `${at.origin}${tokenPrefix}${token}/${rest}`;
    return { token, url, sessionId: claims.sid, kid: key.kid, expiresAt: exp };
  }

  return {
    verify(presented, viewer) {
      const match = URL_SHAPE.exec(presented);
      if (!match && !TOKEN_SHAPE.test(presented)) throw refused('token-malformed');
      const [, origin = '', path = `${tokenPrefix}${presented}/`, shown] = match ?? [];
      const query = (match ? shown : parametersOf(viewer)) ?? '';
      const parsed = parse(path, tokenPrefix, nodeCrypto);
      if (typeof parsed === 'string') throw refused(parsed);
      // A token that is presented alone names no path: it is verified for the first that it opens.
      if (!match) parsed.path = readClaims(nodeCrypto.decode(parsed.payload))?.paths[0] ?? parsed.path;
      const viewing = edgeView(viewer, query);
      const rules = { crypto: nodeCrypto, maxLifetimeSeconds, leewaySeconds };
      const key = options.verificationKey(parsed.kid) ?? null;
      // Whether anything is revoked is asked of the revocation list itself, which knows it before the edge does.
      const claims = verify(parsed, key, { session: false, before: 0 }, viewing, now(), rules);
      if (typeof claims === 'string') throw refused(claims);
      if (bindingsOf(claims).some(({ name }) => bindingValue(name, viewing) === '')) throw refused('binding-missing');
      const location = match ? { origin, path: parsed.path } : undefined;
      return { claims, kid: parsed.kid, viewer, location, query };
    },

    renew(presented, playbackUrl) {
      const { claims, viewer, query } = presented;
      const key = options.key();
      const iat = issueTime(now(), key);
      const end = claims.sst + maxSessionSeconds;
      if (claims.exp >= end) throw sessionEnded(maxSessionSeconds);
      const exp = Math.min(iat + claims.exp - claims.iat, end);
      if (exp <= claims.exp) {
        const message = 'A renewed token would not expire later than the presented one; renew it when it has aged.';
        throw new RenewalError('ERR_RENEWAL_NOT_LATER', message);
      }
      return mintNext(presented, { iat, exp, key }, viewer, query, playbackUrl);
    },

    handOff(presented, device, playbackUrl) {
      const { claims } = presented;
      const { ip, country, region, city, asn } = presented.viewer;
      const key = options.key();
      const iat = issueTime(now(), key);
      const end = claims.sst + maxSessionSeconds;
      if (iat >= end) throw sessionEnded(maxSessionSeconds);
      const exp = Math.min(iat + Math.min(claims.exp - claims.iat, handoffSeconds), end);
      const names = bindingsOf(claims).map(({ name }) => name);
      // Only what the token is bound to: under any other name a header could say where the viewer is.
      const headers = pick(device.headers, namesAfter('header:', names), (name) => name.toLowerCase());
      const query = replaceParameters(presented.query, pick(device.query, namesAfter('query:', names)), names);
      const { ja4, device: kind, userAgent, referer, method } = device;
      const bound = { ip, country, region, city, asn, ja4, device: kind, userAgent, referer, method, headers };
      const viewing = edgeView(bound, query);
      // Of tolerant bindings too: they would be lost.
      const missing = names.find((name) => bindingValue(name, viewing) === '');
      if (missing !== undefined) {
        const message = `viewer: the other device has no single value for binding '${missing}'`;
        throw new TokenError('ERR_TOKEN_BINDING_MISSING', message);
      }
      return mintNext(presented, { iat, exp, key }, bound, query, playbackUrl);
    },
  };
}

function sessionEnded(maxSessionSeconds: number): RenewalError {
  const message = `The session has reached its maximum of ${maxSessionSeconds} s; start another.`;
  return new RenewalError('ERR_SESSION_ENDED', message);
}

/** All that a token is bound to, in the order it is signed. */
function bindingsOf({ bnd = [], btol = [] }: ClaimsSet): { name: string; isTolerant: boolean }[] {
  return [
    ...bnd.map((name) => ({ name, isTolerant: false })),
    ...btol.map((entry) => ({ name: entry.slice(0, -MAC_SUFFIX_LENGTH), isTolerant: true })),
  ];
}

/** Origin and path of a playback URL, when the token opens it. */
function opened(claims: ClaimsSet, url: string | undefined, prefix: string): PresentedToken['location'] {
  const [, origin = '', path = ''] = URL_SHAPE.exec(url ?? '') ?? [];
  const isOpen = isInScope(path, claims.paths) || claims.files?.includes(path);
  return isOpen && path.startsWith(prefix) ? { origin, path } : undefined;
}

/** The query parameters among the attributes of a viewer, as a query string. */
function parametersOf({ query = {} }: ViewerAttributes): string {
  return Object.entries(query)
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
}

/** The arguments of the bindings that begin with `prefix`. */
function namesAfter(prefix: string, bindings: string[]): string[] {
  return bindings.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
}

/** The fields whose name, spelled as `spell` does, is one of `names`. */
function pick(fields: Record<string, string> = {}, names: string[], spell = (name: string) => name) {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => names.includes(spell(name))));
}

/** A query string in which every bound parameter has the value given for it, or is left out when none is. */
function replaceParameters(query: string, given: Record<string, string>, bindings: string[]): string {
  const bound = namesAfter('query:', bindings);
  const kept = query.split('&').filter((pair) => pair !== '' && !bound.includes(pair.split('=')[0] ?? ''));
  return [...kept, ...Object.entries(given).map(([name, value]) => `${name}=${value}`)].join('&');
}
