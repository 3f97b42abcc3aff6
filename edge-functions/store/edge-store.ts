import { type AssetBlock, isUnsafePath, type VerificationKey } from '../../token/index.ts';
import type { ModeRule } from '../viewer-request/mode.ts';
import type { Mode } from '../viewer-request/settings.ts';
import { type KeyValueStore, STORE_LIMITS, StoreError, type StoreUpdate } from './key-value-store.ts';
import { assetBlockName, type EdgeKey, keyName, MODES, revocationName } from './names.ts';

const KEY_PREFIX = keyName('');
const REVOCATION_PREFIX = revocationName('');
const ASSET_BLOCK_PREFIX = assetBlockName('');
const ATTEMPTS = 5;

/** What a publisher of revocations may do: no command of it can touch a key. */
export interface RevocationCommands {
  /** Denies these sessions at the edge. */
  revoke(sessionIds: string[]): Promise<void>;
  /** Lets these sessions through again. */
  restore(sessionIds: string[]): Promise<void>;
  /**
   * Makes the revoked sessions exactly those that `read` resolves to; none clears them all. It is called again when
   * somebody else wrote to the store meanwhile: what they did may be in the list by then.
   */
  replaceRevocations(read: () => Promise<string[]>): Promise<void>;
}

/** What a publisher of keys may do. */
export interface KeyCommands {
  /**
   * Makes the keys exactly those that `read` resolves to, by key id, and resolves to the ids of those that were not there
   * before, or with another value. A key that stays keeps the cut-off that is published with it; every token of one that
   * goes is denied from now on. `read` is handed the key ids that are there now, whatever the mirror says; it is called
   * again when somebody else wrote to the store meanwhile: the keys may be others by then.
   */
  replaceKeys(read: (published: string[]) => Promise<Record<string, VerificationKey>>): Promise<string[]>;
}

/** What whoever rolls out and withdraws may do. */
export interface DeliveryCommands {
  /**
   * Sets the roll-out mode of the paths below `prefix`, which begins and ends with a slash; null leaves it to the mode
   * built in. Rejects with `ERR_STORE_COMMAND` when the prefix could match nothing.
   */
  setMode(prefix: string, mode: Mode | null): Promise<void>;
  /** The modes that are set, the longest prefix first, which is the order in which they count. */
  modes(): Promise<ModeRule[]>;
  /** Denies an asset when and where one of `blocks` says so; an empty list takes it all back. */
  blockAsset(assetId: string, blocks: AssetBlock[]): Promise<void>;
  /** The blocks that are published, by asset id. */
  blockedAssets(): Promise<Map<string, AssetBlock[]>>;
}

/** What the store held when it was looked at. */
interface Mirror {
  entries: Map<string, string>;
  etag: string;
  /** When that was found to be so, on the clock of `performance.now`. */
  checkedAt: number;
}

/** For how long what was read is told on without asking whether somebody else wrote meanwhile, in milliseconds. */
const READ_AGE_MS = 2000;

/**
 * The only writer of the edge store. Keeps a mirror of what it last published, so that a change costs one call; lists
 * the store only at first and when somebody else wrote to it.
 */
export class EdgeStore implements KeyCommands, RevocationCommands, DeliveryCommands {
  readonly #store: KeyValueStore;
  #mirror: Mirror | null = null;
  #loading: Promise<Mirror> | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(store: KeyValueStore) {
    this.#store = store;
  }

  async replaceKeys(read: (published: string[]) => Promise<Record<string, VerificationKey>>): Promise<string[]> {
    let added: string[] = [];
    await this.#change(async (entries) => {
      const published = keyIdsOf(entries);
      const keys = await read(published);
      for (const kid of published) if (!Object.hasOwn(keys, kid)) entries.delete(keyName(kid));
      added = [];
      for (const [kid, { sign, bind }] of Object.entries(keys)) {
        const present = parsed<Partial<EdgeKey> | null>(entries.get(keyName(kid)), null);
        if (present?.sign === sign && present.bind === bind) continue;
        added.push(kid);
        entries.set(keyName(kid), JSON.stringify({ sign, bind, before: present?.before ?? 0 } satisfies EdgeKey));
      }
    }, 0);
    return added;
  }

  revoke(sessionIds: string[]): Promise<void> {
    return this.#change((entries) => {
      for (const sid of sessionIds) entries.set(revocationName(sid), '1');
    });
  }

  restore(sessionIds: string[]): Promise<void> {
    return this.#change((entries) => {
      for (const sid of sessionIds) entries.delete(revocationName(sid));
    });
  }

  replaceRevocations(read: () => Promise<string[]>): Promise<void> {
    return this.#change(async (entries) => {
      const sessionIds = await read();
      for (const key of entries.keys()) if (key.startsWith(REVOCATION_PREFIX)) entries.delete(key);
      for (const sid of sessionIds) entries.set(revocationName(sid), '1');
    });
  }

  setMode(prefix: string, mode: Mode | null): Promise<void> {
    if (!/^\/(?:.*\/)?$/.test(prefix) || isUnsafePath(prefix) || prefix.includes('%')) {
      const message = `'${prefix}' must begin and end with a slash and hold no escapes, like '/live/'`;
      return Promise.reject(new StoreError('ERR_STORE_COMMAND', message));
    }
    return this.#change((entries) => {
      const rules = modesOf(entries).filter(([other]) => other !== prefix);
      if (mode) rules.push([prefix, mode]);
      rules.sort(([a], [b]) => b.length - a.length || (a < b ? -1 : 1));
      if (rules.length > 0) entries.set(MODES, JSON.stringify(rules));
      else entries.delete(MODES);
    });
  }

  async modes(): Promise<ModeRule[]> {
    return modesOf((await this.#load(READ_AGE_MS)).entries);
  }

  blockAsset(assetId: string, blocks: AssetBlock[]): Promise<void> {
    return this.#change((entries) => {
      if (blocks.length > 0) entries.set(assetBlockName(assetId), JSON.stringify(blocks));
      else entries.delete(assetBlockName(assetId));
    });
  }

  async blockedAssets(): Promise<Map<string, AssetBlock[]>> {
    const { entries } = await this.#load(READ_AGE_MS);
    const blocked = [...entries].filter(([key]) => key.startsWith(ASSET_BLOCK_PREFIX));
    return new Map(
      blocked.map(([key, value]) => [key.slice(ASSET_BLOCK_PREFIX.length), parsed<AssetBlock[]>(value, [])]),
    );
  }

  /** The mirror, as it was at most so many milliseconds ago. Who only reads shares one look at the store. */
  async #load(maxAgeMs: number): Promise<Mirror> {
    if (this.#mirror && performance.now() - this.#mirror.checkedAt <= maxAgeMs) return this.#mirror;
    this.#loading ??= this.#look().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  async #look(): Promise<Mirror> {
    const known = this.#mirror;
    const checkedAt = performance.now();
    if (known && (await this.#store.etag()) === known.etag) {
      known.checkedAt = checkedAt;
      return known;
    }
    const { entries, etag } = await this.#store.list();
    this.#mirror = { entries: new Map(entries), etag, checkedAt };
    return this.#mirror;
  }

  /** Runs one command after the other: two at once would race for the ETag. */
  #change(apply: (entries: Map<string, string>) => unknown, maxAgeMs = Number.POSITIVE_INFINITY): Promise<void> {
    const result = this.#queue.then(() => this.#publish(apply, maxAgeMs));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #publish(apply: (entries: Map<string, string>) => unknown, maxAgeMs: number): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const mirror = await this.#load(maxAgeMs);
      const wanted = new Map(mirror.entries);
      await apply(wanted);
      copyIntoKeys(wanted);
      try {
        for (const update of updates(mirror.entries, wanted)) {
          mirror.etag = await this.#store.update(update, mirror.etag);
          for (const { key, value } of update.puts) mirror.entries.set(key, value);
          for (const key of update.deletes) mirror.entries.delete(key);
        }
        return;
      } catch (error) {
        // Whatever went wrong, the mirror can no longer be trusted: an update whose reply was lost may have been applied.
        this.#mirror = null;
        const conflict = error instanceof StoreError && error.code === 'ERR_STORE_ETAG';
        if (!conflict || attempt === ATTEMPTS) throw error;
      }
    }
  }
}

/** An entry's value; `otherwise` when there is none, or none that is JSON: a damaged entry must not keep a revocation back. */
function parsed<Value>(text: string | undefined, otherwise: Value): Value {
  try {
    return text === undefined ? otherwise : (JSON.parse(text) as Value);
  } catch {
    return otherwise;
  }
}

function keyIdsOf(entries: ReadonlyMap<string, string>): string[] {
  return [...entries.keys()].filter((key) => key.startsWith(KEY_PREFIX)).map((key) => key.slice(KEY_PREFIX.length));
}

function modesOf(entries: ReadonlyMap<string, string>): ModeRule[] {
  return parsed<ModeRule[]>(entries.get(MODES), []);
}

/** Repeats in the value of each key what the function must know before it has verified anything: one read tells it all. */
function copyIntoKeys(entries: Map<string, string>): void {
  const modes = modesOf(entries);
  const blocks = [...entries.keys()].some((key) => key.startsWith(ASSET_BLOCK_PREFIX));
  for (const [key, value] of entries) {
    if (!key.startsWith(KEY_PREFIX)) continue;
    const current = parsed<EdgeKey | null>(value, null);
    if (!current) continue;
    const { sign, bind, before } = current;
    const copied: EdgeKey = { sign, bind, before, ...(modes.length > 0 && { modes }), ...(blocks && { blocks }) };
    entries.set(key, JSON.stringify(copied));
  }
}

/** The difference between two states in updates of at most 50 keys; deletions first, so that they make room. */
function updates(from: Map<string, string>, to: Map<string, string>): StoreUpdate[] {
  const deletes = [...from.keys()].filter((key) => !to.has(key));
  const puts = [...to].filter(([key, value]) => from.get(key) !== value).map(([key, value]) => ({ key, value }));
  const result: StoreUpdate[] = [];
  for (let i = 0; i < deletes.length + puts.length; i += STORE_LIMITS.keysPerUpdate) {
    const end = i + STORE_LIMITS.keysPerUpdate;
    result.push({
      deletes: deletes.slice(i, end),
      puts: puts.slice(Math.max(i - deletes.length, 0), Math.max(end - deletes.length, 0)),
    });
  }
  return result;
}
