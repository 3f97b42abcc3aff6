import {
  type ClaimsSet,
  type MintingKey,
  type ParsedToken,
  parse,
  type Reason,
  type Revocation,
  type VerificationKey,
  type Viewing,
  verify,
} from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';

/** Seconds since the epoch at which tests mint. */
export const NOW = 1_760_000_000;

/** A ring with one current key. Not a secret: the bytes 0 to 31. */
export const TEST_RING = {
  version: 1,
  keys: [
    {
      kid: 'k1',
      secret: Buffer.from(Array.from({ length: 32 }, (_, i) => i)).toString('base64url'),
      state: 'current',
      createdAt: '2025-10-09T08:53:20Z',
    },
  ],
} as const;

export const TEST_KEY: MintingKey = {
  kid: 'k1',
  sign: Buffer.alloc(32, 1).toString('base64url'),
  bind: Buffer.alloc(32, 2).toString('base64url'),
};

export const TEST_CLAIMS: ClaimsSet = {
  sid: 'AbCdEf012345',
  aid: 'aurora',
  iat: NOW,
  exp: NOW + 3600,
  sst: NOW,
  paths: ['/aurora/'],
};

export const TEST_VIEWING: Viewing = {
  viewer: { ip: '203.0.113.7' },
  request: {
    method: 'GET',
    headers: {
      'user-agent': { value: 'Player/1.0' },
      'cloudfront-viewer-country': { value: 'DE' },
      'x-device': { value: 'tv-7' },
    },
    querystring: { d: { value: '42' } },
  },
};

/** The parsed token of a URI that has one. */
export function parseToken(uri: string): ParsedToken {
  const parsed = parse(uri, '/', nodeCrypto);
  if (typeof parsed === 'string') throw new Error(`no token: ${parsed}`);
  return parsed;
}

/** What a validator that knows one key decides about a URI; '' when it is allowed. */
export function decide(
  uri: string,
  viewing: Viewing = TEST_VIEWING,
  options: { now?: number; key?: VerificationKey | null; revocation?: Revocation; leewaySeconds?: number } = {},
): Reason | '' {
  const { now = NOW, key = TEST_KEY, revocation = { session: false, before: 0 }, leewaySeconds = 0 } = options;
  const parsed = parse(uri, '/', nodeCrypto);
  if (typeof parsed === 'string') return parsed;
  const rules = { crypto: nodeCrypto, maxLifetimeSeconds: 86400, leewaySeconds };
  const decision = verify(parsed, key, revocation, viewing, now, rules);
  return typeof decision === 'string' ? decision : '';
}
