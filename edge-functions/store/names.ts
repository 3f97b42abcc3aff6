import type { AssetBlock } from '../../token/asset-block.ts';
import type { VerificationKey } from '../../token/keys.ts';
import type { ModeRule } from '../viewer-request/mode.ts';

/** Key names of the edge store, and what is stored under them. Read by the edge function, so: constants only. */

/** Entry with the mode rules, for requests that name no key of ours. */
export const MODES = 'modes';

/** Entry with the cut-off, in seconds since the epoch; absent when there is none. The function reads the copies in the keys. */
export const CUTOFF = 'before';

/** An asset block as it is stored. `revoked` marks the one that stands for the revocation of the asset: it has no limits. */
export interface StoredBlock extends AssetBlock {
  revoked?: true;
}

/** Value of a signing key, as JSON: all that the function has to know of a ring before it verifies. */
export interface EdgeKey extends VerificationKey {
  /** Sessions that began before this time (seconds since the epoch) are revoked; 0 when none are. A copy of the entry `before`. */
  before: number;
  /** The roll-out modes by path prefix, the longest first; absent when there are none. A copy of the entry `modes`. */
  modes?: ModeRule[];
  /** Whether there are asset blocks at all; absent when there are none, which saves a read. */
  blocks?: boolean;
}

export function keyName(kid: string): string {
  return 'k/' + kid;
}

export function revocationName(sid: string): string {
  return 'r/' + sid;
}

export function assetBlockName(aid: string): string {
  return 'a/' + aid;
}
