import type { ClaimsSet, MintingKey, Viewer } from '../../token/index.ts';

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

export const TEST_VIEWER: Viewer = {
  ip: '203.0.113.7',
  headers: {
    'user-agent': { value: 'Player/1.0' },
    'cloudfront-viewer-country': { value: 'DE' },
    'x-device': { value: 'tv-7' },
  },
  querystring: { d: { value: '42' } },
};
