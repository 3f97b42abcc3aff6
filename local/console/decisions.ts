import type { Api } from './api.ts';
import { byId, create, pause } from './dom.ts';
import { timeOf } from './format.ts';
import { explain } from './reasons.ts';

const MAX_SHOWN = 200;
const FIRST_RETRY_MILLISECONDS = 500;
const LAST_RETRY_MILLISECONDS = 8000;

interface Decision {
  time: number;
  status: number;
  reason: string;
  sessionId: string;
  kid: string;
  uri: string;
  method: string;
}

const refused = ({ status, reason }: Decision) => reason !== '' || status >= 400;
/** Whether the roll-out mode let a request through that would have been refused. */
const letThrough = ({ status, reason }: Decision) => reason !== '' && status < 400;

/** The path without its token segment; a path without a token is shown as it is. */
function shortPath(uri: string): string {
  const [, first = '', rest] = /^\/([^/]*)(\/.*)?$/.exec(uri) ?? [];
  return first.split('.').length >= 4 && rest !== undefined ? `…${rest}` : uri;
}

/** What the edge decided on each request, newest first. */
export class Decisions {
  readonly #list = byId('decisions', HTMLOListElement);
  readonly #filter = byId('decision-filter', HTMLInputElement);
  readonly #empty = byId('decisions-empty', HTMLParagraphElement);
  readonly #api: Api;
  readonly #signal: AbortSignal;
  #recent: { decision: Decision; row: HTMLLIElement }[] = [];
  #allowed = 0;
  #refused = 0;

  constructor(api: Api, signal: AbortSignal) {
    this.#api = api;
    this.#signal = signal;
    // Scrolls from the keyboard; not every browser makes a scrolling box focusable by itself.
    this.#list.tabIndex = 0;
    this.#filter.addEventListener('change', () => this.#showAll(), { signal });
    this.#showAll();
    this.#showCounts();
  }

  /** Follows the stream until the signal aborts; comes back with growing pauses when it breaks. */
  async follow(onHealth: (error: unknown) => void): Promise<void> {
    let retry = FIRST_RETRY_MILLISECONDS;
    while (!this.#signal.aborted) {
      try {
        const events = (await this.#api.decisions(this.#signal)).getReader();
        onHealth(undefined);
        // The stream begins with the recent decisions, also after an interruption.
        this.#recent = [];
        this.#allowed = 0;
        this.#refused = 0;
        this.#showAll();
        this.#showCounts();
        for (;;) {
          const { done, value } = await events.read();
          if (done) break;
          retry = FIRST_RETRY_MILLISECONDS;
          if (value.event === 'decision') this.#add(JSON.parse(value.data));
        }
        throw new Error('the decision stream ended');
      } catch (error) {
        if (this.#signal.aborted) return;
        onHealth(error);
      }
      await pause(retry, this.#signal);
      retry = Math.min(retry * 2, LAST_RETRY_MILLISECONDS);
    }
  }

  #add(decision: Decision): void {
    const entry = { decision, row: this.#row(decision) };
    this.#recent.unshift(entry);
    for (const { row } of this.#recent.splice(MAX_SHOWN)) row.remove();
    if (refused(decision)) this.#refused++;
    else this.#allowed++;
    this.#showCounts();
    if (this.#passes(decision)) this.#list.prepend(entry.row);
    this.#showEmpty();
  }

  #passes(decision: Decision): boolean {
    return !this.#filter.checked || refused(decision);
  }

  #showAll(): void {
    this.#list.replaceChildren(...this.#recent.filter(({ decision }) => this.#passes(decision)).map(({ row }) => row));
    this.#showEmpty();
  }

  #showEmpty(): void {
    this.#empty.hidden = this.#list.firstChild !== null;
    this.#list.hidden = !this.#empty.hidden;
    this.#empty.textContent =
      this.#recent.length > 0
        ? 'No refused request among the recent ones.'
        : 'Waiting for the first request at the edge.';
  }

  #showCounts(): void {
    byId('count-allowed', HTMLElement).textContent = `${this.#allowed}`;
    byId('count-refused', HTMLElement).textContent = `${this.#refused}`;
  }

  #row(decision: Decision): HTMLLIElement {
    const { time, status, reason, sessionId, kid, uri, method } = decision;
    const path = create('code', 'path', method === 'GET' ? shortPath(uri) : `${method} ${shortPath(uri)}`);
    path.title = kid === '' ? uri : `${uri} (key ${kid})`;
    const clock = create('time', '', timeOf(time));
    clock.dateTime = new Date(time * 1000).toISOString();
    const row = create('li', 'decision', create('span', 'badge', `${status}`), path);
    row.append(create('code', 'sid', sessionId), clock);
    if (refused(decision)) {
      const why = create('p', 'why', create('b', '', reason || 'refused'));
      const explanation = explain(reason);
      if (explanation !== '') why.append(` ${explanation}`);
      if (letThrough(decision)) why.append(' Let through: its mode does not enforce.');
      row.append(why);
    }
    row.dataset.reason = reason;
    row.dataset.status = `${status}`;
    row.classList.toggle('refused', refused(decision));
    return row;
  }
}
