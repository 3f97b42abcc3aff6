import {
  addField,
  countryOf,
  type Fields,
  isInScope,
  isUnsafePath,
  type MintingKey,
  mintPrepared,
  type PreparedKey,
  parseQuerystring,
  prepareKey,
  type SessionClaims,
  stripTokens,
  type VerificationKey,
  type Viewing,
} from '../../token/index.ts';
import { nodeCrypto } from './crypto.ts';
import { CompiledPolicy, checkLifetime, compilePolicy, type LoadedPolicy } from './loaded-policy.ts';
import { ATTRIBUTE_HEADERS, MintingError, type Policy, parseViewer, type ViewerAttributes } from './policy.ts';
import { sessionIds } from './session-id.ts';

/** What a minter is made of. */
export interface MinterOptions {
  /** The key to mint with, asked for at every call so that rotation takes effect; each of its two parts 32 bytes, base64url. */
  key: () => MintingKey;
  /** Largest lifetime that the edge accepts, in seconds. */
  maxLifetimeSeconds: number;
  /** Path before the token in a URL, begins and ends with a slash; `/` by default. */
  tokenPrefix?: string;
  /** Seconds since the epoch; the system clock by default. */
  now?: () => number;
}

/** What a token is minted for. */
export interface MintRequest {
  /** What `loadPolicy` made, or a plain policy, which is then loaded for this call. */
  policy: LoadedPolicy | Policy;
  viewer: ViewerAttributes;
  /** Playback URL without a token, `https://host/path/master.m3u8`. */
  url: string;
}

/** A minted token. `url` carries it; `expiresAt` is in seconds since the epoch. */
export interface MintedToken {
  token: string;
  url: string;
  sessionId: string;
  asset: string;
  /** Id of the key that it is signed with. */
  kid: string;
  issuedAt: number;
  expiresAt: number;
}

export interface Minter {
  /**
   * Starts a playback session. Throws `MintingError` for a policy, viewer, URL, key or clock that is not right, `TokenError`
   * when the viewer lacks a value that the policy binds or the token gets too long.
   */
  mint(request: MintRequest): MintedToken;
}

const SESSION_ID_LENGTH = 12;

/** A later time in seconds (the year 5138) was meant in milliseconds. */
const LATEST_CLOCK = 1e11;
/** A key of 32 bytes, base64url. */
const KEY = /^[\w-]{43}$/;
/** Origin, path and query, each as written. Of the query what RFC 3986 allows; no apostrophe, which browsers rewrite. */
const HTTP_URL = /^(https?:\/\/[^/?#\s]+)(\/[^?#\s]*)(?:\?([\w!$%&()*+,./:;=?@~-]*))?$/i;

/** Origin, path and query of a URL exactly as written: `new URL` would repair the path instead of refusing it. */
function splitUrl(url: string, tokenPrefix: string): { origin: string; path: string; query: string } {
  const [, origin = '', path = '', query = ''] = HTTP_URL.exec(url) ?? [];
  if (isUnsafePath(path)) {
    const message = 'url: must be an http(s) URL with a safe path, a percent-encoded query if any, and no fragment';
    throw new MintingError('ERR_URL_INVALID', message);
  }
  if (!path.startsWith(tokenPrefix)) {
    throw new MintingError(
      'ERR_URL_INVALID',
      `url: must begin with ${tokenPrefix}, behind which the edge looks for a token`,
    );
  }
  if (stripTokens(path) !== path) {
    throw new MintingError('ERR_URL_INVALID', 'url: carries a token already; give the URL without one');
  }
  return { origin, path, query };
}

/** The viewer as the edge will see it; `query` is the query string of the URL, without `?`. */
export function edgeView(attributes: ViewerAttributes, query: string): Viewing {
  const { ip = '', device, method = 'GET' } = attributes;
  const headers: Fields = {};
  for (const name in attributes.headers) addField(headers, name.toLowerCase(), attributes.headers[name] as string);
  for (const attribute in ATTRIBUTE_HEADERS) {
    const value = attributes[attribute as keyof typeof ATTRIBUTE_HEADERS];
    if (value !== undefined) headers[ATTRIBUTE_HEADERS[attribute as keyof typeof ATTRIBUTE_HEADERS]] = { value };
  }
  if (device) headers[`cloudfront-is-${device}-viewer`] = { value: 'true' };
  return { viewer: { ip }, request: { method, headers, querystring: parseQuerystring(query) } };
}

/** The query string with every bound parameter in it that only the viewer's attributes had. */
function withBoundParameters(query: string, parameters: string[], attributes: ViewerAttributes): string {
  if (parameters.length === 0) return query;
  const present = parseQuerystring(query);
  const given = attributes.query ?? {};
  const missing = parameters
    .filter((parameter) => !Object.hasOwn(present, parameter) && Object.hasOwn(given, parameter))
    .map((parameter) => `${parameter}=${given[parameter]}`);
  return [query, ...missing].filter(Boolean).join('&');
}

/**
 * The directory of a path: what a policy without a scope of its own opens. Throws `ERR_POLICY_FIELD_MISSING` when that would
 * be everything that the edge looks for behind a token.
 */
export function directoryOf(path: string, tokenPrefix: string): string {
  const directory = path.slice(0, path.lastIndexOf('/') + 1);
  if (tokenPrefix.startsWith(directory)) {
    const message = `policy: paths: must be given for a URL right below ${directory}, its directory would open everything`;
    throw new MintingError('ERR_POLICY_FIELD_MISSING', message);
  }
  return directory;
}

/** Makes the key that was handed out ready, and remembers it, by value, until another one is handed out. */
function keyPreparation(): (key: MintingKey) => PreparedKey {
  let last: (VerificationKey & { kid: string; prepared: PreparedKey }) | undefined;
  return (key) => {
    const { kid, sign, bind } = key ?? {};
    if (last && last.kid === kid && last.sign === sign && last.bind === bind) return last.prepared;
    if (![kid, sign, bind].every((part) => typeof part === 'string') || !KEY.test(sign) || !KEY.test(bind)) {
      const message = 'key: must return {kid, sign, bind}, the latter of 32 bytes each as base64url without padding';
      throw new MintingError('ERR_KEY_INVALID', message);
    }
    last = { kid, sign, bind, prepared: prepareKey(key, nodeCrypto) };
    return last.prepared;
  };
}

/** The time of minting, whole seconds since the epoch. Throws `ERR_CLOCK` when it cannot be right. */
export function issueTime(seconds: number, { notBefore = 0 }: MintingKey): number {
  if (!(seconds >= 0 && seconds < LATEST_CLOCK)) {
    throw new MintingError(
      'ERR_CLOCK',
      'clock: shows no time in seconds since the epoch; set the clock of this machine',
    );
  }
  if (!(seconds >= notBefore)) {
    throw new MintingError('ERR_CLOCK', 'clock: is before the key came into use; set the clock of this machine');
  }
  return Math.floor(seconds);
}

/**
 * Makes a minter. Throws `ERR_TOKEN_PREFIX` when the place of the token is none. Calls share nothing but the key last used,
 * made ready, and random bytes that no call gets twice.
 */
export function createMinter(options: MinterOptions): Minter {
  const { key: currentKey, tokenPrefix = '/', now = () => Date.now() / 1000 } = options;
  if (isUnsafePath(tokenPrefix) || !tokenPrefix.endsWith('/')) {
    throw new MintingError(
      'ERR_TOKEN_PREFIX',
      "tokenPrefix: must be a safe path that ends with a slash, like '/live/'",
    );
  }
  const prepared = keyPreparation();
  const createSessionId = sessionIds();
  return {
    mint(request) {
      const policy = request.policy instanceof CompiledPolicy ? request.policy : compilePolicy(request.policy, options);
      checkLifetime(policy, options);
      const attributes = parseViewer(request.viewer);
      const { origin, path, query: givenQuery } = splitUrl(request.url, tokenPrefix);
      const { asset, files = [], countries } = policy.policy;
      const paths = policy.paths ?? [directoryOf(path, tokenPrefix)];
      if (!isInScope(path, paths) && !files.includes(path)) {
        throw new MintingError('ERR_URL_OUT_OF_SCOPE', 'url: the policy does not open the path of the playback URL');
      }
      const query = withBoundParameters(givenQuery, policy.queryParameters, attributes);
      const viewing = edgeView(attributes, query);
      if (countries && !mayWatch(viewing, countries)) {
        throw new MintingError('ERR_VIEWER_COUNTRY', 'viewer: country: is none of those that the policy allows');
      }
      const key = currentKey();
      const preparedKey = prepared(key);
      const issuedAt = issueTime(now(), key);
      const session: SessionClaims = {
        sid: createSessionId(SESSION_ID_LENGTH),
        aid: asset ?? firstSegment(path, tokenPrefix),
        iat: issuedAt,
        exp: issuedAt + policy.lifetimeSeconds,
        sst: issuedAt,
      };
      if (attributes.subject !== undefined) session.sub = attributes.subject;
      const token = mintPrepared(policy.claims ?? policy.claimsFor(paths), session, preparedKey, viewing);
      return {
        token,
        url: `${origin}${tokenPrefix}${token}/${path.slice(tokenPrefix.length)}${query && `?${query}`}`,
        sessionId: session.sid,
        asset: session.aid,
        kid: key.kid,
        issuedAt,
        expiresAt: session.exp,
      };
    },
  };
}

/** Whether a viewer may watch where only some countries do, as far as is known: the edge asks again. */
function mayWatch(viewing: Viewing, countries: string[]): boolean {
  const country = countryOf(viewing);
  return country === '' || countries.includes(country);
}

/** The asset that a URL is of unless the policy says so: the first segment behind the place of the token. */
function firstSegment(path: string, tokenPrefix: string): string {
  const end = path.indexOf('/', tokenPrefix.length);
  return path.slice(tokenPrefix.length, end < 0 ? undefined : end);
}
