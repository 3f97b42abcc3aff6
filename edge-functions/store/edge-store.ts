import { isDeepStrictEqual } from 'node:util';
import { type AssetBlock, isUnsafePath, type VerificationKey } from '../../token/index.ts';
import type { ModeRule } from '../viewer-request/mode.ts';
import type { Mode } from '../viewer-request/settings.ts';
import {
  blockedAssetIds,
  blocksOf,
  copyIntoKeys,
  cutoffOf,
  type Entries,
  keyIdsOf,
  modesOf,
  parsed,
  setBlocks,
  setModes,
  updates,
} from './entries.ts';
import { type KeyValueStore, StoreError } from './key-value-store.ts';
import { type EdgeKey, keyName } from './names.ts';
import {
  changeRevocations,
  countRevocations,
  type EdgeRevocationChange,
  type EdgeRevocations,
  type OmittedRevocations,
  replaceRevocations,
} from './revocations.ts';

const ATTEMPTS = 5;
/** Updates that a replacement makes before it lets commands go first that wait: a few seconds on AWS. */
const UPDATES_IN_TURN = 20;

/**
 * What a publisher of revocations may do: of a key no command of it can touch more than the cut-off. Sessions and assets
 * take the room that keys, modes and blocks leave them, less a reserve.
 *
 * `read` is called when it is the command's turn, so that what is read last is written last, and again when somebody else
 * wrote to the store meanwhile: what they did may be in the list by then.
 */
export interface RevocationCommands {
  /**
   * Makes the change that `read` resolves to; resolves to how many revocations the store holds then. Rejects with
   * `ERR_STORE_LIMIT`, and changes nothing, when there is no room for it: `replaceRevocations` decides what has to go.
   */
  changeRevocations(read: () => Promise<EdgeRevocationChange>): Promise<number>;
  /**
   * Makes the revocations exactly those that `read` resolves to; none clears them all. What does not fit is left out. A
   * large one lets other commands go first now and then, and reads again.
   */
  replaceRevocations(read: () => Promise<EdgeRevocations>): Promise<{ published: number; omitted: OmittedRevocations }>;
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
  /** Denies an asset when and where one of `blocks` says so, which take the place of those it had. */
  blockAsset(assetId: string, blocks: AssetBlock[]): Promise<void>;
  /** Adds a block to those of an asset, unless it is one of them; resolves to all of them. */
  addBlock(assetId: string, block: AssetBlock): Promise<AssetBlock[]>;
  /** Takes all blocks of an asset back; resolves to whether there were any. */
  removeBlocks(assetId: string): Promise<boolean>;
  /** The blocks that are published, by asset id; not those of assets that are revoked. */
  blockedAssets(): Promise<Map<string, AssetBlock[]>>;
}

/** What the store held when it was looked at. */
interface Mirror {
  entries: Map<string, string>;
  etag: string;
  /** When that was found to be so, on the clock of `performance.now`. */
  checkedAt: number;
  /** Whether an update failed that may have been applied all the same. */
  isDoubtful?: boolean;
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
  #isWriting = false;
  /** Commands that wait for their turn. */
  #waiting = 0;

  constructor(store: KeyValueStore) {
    this.#store = store;
  }

  async replaceKeys(read: (published: string[]) => Promise<Record<string, VerificationKey>>): Promise<string[]> {
    let added: string[] = [];
    await this.#change(async (entries) => {
      const published = keyIdsOf(entries);
      const keys = await read(published);
      // Of the keys that go, one may be the last that still knows what every key has to carry.
      const [before, modes] = [cutoffOf(entries), modesOf(entries)];
      for (const kid of published) if (!Object.hasOwn(keys, kid)) entries.delete(keyName(kid));
      added = [];
      for (const [kid, { sign, bind }] of Object.entries(keys)) {
        const present = parsed<Partial<EdgeKey> | null>(entries.get(keyName(kid)), null);
        if (present?.sign === sign && present.bind === bind) continue;
        added.push(kid);
        entries.set(keyName(kid), JSON.stringify({ sign, bind, before, modes } satisfies EdgeKey));
      }
    }, 0);
    return added;
  }

  async changeRevocations(read: () => Promise<EdgeRevocationChange>): Promise<number> {
    let published = 0;
    await this.#change(async (entries) => {
      changeRevocations(entries, await read());
      published = countRevocations(entries);
    });
    return published;
  }

  async replaceRevocations(
    read: () => Promise<EdgeRevocations>,
  ): Promise<{ published: number; omitted: OmittedRevocations }> {
    let omitted: OmittedRevocations = { sessions: [], assets: [] };
    let published = 0;
    const replace = async (entries: Entries) => {
      omitted = replaceRevocations(entries, await read());
      published = countRevocations(entries);
    };
    while (!(await this.#change(replace, Number.POSITIVE_INFINITY, UPDATES_IN_TURN)));
    return { published, omitted };
  }

  async setMode(prefix: string, mode: Mode | null): Promise<void> {
    if (!/^\/(?:.*\/)?$/.test(prefix) || isUnsafePath(prefix) || prefix.includes('%')) {
      const message = `'${prefix}' must begin and end with a slash and hold no escapes, like '/live/'`;
      throw new StoreError('ERR_STORE_COMMAND', message);
    }
    await this.#change((entries) => {
      const rules = modesOf(entries).filter(([other]) => other !== prefix);
      if (mode) rules.push([prefix, mode]);
      rules.sort(([a], [b]) => b.length - a.length || (a < b ? -1 : 1));
      setModes(entries, rules);
    });
  }

  async modes(): Promise<ModeRule[]> {
    return modesOf((await this.#load(READ_AGE_MS)).entries);
  }

  async blockAsset(assetId: string, blocks: AssetBlock[]): Promise<void> {
    await this.#change((entries) => setBlocks(entries, assetId, blocks));
  }

  async addBlock(assetId: string, block: AssetBlock): Promise<AssetBlock[]> {
    let blocks: AssetBlock[] = [];
    const added: AssetBlock = JSON.parse(JSON.stringify(block));
    await this.#change((entries) => {
      blocks = blocksOf(entries, assetId);
      if (!blocks.some((present) => isDeepStrictEqual(present, added))) blocks.push(added);
      setBlocks(entries, assetId, blocks);
    });
    return blocks;
  }

  async removeBlocks(assetId: string): Promise<boolean> {
    let wasBlocked = false;
    await this.#change((entries) => {
      wasBlocked = blocksOf(entries, assetId).length > 0;
      setBlocks(entries, assetId, []);
    });
    return wasBlocked;
  }

  async blockedAssets(): Promise<Map<string, AssetBlock[]>> {
    const { entries } = await this.#load(READ_AGE_MS);
    const blocked = blockedAssetIds(entries).map((id) => [id, blocksOf(entries, id)] as const);
    return new Map(blocked.filter(([, blocks]) => blocks.length > 0));
  }

  /** The mirror, as it was at most so many milliseconds ago. Who only reads shares one look at the store. */
  async #load(maxAgeMs: number): Promise<Mirror> {
    const known = this.#mirror;
    // While a change of ours is on its way, the ETag would tell readers of nothing else.
    const isYoung = this.#isWriting || (known && performance.now() - known.checkedAt <= maxAgeMs);
    if (known && !known.isDoubtful && isYoung) return known;
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
      known.isDoubtful = false;
      return known;
    }
    const { entries, etag } = await this.#store.list();
    this.#mirror = { entries: new Map(entries), etag, checkedAt };
    return this.#mirror;
  }

  /**
   * Runs one command after the other: two at once would race for the ETag. Resolves to whether all of it was done, which
   * it is unless others waited after so many updates.
   */
  #change(
    apply: (entries: Entries) => unknown,
    maxAgeMs = Number.POSITIVE_INFINITY,
    inTurn = Number.POSITIVE_INFINITY,
  ): Promise<boolean> {
    this.#waiting++;
    const result = this.#queue.then(() => {
      this.#waiting--;
      return this.#publish(apply, maxAgeMs, inTurn);
    });
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #publish(apply: (entries: Entries) => unknown, maxAgeMs: number, inTurn: number): Promise<boolean> {
    for (let attempt = 1; ; attempt++) {
      const mirror = await this.#load(maxAgeMs);
      const wanted = new Map(mirror.entries);
      await apply(wanted);
      copyIntoKeys(wanted);
      try {
        this.#isWriting = true;
        for (const [index, update] of updates(mirror.entries, wanted).entries()) {
          if (index >= inTurn && this.#waiting > 0) return false;
          mirror.etag = await this.#store.update(update, mirror.etag);
          for (const { key, value } of update.puts) mirror.entries.set(key, value);
          for (const key of update.deletes) mirror.entries.delete(key);
        }
        return true;
      } catch (error) {
        const conflict = error instanceof StoreError && error.code === 'ERR_STORE_ETAG';
        // Of any other failure the ETag tells whether the update was applied although its reply was lost.
        if (conflict) this.#mirror = null;
        else mirror.isDoubtful = true;
        if (!conflict || attempt === ATTEMPTS) throw error;
      } finally {
        this.#isWriting = false;
      }
    }
  }
}
