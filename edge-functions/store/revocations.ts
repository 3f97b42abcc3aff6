import {
  blockedAssetIds,
  blocksEntry,
  blocksOf,
  type Entries,
  isRevoked,
  REVOKED,
  setCutoff,
  totalBytes,
  unrevokeAsset,
} from './entries.ts';
import { STORE_LIMITS, StoreError } from './key-value-store.ts';
import { CUTOFF, revocationName } from './names.ts';

/** What is to be revoked at the edge, the most important first. */
export interface EdgeRevocations {
  /** Session ids. */
  sessions: string[];
  /** Asset ids. */
  assets: string[];
  /** Sessions that began before this are revoked, seconds since the epoch; 0 when none are. */
  before: number;
}

/** What is to change of that: of each id whether it is to be revoked, and the cut-off if it changes. */
export interface EdgeRevocationChange {
  sessions: ReadonlyMap<string, boolean>;
  assets: ReadonlyMap<string, boolean>;
  before?: number | undefined;
}

/** What was left out of the store for want of room, or because it can never be an entry, the most important first. */
export type OmittedRevocations = Pick<EdgeRevocations, 'sessions' | 'assets'>;

/**
 * Bytes that revocations leave free beside what else there is, for keys, modes and blocks that are added before the
 * next reconciliation: a rotation has to fit always.
 */
const RESERVED_BYTES = 64 * 1024;

const REVOCATION_PREFIX = revocationName('');
const MARK = '1';

/** How many revoked sessions and assets the store holds, the cut-off counted as one. */
export function countRevocations(entries: Entries): number {
  let sessions = 0;
  for (const key of entries.keys()) if (key.startsWith(REVOCATION_PREFIX)) sessions++;
  const assets = blockedAssetIds(entries).filter((id) => isRevoked(entries, id)).length;
  return sessions + assets + (entries.has(CUTOFF) ? 1 : 0);
}

/** Makes the revocations exactly these, as far as there is room: assets before sessions. Tells what was left out. */
export function replaceRevocations(
  entries: Entries,
  { sessions, assets, before }: EdgeRevocations,
): OmittedRevocations {
  for (const key of entries.keys()) if (key.startsWith(REVOCATION_PREFIX)) entries.delete(key);
  for (const id of blockedAssetIds(entries)) unrevokeAsset(entries, id);
  setCutoff(entries, before);
  const add = adder(entries);
  return {
    assets: assets.filter((id) => !add(...revokedAsset(entries, id))),
    sessions: sessions.filter((id) => !add(revocationName(id), MARK)),
  };
}

/** Makes a change of the revocations. Throws `ERR_STORE_LIMIT` when there is no room for all that is added. */
export function changeRevocations(entries: Entries, { sessions, assets, before }: EdgeRevocationChange): void {
  for (const [id, revoked] of sessions) if (!revoked) entries.delete(revocationName(id));
  for (const [id, revoked] of assets) if (!revoked) unrevokeAsset(entries, id);
  if (before !== undefined) setCutoff(entries, before);
  const add = adder(entries);
  const added = [
    ...[...assets].map(([id, revoked]) => !revoked || isRevoked(entries, id) || add(...revokedAsset(entries, id))),
    ...[...sessions].map(([id, revoked]) => !revoked || add(revocationName(id), MARK)),
  ];
  if (added.every(Boolean)) return;
  throw new StoreError('ERR_STORE_LIMIT', 'the edge store has no room for all of these revocations');
}

/** The entry of an asset that is revoked beside its blocks. */
function revokedAsset(entries: Entries, id: string): [name: string, value: string] {
  return blocksEntry(id, [REVOKED, ...blocksOf(entries, id)]);
}

/** What adds an entry, or puts it in the place of another of its name, as long as there is room; it tells whether it did. */
function adder(entries: Entries): (name: string, value: string) => boolean {
  let room: number | undefined;
  return (name, value) => {
    const present = entries.get(name);
    if (present === value) return true;
    const nameBytes = Buffer.byteLength(name);
    const valueBytes = Buffer.byteLength(value);
    if (nameBytes > STORE_LIMITS.keyBytes || valueBytes > STORE_LIMITS.valueBytes) return false;
    room ??= STORE_LIMITS.totalBytes - RESERVED_BYTES - totalBytes(entries);
    const grown = present === undefined ? nameBytes + valueBytes : valueBytes - Buffer.byteLength(present);
    if (grown > room) return false;
    room -= grown;
    entries.set(name, value);
    return true;
  };
}
