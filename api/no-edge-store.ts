import type { DeliveryCommands } from '../edge-functions/store/edge-store.ts';
import type { RevocationOptions } from '../revocation/http/routes.ts';
import type { KeyOptions } from '../token-api/http/keys.ts';
import { type Rotation, RotationError } from '../token-api/key-ring/rotation.ts';

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

/**
 * Changes to keys where nobody knows an address of the edge, at which a new key could be tried: a rotation is left to Secrets
 * Manager, whose handler has CloudFront try it, and refused with `ERR_ROTATION_ELSEWHERE`. A key is dropped as ever.
 */
export function withoutProbe(rotation: Pick<Rotation, 'dropKey'>): KeyOptions['rotation'] {
  return {
    dropKey: (kid, run) => rotation.dropKey(kid, run),
    rotate: async () => {
      const message =
        'no address of the edge is known here: run aws secretsmanager rotate-secret --secret-id portcullis/key-ring';
      throw new RotationError('ERR_ROTATION_ELSEWHERE', message);
    },
  };
}

/**
 * Where nobody enforces what is revoked when keys are embedded: sessions are blocked by the rule group, which is demanded then
 * (`config/contradictions.ts`), subjects refused when they ask for a token; an asset and a cut-off are stopped by nobody.
 */
export const unenforcedByRuleGroup: RevocationOptions['unenforced'] = async ({ kind }) =>
  kind === 'session' || kind === 'subject' ? [] : [{ prefix: '/', mode: 'off' }];

async function refuse(): Promise<never> {
  const message =
    'the function has its keys embedded: run portcullis key rotate --secret portcullis/key-ring, and with --compromised and --function to drop a key';
  throw new RotationError('ERR_ROTATION_ELSEWHERE', message);
}
