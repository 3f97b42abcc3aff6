import type { DetectionRun } from '../../revocation/detect/detection-runs.ts';
import { type Api, describe, type SuspiciousSession } from './api.ts';
import { byId, create } from './dom.ts';
import { number, quantity, timeOf } from './format.ts';
import { Plot } from './plot.ts';

const VERDICTS: Record<SuspiciousSession['verdict'], string> = {
  review: 'Needs a look',
  auto: 'Clear case',
};

type Thresholds = Pick<DetectionRun, 'reviewScore' | 'autoScore'>;

interface Row {
  item: HTMLLIElement;
  score: HTMLElement;
  bar: HTMLElement;
  verdict: HTMLElement;
  tags: HTMLSpanElement;
  facts: HTMLParagraphElement;
  reasons: HTMLUListElement;
  error: HTMLParagraphElement;
  button: HTMLButtonElement;
  session: SuspiciousSession;
  plot: Plot;
  /** When what the plot shows was found. */
  plotted: number;
}

/** The sessions that detection found: how sure it is, why, who fetched when, and a switch to revoke and restore each. */
export class SuspiciousSessions {
  readonly #list = byId('findings', HTMLOListElement);
  readonly #empty = byId('findings-empty', HTMLParagraphElement);
  readonly #error = byId('findings-error', HTMLParagraphElement);
  readonly #count = byId('findings-count', HTMLSpanElement);
  readonly #more = byId('findings-more', HTMLParagraphElement);
  // Rows live as long as their sessions, so that reading them again does not take the focus off a button.
  readonly #rows = new Map<string, Row>();
  readonly #api: Api;
  readonly #signal: AbortSignal;
  #pages = 1;
  #reading = 0;

  constructor(api: Api, signal: AbortSignal) {
    this.#api = api;
    this.#signal = signal;
    signal.addEventListener('abort', () => this.#forget([...this.#rows.keys()]));
    byId('show-more', HTMLButtonElement).addEventListener('click', () => void this.#showMore(), { signal });
    window.matchMedia('(prefers-color-scheme: dark)').addEventListener(
      'change',
      () => {
        for (const { plot } of this.#rows.values()) plot.redraw();
      },
      { signal },
    );
  }

  /** Reads and shows as many pages as are open; resolves to the error when that failed. */
  async refresh(): Promise<unknown> {
    const turn = ++this.#reading;
    try {
      const found = new Map<string, SuspiciousSession>();
      let next: string | undefined;
      // From the start, since a session may have moved from one page to another; then it counts once.
      for (let page = 0; page < this.#pages; page++) {
        const answer = await this.#api.suspicious(this.#signal, next);
        for (const session of answer.sessions) found.set(session.sessionId, session);
        next = answer.next;
        if (next === undefined) break;
      }
      // What was asked before is older than what is shown.
      if (turn !== this.#reading || this.#signal.aborted) return undefined;
      this.#show([...found.values()]);
      this.#empty.hidden = found.size > 0 || next !== undefined;
      this.#more.hidden = next === undefined;
      this.#count.textContent = found.size === 0 ? '' : `${found.size}${next === undefined ? '' : '+'}`;
      this.#error.hidden = true;
      return undefined;
    } catch (error) {
      if (this.#signal.aborted) return undefined;
      this.#error.textContent = describe(error);
      this.#error.hidden = false;
      return error;
    }
  }

  /** Marks on every bar where a session needs a look, and from where on it is a clear case. */
  showThresholds({ reviewScore, autoScore }: Thresholds): void {
    this.#list.dataset.thresholds = `${reviewScore} ${autoScore}`;
    this.#list.style.setProperty('--review-score', `${reviewScore}%`);
    this.#list.style.setProperty('--auto-score', `${autoScore}%`);
  }

  async #showMore(): Promise<void> {
    const shown = this.#rows.size;
    this.#pages++;
    await this.refresh();
    // The button may be gone; the keyboard goes on at the first row that is new.
    if (this.#more.hidden) this.#list.children[shown]?.querySelector('button')?.focus();
  }

  #show(sessions: SuspiciousSession[]): void {
    // No row may move away under a pointer or a focus: what is new waits until nobody is about to press something.
    if (this.#list.matches(':hover, :focus-within')) {
      for (const session of sessions) {
        const row = this.#rows.get(session.sessionId);
        if (row) this.#showRevocation(row, session);
      }
      return;
    }
    const found = new Set(sessions.map(({ sessionId }) => sessionId));
    this.#forget([...this.#rows.keys()].filter((id) => !found.has(id)));
    for (const [index, session] of sessions.entries()) {
      const row = this.#rows.get(session.sessionId) ?? this.#add(session);
      this.#update(row, session);
      if (this.#list.children[index] !== row.item)
        this.#list.insertBefore(row.item, this.#list.children[index] ?? null);
    }
  }

  #forget(sessionIds: string[]): void {
    for (const id of sessionIds) {
      const row = this.#rows.get(id);
      row?.plot.destroy();
      row?.item.remove();
      this.#rows.delete(id);
    }
  }

  #add(session: SuspiciousSession): Row {
    const score = create('strong', 'score-number');
    const bar = create('div');
    const verdict = create('p', 'verdict');
    const tags = create('span', 'tags');
    const facts = create('p', 'facts');
    const reasons = create('ul', 'reasons');
    const error = create('p', 'notice');
    error.setAttribute('role', 'alert');
    error.hidden = true;
    const button = create('button');
    button.type = 'button';
    const plot = new Plot(session.timeline);
    const marks = [create('span', 'mark review'), create('span', 'mark auto')];
    const track = create('div', 'score-bar', create('div', 'score-fill', bar), ...marks);
    track.setAttribute('aria-hidden', 'true');
    const scoreText = create('p', 'score-text', score, create('span', '', ' of 100'));
    const name = create('h3', 'finding-name', create('code', 'finding-id', session.sessionId), tags);
    const item = create(
      'li',
      'finding',
      create('div', 'score', scoreText, track, verdict),
      create('div', 'finding-text', name, facts, reasons, error),
      plot.element,
      create('div', 'finding-action', button),
    );
    item.dataset.session = session.sessionId;
    const row = {
      item,
      score,
      bar,
      verdict,
      tags,
      facts,
      reasons,
      error,
      button,
      session,
      plot,
      plotted: session.detectedAt,
    };
    // The second click of a double one would take back what the first did.
    button.addEventListener('click', ({ detail }) => void (detail < 2 && this.#toggle(row)));
    this.#rows.set(session.sessionId, row);
    return row;
  }

  #update(row: Row, session: SuspiciousSession): void {
    const { score, verdict, reasons, title, firstSeen, lastSeen, detectedAt, features } = session;
    if (detectedAt !== row.plotted) {
      const plot = new Plot(session.timeline);
      row.plot.element.replaceWith(plot.element);
      row.plot.destroy();
      row.plot = plot;
      row.plotted = detectedAt;
    }
    row.item.dataset.verdict = verdict;
    row.score.textContent = number(score);
    row.bar.style.width = `${Math.min(Math.max(score, 0), 100)}%`;
    row.verdict.textContent = VERDICTS[verdict];

    // What comes from a log may hold anything, text that runs the other way included.
    const name = create('bdi', 'title', title || 'no title');
    name.title = title;
    const facts = [
      `seen ${timeOf(firstSeen)} to ${timeOf(lastSeen)}`,
      `${quantity(features.requests, 'request')} from ${quantity(features.identities, 'viewer')}`,
      `found ${timeOf(detectedAt)}`,
    ];
    // Breaks between facts, not inside them.
    row.facts.replaceChildren(name, ...facts.map((fact) => ` · ${fact.replaceAll(' ', '\u00a0')}`));
    row.reasons.replaceChildren(...reasons.map((reason) => create('li', '', create('bdi', '', reason))));
    this.#showRevocation(row, session);
  }

  #showRevocation(row: Row, session: SuspiciousSession): void {
    const { sessionId, revoked, source, restored, reason } = session;
    row.session = session;
    row.item.dataset.revoked = `${revoked}`;
    row.tags.replaceChildren();
    const by = source === 'auto' ? 'detection' : 'a person';
    if (revoked) row.tags.append(create('span', 'tag revoked', `revoked by ${by}`));
    else if (reason) row.tags.append(create('span', 'tag revoked', reason.replaceAll('-', ' ')));
    else if (restored) row.tags.append(create('span', 'tag', 'restored by a person'));
    row.button.textContent = revoked ? 'Restore' : 'Revoke';
    row.button.className = revoked ? '' : 'danger';
    row.button.dataset.testid = revoked ? 'restore' : 'revoke';
    row.button.setAttribute('aria-label', `${revoked ? 'Restore' : 'Revoke'} session ${sessionId}`);
  }

  async #toggle({ button, error, session }: Row): Promise<void> {
    // Not `disabled`, which would drop the keyboard focus.
    if (button.getAttribute('aria-busy') === 'true') return;
    button.setAttribute('aria-busy', 'true');
    error.hidden = true;
    try {
      await (session.revoked ? this.#api.restore(session.sessionId) : this.#api.revoke(session.sessionId));
    } catch (failure) {
      error.textContent = describe(failure);
      error.hidden = false;
    } finally {
      button.removeAttribute('aria-busy');
    }
    await this.refresh();
  }
}
