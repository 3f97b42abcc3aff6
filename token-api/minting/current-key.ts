import type { MintingKey } from '../../token/index.ts';
import { mintingKey, parseKeyRing } from '../key-ring/key-ring.ts';

/**
 * The key that a key ring mints with: `ring` is what `JSON.parse` makes of the file or secret that holds it. Throws
 * `KeyRingError` with `ERR_RING_INVALID`, which names what is wrong and never its value.
 */
export function currentKey(ring: unknown): MintingKey {
  return mintingKey(parseKeyRing(ring));
}
