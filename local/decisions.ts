import type { Decision, DecisionFeed } from '../revocation/http/decisions.ts';

const KEPT = 100;

/** The decisions of the edge server: the latest hundred, and everyone who wants to hear of the next. */
export class Decisions implements DecisionFeed {
  readonly #recent: Decision[] = [];
  readonly #listeners = new Set<(decision: Decision) => void>();

  record(decision: Decision): void {
    this.#recent.push(decision);
    if (this.#recent.length > KEPT) this.#recent.shift();
    for (const listener of this.#listeners) listener(decision);
  }

  recent(): Decision[] {
    return [...this.#recent];
  }

  subscribe(listener: (decision: Decision) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
