import type { VerifyRules } from '../../token/verify.ts';
import { edgeCrypto } from './crypto.ts';
import { LEEWAY_SECONDS, MAX_TOKEN_LIFETIME_SECONDS } from './settings.ts';

/** What the function verifies by, whatever the request. */
export const RULES: VerifyRules = {
  crypto: edgeCrypto,
  maxLifetimeSeconds: MAX_TOKEN_LIFETIME_SECONDS,
  leewaySeconds: LEEWAY_SECONDS,
};
