import { HTTPException } from 'hono/http-exception';
import { expect, test } from 'vitest';
import { TokenError } from '../../../token/index.ts';
import { ConcurrencyError } from '../../../token-api/concurrency/concurrency.ts';
import { refuseAsProblem } from '../../../token-api/http/refusal.ts';
import { KeyRingError } from '../../../token-api/key-ring/key-ring.ts';
import { RotationError } from '../../../token-api/key-ring/rotation.ts';
import { MintingError } from '../../../token-api/minting/policy.ts';
import { RenewalError } from '../../../token-api/minting/renewal.ts';
import { CursorError } from '../../../token-api/pages/page.ts';
import { VendingError } from '../../../token-api/vending/vending.ts';

const refusedWith = (error: Error) =>
  refuseAsProblem(() => {
    throw error;
  }).catch((thrown) => thrown);

test.each([
  [404, new VendingError('ERR_ASSET_UNKNOWN', 'm')],
  [422, new VendingError('ERR_POLICY_UNKNOWN', 'm')],
  [451, new VendingError('ERR_ASSET_WITHDRAWN', 'm', 'asset-withdrawn')],
  [401, new RenewalError('ERR_TOKEN_REFUSED', 'm', 'token-expired')],
  [403, new RenewalError('ERR_TOKEN_REFUSED', 'm', 'binding-mismatch')],
  [409, new RenewalError('ERR_RENEWAL_NOT_LATER', 'm')],
  [422, new TokenError('ERR_TOKEN_BINDING_MISSING', 'm')],
  [422, new MintingError('ERR_VIEWER_INVALID', 'm')],
  [400, new CursorError()],
  [503, new ConcurrencyError()],
  [503, new KeyRingError('ERR_RING_STALE', 'm')],
  [503, new KeyRingError('ERR_RING_PAUSED', 'm')],
  [503, new KeyRingError('ERR_RING_THROTTLED', 'm')],
  [503, new KeyRingError('ERR_RING_UNREACHABLE', 'm')],
  [503, new KeyRingError('ERR_RING_CLOCK', 'm')],
  [409, new KeyRingError('ERR_RING_FOREIGN', 'm')],
  [404, new KeyRingError('ERR_KEY_UNKNOWN', 'm')],
  [502, new RotationError('ERR_ROTATION_PROBE', 'm')],
])('the caller is answered %i for %s', async (status, error) => {
  const thrown = await refusedWith(error);
  expect(thrown).toBeInstanceOf(HTTPException);
  const reason = 'reason' in error ? error.reason : undefined;
  expect([thrown.status, thrown.message, thrown.cause]).toEqual([status, error.message, { code: error.code, reason }]);
});

test.each([
  new KeyRingError('ERR_RING_INVALID', 'm'),
  new KeyRingError('ERR_RING_MISSING', 'm'),
  new KeyRingError('ERR_RING_DENIED', 'm'),
  new RotationError('ERR_ROTATION_NOT_PENDING', 'm'),
  new MintingError('ERR_CLOCK', 'm'),
  new MintingError('ERR_KEY_INVALID', 'm'),
  new TypeError('m'),
])('%s is ours: it is not told to the caller', async (error) => {
  expect(await refusedWith(error)).toBe(error);
});
