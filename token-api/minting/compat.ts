import { type CompatToken, mintCompat } from '../../token/compat/mint.ts';
import type { CompatMintingKey } from '../key-ring/compat.ts';
import { nodeCrypto } from './crypto.ts';
import { sessionIds } from './session-id.ts';

/** What a token of the AWS solution v1 is minted for; `policy` and `viewer` are its `token_policy` and `viewer_attributes`. */
export interface CompatMintRequest {
  policy: unknown;
  viewer: unknown;
  /** Playback URL without a token; null for the token alone. */
  url: string | null;
}

/** Mints a token of the AWS solution v1. `now` is in seconds since the epoch. Throws `CompatError`. */
export function mintCompatToken(request: CompatMintRequest, key: CompatMintingKey, now: number): CompatToken {
  return mintCompat(request.policy, request.viewer, request.url, {
    ...key,
    now,
    crypto: nodeCrypto,
    createSessionId: sessionIds(),
  });
}
