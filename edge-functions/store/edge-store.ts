import type { VerificationKey } from '../../token/keys.ts';
import { type KeyValueStore, STORE_LIMITS, StoreError, type StoreUpdate } from './key-value-store.ts';
import { type EdgeKey, keyName, revocationName } from './names.ts';

const KEY_PREFIX = keyName('');
const REVOCATION_PREFIX = revocationName('');
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
  /** Publishes a key, or replaces it and keeps the cut-off that is published with it. */
  putKey(kid: string, key: VerificationKey): Promise<void>;
  /** Removes a key: every token signed with it is denied from now on. */
  retireKey(kid: string): Promise<void>;
  /** The key ids that the edge has. */
  keyIds(): Promise<string[]>;
}

/**
 * The only writer of the edge store. Keeps a mirror of what it last published, so that a change costs one call; lists
 * the store only at first and when somebody else wrote to it.
 */
export class EdgeStore implements KeyCommands, RevocationCommands {
  readonly #store: KeyValueStore;
  #mirror: { entries: Map<string, string>; etag: string } | null = null;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(store: KeyValueStore) {
    this.#store = store;
  }

  putKey(kid: string, key: VerificationKey): Promise<void> {
    return this.#change((entries) => {
      const { before } = JSON.parse(entries.get(keyName(kid)) ?? '{"before":0}') as EdgeKey;
      const value: EdgeKey = { sign: key.sign, bind: key.bind, before };
      entries.set(keyName(kid), JSON.stringify(value));
    });
  }

  retireKey(kid: string): Promise<void> {
    return this.#change((entries) => entries.delete(keyName(kid)));
  }

  async keyIds(): Promise<string[]> {
    const { entries } = await this.#load();
    return [...entries.keys()].filter((key) => key.startsWith(KEY_PREFIX)).map((key) => key.slice(KEY_PREFIX.length));
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

  async #load(): Promise<{ entries: Map<string, string>; etag: string }> {
    if (!this.#mirror) {
      const { entries, etag } = await this.#store.list();
      this.#mirror = { entries: new Map(entries), etag };
    }
    return this.#mirror;
  }

  /** Runs one command after the other: two at once would race for the ETag. */
  #change(apply: (entries: Map<string, string>) => unknown): Promise<void> {
    const result = this.#queue.then(() => this.#publish(apply));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #publish(apply: (entries: Map<string, string>) => unknown): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const mirror = await this.#load();
      const wanted = new Map(mirror.entries);
      await apply(wanted);
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
