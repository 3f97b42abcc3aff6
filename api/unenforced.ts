import type { DeliveryCommands } from '../edge-functions/store/edge-store.ts';
import type { Mode } from '../edge-functions/viewer-request/settings.ts';
import type { RevocationOptions, UnenforcedPrefix } from '../revocation/http/routes.ts';
import type { RevocationKey } from '../revocation/list/revocation-list.ts';
import type { AssetCatalogue } from '../token-api/assets/assets.ts';
import type { Sessions } from '../token-api/sessions/sessions.ts';

/** Where modes, assets and sessions are looked up. */
export interface UnenforcedParts {
  edgeStore: Pick<DeliveryCommands, 'modes'>;
  /** The mode built into the function. */
  mode: Mode;
  assets: Pick<AssetCatalogue, 'get'>;
  sessions: Pick<Sessions, 'get'>;
}

/**
 * Where the viewer-request function does not enforce, so that it lets through what is revoked: of an asset or a session whose
 * manifest is known, where that and what lies below its directory is; else anywhere. Of a subject nowhere: the edge does
 * not know it, and vending refuses it in every mode.
 */
export function unenforcedPrefixes({
  edgeStore,
  mode,
  assets,
  sessions,
}: UnenforcedParts): RevocationOptions['unenforced'] {
  async function manifestOf({ kind, id }: RevocationKey): Promise<string | undefined> {
    if (kind === 'sessions-before') return undefined;
    const asset = kind === 'session' ? (await sessions.get(id))?.asset : id;
    return asset === undefined ? undefined : (await assets.get(asset))?.path;
  }

  return async (what) => {
    if (what.kind === 'subject') return [];
    const rules = (await edgeStore.modes()).map(([prefix, mode]) => ({ prefix, mode }));
    // The longest prefix comes first, and the first that fits counts.
    if (!rules.some(({ prefix }) => prefix === '/')) rules.push({ prefix: '/', mode });
    if (!rules.some(isUnenforced)) return [];
    const manifest = await manifestOf(what);
    if (manifest === undefined) return rules.filter(isUnenforced);
    const directory = manifest.slice(0, manifest.lastIndexOf('/') + 1);
    const own = rules.find(({ prefix }) => manifest.startsWith(prefix));
    return rules.filter((rule) => rule === own || rule.prefix.startsWith(directory)).filter(isUnenforced);
  };
}

function isUnenforced(rule: { prefix: string; mode: Mode }): rule is UnenforcedPrefix {
  return rule.mode !== 'enforce';
}
