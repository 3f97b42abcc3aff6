import type { ModeRule } from '../viewer-request/mode.ts';
import { STORE_LIMITS, StoreError, type StoreUpdate } from './key-value-store.ts';
import { assetBlockName, CUTOFF, type EdgeKey, keyName, MODES, type StoredBlock } from './names.ts';

/** What the edge store holds, by key name: read, and put together anew, by the functions here. */
export type Entries = Map<string, string>;

const KEY_PREFIX = keyName('');
const ASSET_BLOCK_PREFIX = assetBlockName('');

/** What stands for the revocation of an asset among its blocks. */
export const REVOKED: StoredBlock = { revoked: true };

/** Bytes that a key may grow by: a cut-off takes the place of a 0, and `blocks` is added. */
const KEY_GROWTH_BYTES = 32;

/** An entry's value; `otherwise` when there is none, or none that is JSON: a damaged entry must not keep a revocation back. */
export function parsed<Value>(text: string | undefined, otherwise: Value): Value {
  try {
    return text === undefined ? otherwise : (JSON.parse(text) as Value);
  } catch {
    return otherwise;
  }
}

/** Bytes that an entry takes: key and value (AWS, "Quotas on CloudFront KeyValueStore", counts no more than these). */
export function bytesOf(key: string, value: string): number {
  return Buffer.byteLength(key) + Buffer.byteLength(value);
}

/** Bytes that all entries take. */
export function totalBytes(entries: ReadonlyMap<string, string>): number {
  let total = 0;
  for (const [key, value] of entries) total += bytesOf(key, value);
  return total;
}

/** The ids of the keys. */
export function keyIdsOf(entries: Entries): string[] {
  return idsUnder(entries, KEY_PREFIX);
}

/** The roll-out modes, the longest prefix first; where they cannot be read, those that a key carries. */
export function modesOf(entries: Entries): ModeRule[] {
  const modes = parsed<unknown>(entries.get(MODES) ?? '[]', undefined);
  if (Array.isArray(modes)) return modes;
  return keysOf(entries).find((key) => key.modes)?.modes ?? [];
}

/** Makes these the modes. Throws `ERR_STORE_LIMIT` when a key could not carry them beside a cut-off. */
export function setModes(entries: Entries, rules: ModeRule[]): void {
  if (rules.length > 0) entries.set(MODES, JSON.stringify(rules));
  else entries.delete(MODES);
  copyIntoKeys(entries);
  for (const kid of keyIdsOf(entries)) {
    const bytes = Buffer.byteLength(entries.get(keyName(kid)) ?? '');
    if (bytes + KEY_GROWTH_BYTES > STORE_LIMITS.valueBytes) throw tooLarge('modes', bytes + KEY_GROWTH_BYTES);
  }
}

/** The cut-off, in seconds since the epoch; where it cannot be read, the latest that a key carries: it is not taken for none. */
export function cutoffOf(entries: Entries): number {
  const cutoff = parsed<unknown>(entries.get(CUTOFF) ?? '0', undefined);
  if (typeof cutoff === 'number') return cutoff;
  return keysOf(entries).reduce((latest, { before }) => Math.max(latest, before || 0), 0);
}

/** Sets the cut-off, in seconds since the epoch; 0 for none. */
export function setCutoff(entries: Entries, before: number): void {
  if (before > 0) entries.set(CUTOFF, String(before));
  else entries.delete(CUTOFF);
}

/** The ids of the assets that are blocked or revoked. */
export function blockedAssetIds(entries: Entries): string[] {
  return idsUnder(entries, ASSET_BLOCK_PREFIX);
}

/** The blocks of an asset, without what stands for its revocation. */
export function blocksOf(entries: Entries, assetId: string): StoredBlock[] {
  return storedBlocks(entries, assetId).filter(({ revoked }) => !revoked);
}

/** Whether an asset is revoked. */
export function isRevoked(entries: Entries, assetId: string): boolean {
  return storedBlocks(entries, assetId).some(({ revoked }) => revoked);
}

/** The entry of an asset with these blocks. */
export function blocksEntry(assetId: string, blocks: StoredBlock[]): [name: string, value: string] {
  return [assetBlockName(assetId), JSON.stringify(blocks)];
}

/**
 * Makes these the blocks of an asset; whether it is revoked stays as it is. Throws `ERR_STORE_LIMIT` when they would leave no
 * room for its revocation.
 */
export function setBlocks(entries: Entries, assetId: string, blocks: StoredBlock[]): void {
  const bytes = Buffer.byteLength(blocksEntry(assetId, [REVOKED, ...blocks])[1]);
  if (bytes > STORE_LIMITS.valueBytes) throw tooLarge('blocks of an asset', bytes);
  storeBlocks(entries, assetId, isRevoked(entries, assetId) ? [REVOKED, ...blocks] : blocks);
}

/** Takes the revocation of an asset back. A damaged entry, which denies the asset, may be a blackout: it stays. */
export function unrevokeAsset(entries: Entries, assetId: string): void {
  const isDamaged = !Array.isArray(parsed<unknown>(entries.get(assetBlockName(assetId)) ?? '[]', undefined));
  if (!isDamaged) storeBlocks(entries, assetId, blocksOf(entries, assetId));
}

/** Stores the blocks of an asset, what stands for its revocation among them. */
function storeBlocks(entries: Entries, assetId: string, blocks: StoredBlock[]): void {
  if (blocks.length > 0) entries.set(...blocksEntry(assetId, blocks));
  else entries.delete(assetBlockName(assetId));
}

/** Repeats in the value of each key what the function must know before it has verified anything: one read tells it all. */
export function copyIntoKeys(entries: Entries): void {
  const modes = modesOf(entries);
  const before = cutoffOf(entries);
  const blocks = blockedAssetIds(entries).length > 0;
  for (const kid of keyIdsOf(entries)) {
    const current = parsed<EdgeKey | null>(entries.get(keyName(kid)), null);
    if (!current) continue;
    const { sign, bind } = current;
    const copied: EdgeKey = { sign, bind, before, ...(modes.length > 0 && { modes }), ...(blocks && { blocks }) };
    entries.set(keyName(kid), JSON.stringify(copied));
  }
}

/**
 * The difference between two states in updates of at most 50 keys. What denies goes first, keys before all else, since
 * a large difference takes minutes; only where there is no room for that, deletions go first.
 */
export function updates(from: Entries, to: Entries): StoreUpdate[] {
  const deletes: string[] = [];
  for (const key of from.keys()) if (!to.has(key)) deletes.push(key);
  const puts: StoreUpdate['puts'] = [];
  for (const [key, value] of to) if (from.get(key) !== value) puts.push({ key, value });
  const isKey = ({ key }: { key: string }) => Number(key.startsWith(KEY_PREFIX));
  puts.sort((a, b) => isKey(b) - isKey(a));
  const [added, removed] = [puts.map((put) => ({ put })), deletes.map((name) => ({ name }))];
  const isOneUpdate = puts.length + deletes.length <= STORE_LIMITS.keysPerUpdate;
  const changes = isOneUpdate || fitTogether(from, puts) ? [...added, ...removed] : [...removed, ...added];
  const result: StoreUpdate[] = [];
  for (let i = 0; i < changes.length; i += STORE_LIMITS.keysPerUpdate) {
    const part = changes.slice(i, i + STORE_LIMITS.keysPerUpdate);
    result.push({
      puts: part.flatMap((change) => ('put' in change ? [change.put] : [])),
      deletes: part.flatMap((change) => ('name' in change ? [change.name] : [])),
    });
  }
  return result;
}

function fitTogether(entries: Entries, puts: StoreUpdate['puts']): boolean {
  const added = puts.reduce((sum, { key, value }) => sum + bytesOf(key, value), 0);
  return totalBytes(entries) + added <= STORE_LIMITS.totalBytes;
}

function keysOf(entries: Entries): EdgeKey[] {
  const keys = keyIdsOf(entries).map((kid) => parsed<EdgeKey | null>(entries.get(keyName(kid)), null));
  return keys.filter((key) => key !== null);
}

function idsUnder(entries: Entries, prefix: string): string[] {
  const ids: string[] = [];
  for (const key of entries.keys()) if (key.startsWith(prefix)) ids.push(key.slice(prefix.length));
  return ids;
}

/** The blocks under an asset; a damaged entry is none, as far as it is about what to write anew. */
function storedBlocks(entries: Entries, assetId: string): StoredBlock[] {
  const blocks = parsed<unknown>(entries.get(assetBlockName(assetId)), []);
  return Array.isArray(blocks) ? blocks.filter((block) => typeof block === 'object' && block !== null) : [];
}

function tooLarge(what: string, bytes: number): StoreError {
  const { valueBytes } = STORE_LIMITS;
  return new StoreError('ERR_STORE_LIMIT', `the ${what} would take ${bytes} bytes, at most ${valueBytes} fit`);
}
