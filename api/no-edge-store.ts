import type { DeliveryCommands } from '../edge-functions/store/edge-store.ts';
import type { KeyOptions } from '../token-api/http/keys.ts';
import { RotationError } from '../token-api/key-ring/rotation.ts';

/** An edge store that is not read, or not there: where the function has its keys embedded. */
export const NO_EDGE_STORE: Pick<DeliveryCommands, 'blockedAssets' | 'modes'> = {
  blockedAssets: async () => new Map(),
  modes: async () => [],
};

/** Changes to keys that are embedded: the API may not replace the function, and refuses with `ERR_ROTATION_ELSEWHERE`. */
export const EMBEDDED_KEYS: Pick<KeyOptions, 'rotation' | 'endSessions'> = {
  rotation: { rotate: refuse, dropKey: refuse },
  endSessions: refuse,
};

async function refuse(): Promise<never> {
  const message =
    'the function has its keys embedded: run portcullis key rotate --secret portcullis/key-ring, and with --compromised and --function to drop a key';
  throw new RotationError('ERR_ROTATION_ELSEWHERE', message);
}
