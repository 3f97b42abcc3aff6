import { LRUCache } from 'lru-cache';

/** Keys in clear at the same time, at most: a title of three hours that rotates each minute has 180. */
const MOST_KEYS = 4096;
/** How long a key stays in clear, in milliseconds: a KMS key that is disabled stops all of its content keys within that time. */
const HELD_MILLISECONDS = 300_000;

/** Content keys in clear, in memory alone: so many, for so long, and overwritten when they go. */
export class UnwrappedKeys {
  readonly #held: LRUCache<string, Uint8Array>;
  readonly #unwrapping = new Map<string, Promise<Uint8Array | undefined>>();

  constructor(most: number = MOST_KEYS, heldMilliseconds: number = HELD_MILLISECONDS) {
    this.#held = new LRUCache({
      max: most,
      ttl: heldMilliseconds,
      // Else a key that nobody asks for again would stay.
      ttlAutopurge: true,
      // Later in this turn, those who waited for it take their copies.
      dispose: (key) => setImmediate(() => key.fill(0)),
    });
  }

  /**
   * A copy of the key `id`; of all who ask while it is not here, the first has it unwrapped and the others wait for that. What fails
   * fails for those who waited, and is tried anew for the next.
   */
  async get(id: string, unwrap: () => Promise<Uint8Array | undefined>): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const key = this.#held.get(id) ?? (await this.#unwrapOnce(id, unwrap));
    return key && Uint8Array.from(key);
  }

  #unwrapOnce(id: string, unwrap: () => Promise<Uint8Array | undefined>): Promise<Uint8Array | undefined> {
    const running = this.#unwrapping.get(id);
    if (running) return running;
    const begun = unwrap()
      .then((key) => {
        if (key) this.#held.set(id, key);
        return key;
      })
      .finally(() => this.#unwrapping.delete(id));
    this.#unwrapping.set(id, begun);
    return begun;
  }

  /** Overwrites all of them. */
  clear(): void {
    this.#held.clear();
  }
}
