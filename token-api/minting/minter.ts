import {
  addField,
  type Fields,
  isInScope,
  isUnsafePath,
  type MintClaims,
  type MintingKey,
  mint,
  parseBinding,
  parseQuerystring,
  stripTokens,
  type Viewing,
} from '../../token/index.ts';
import { nodeCrypto } from './crypto.ts';
import {
  ATTRIBUTE_HEADERS,
  MintingError,
  type Policy,
  parseDuration,
  parsePolicy,
  parseViewer,
  type ViewerAttributes,
} from './policy.ts';
import { createSessionId } from './session-id.ts';

/** What a minter is made of. */
export interface MinterOptions {
  /** The key to mint with, asked for at every call so that rotation takes effect. */
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
  policy: Policy;
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
  issuedAt: number;
  expiresAt: number;
}

export interface Minter {
  /**
   * Starts a playback session. Throws `MintingError` for a policy, viewer or URL that is not right and `TokenError` when
   * the viewer lacks a value that the policy binds.
   */
  mint(request: MintRequest): MintedToken;
}

const SESSION_ID_LENGTH = 12;

/** Origin, path and query of a URL exactly as written: `new URL` would repair the path instead of refusing it. */
function splitUrl(url: string, tokenPrefix: string): { origin: string; path: string; query: string } {
  const match = /^(https?:\/\/[^/?#\s]+)(\/[^?#\s]*)(?:\?([^#\s]*))?$/i.exec(url);
  const [, origin = '', path = '', query = ''] = match ?? [];
  if (!match || isUnsafePath(path)) {
    throw new MintingError('ERR_URL_INVALID', 'url: must be an http(s) URL with a safe path and no fragment');
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
  for (const [name, value] of Object.entries(attributes.headers ?? {})) addField(headers, name.toLowerCase(), value);
  for (const [attribute, name] of Object.entries(ATTRIBUTE_HEADERS)) {
    const value = attributes[attribute as keyof typeof ATTRIBUTE_HEADERS];
    if (value !== undefined) headers[name] = { value };
  }
  if (device) headers[`cloudfront-is-${device}-viewer`] = { value: 'true' };
  return { viewer: { ip }, request: { method, headers, querystring: parseQuerystring(query) } };
}

/** The query string with every bound parameter in it that only the viewer's attributes had. */
function withBoundParameters(query: string, bindings: string[], attributes: ViewerAttributes): string {
  const present = parseQuerystring(query);
  const missing = bindings
    .map((binding) => parseBinding(binding))
    .filter(({ name, argument }) => name === 'query' && !Object.hasOwn(present, argument))
    .flatMap(({ argument: parameter }) => {
      const value = attributes.query?.[parameter];
      return value === undefined ? [] : `${parameter}=${value}`;
    });
  return [query, ...missing].filter(Boolean).join('&');
}

function directoryOf(path: string): string {
  const directory = path.slice(0, path.lastIndexOf('/') + 1);
  if (directory === '/') {
    const message = 'policy: paths: must be given for a URL at the root, its directory would open everything';
    throw new MintingError('ERR_POLICY_INVALID', message);
  }
  return directory;
}

/** Makes a minter. It keeps no state between calls. */
export function createMinter(options: MinterOptions): Minter {
  const tokenPrefix = options.tokenPrefix ?? '/';
  const now = options.now ?? (() => Math.floor(Date.now() / 1000));
  return {
    mint(request) {
      const policy = parsePolicy(request.policy, options.maxLifetimeSeconds);
      const attributes = parseViewer(request.viewer);
      const { origin, path, query: givenQuery } = splitUrl(request.url, tokenPrefix);
      const files = policy.files ?? [];
      // Without a scope of its own a policy with files opens them and nothing else.
      const paths = policy.paths ?? policy.files ?? [directoryOf(path)];
      if (!isInScope(path, paths) && !files.includes(path)) {
        throw new MintingError('ERR_URL_OUT_OF_SCOPE', 'url: the policy does not open the path of the playback URL');
      }
      const bindings = policy.bindings ?? [];
      const query = withBoundParameters(givenQuery, bindings, attributes);
      const issuedAt = now();
      const claims: MintClaims = {
        sid: createSessionId(SESSION_ID_LENGTH),
        aid: policy.asset ?? path.slice(tokenPrefix.length).split('/')[0] ?? '',
        iat: issuedAt,
        exp: issuedAt + parseDuration(policy.lifetime),
        sst: issuedAt,
        // An exclusion is one more path that the token opens: the check of the path is all that it is excluded from.
        paths: [...new Set([...paths, ...(policy.exclusions ?? [])])],
      };
      if (attributes.subject) claims.sub = attributes.subject;
      if (policy.countries) claims.cty = policy.countries;
      if (policy.files) claims.files = policy.files;
      if (bindings.length > 0) claims.bnd = bindings;
      const token = mint(claims, options.key(), edgeView(attributes, query), nodeCrypto);
      return {
        token,
        url: `${origin}${tokenPrefix}${token}/${path.slice(tokenPrefix.length)}${query ? `?${query}` : ''}`,
        sessionId: claims.sid,
        asset: claims.aid,
        issuedAt,
        expiresAt: claims.exp,
      };
    },
  };
}
