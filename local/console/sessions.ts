import { type Api, describe, type Session } from './api.ts';
import { byId, create, pause } from './dom.ts';
import { nowSeconds, roughly, timeOf } from './format.ts';

const POLL_MILLISECONDS = 2000;

interface Row {
  item: HTMLLIElement;
  tags: HTMLSpanElement;
  facts: HTMLParagraphElement;
  button: HTMLButtonElement;
  session: Session;
}

/** The live sessions, with a switch on each to revoke and restore it. */
export class Sessions {
  readonly #list = byId('sessions', HTMLUListElement);
  readonly #empty = byId('sessions-empty', HTMLParagraphElement);
  readonly #error = byId('sessions-error', HTMLParagraphElement);
  readonly #count = byId('sessions-count', HTMLSpanElement);
  // Rows live as long as their sessions, so that a poll does not take the focus off a button.
  readonly #rows = new Map<string, Row>();
  readonly #api: Api;
  readonly #titleOf: (asset: string) => string;
  readonly #signal: AbortSignal;
  #own = '';

  constructor(api: Api, titleOf: (asset: string) => string, signal: AbortSignal) {
    this.#api = api;
    this.#titleOf = titleOf;
    this.#signal = signal;
    this.#list.replaceChildren();
  }

  /** Marks the session of this page's player. */
  set own(sessionId: string) {
    this.#own = sessionId;
    void this.refresh();
  }

  async poll(onHealth: (error: unknown) => void): Promise<void> {
    while (!this.#signal.aborted) {
      onHealth(await this.refresh());
      await pause(POLL_MILLISECONDS, this.#signal);
    }
  }

  /** Reads and shows the sessions; resolves to the error when that failed. */
  async refresh(): Promise<unknown> {
    try {
      this.#show(await this.#api.sessions(this.#signal));
      return undefined;
    } catch (error) {
      return error;
    }
  }

  #show(sessions: Session[]): void {
    const own = (session: Session) => Number(session.sessionId === this.#own);
    const sorted = sessions.toSorted((a, b) => own(b) - own(a) || b.startedAt - a.startedAt);
    const live = new Set(sorted.map(({ sessionId }) => sessionId));
    for (const [id, row] of this.#rows) {
      if (live.has(id)) continue;
      row.item.remove();
      this.#rows.delete(id);
    }
    for (const [index, session] of sorted.entries()) {
      const row = this.#rows.get(session.sessionId) ?? this.#add(session);
      this.#update(row, session);
      // Moving a node drops its focus: only when it is out of place.
      if (this.#list.children[index] !== row.item)
        this.#list.insertBefore(row.item, this.#list.children[index] ?? null);
    }
    this.#empty.hidden = sorted.length > 0;
    this.#count.textContent = sorted.length > 0 ? `${sorted.length}` : '';
  }

  #add(session: Session): Row {
    const tags = create('span', 'tags');
    const facts = create('p', 'facts');
    const button = create('button');
    button.type = 'button';
    const name = create('p', 'name', create('code', '', session.sessionId), tags);
    const item = create('li', 'session', create('div', 'session-text', name, facts), button);
    item.dataset.session = session.sessionId;
    const row: Row = { item, tags, facts, button, session };
    // The second click of a double one would take back what the first did.
    button.addEventListener('click', ({ detail }) => void (detail < 2 && this.#toggle(row)));
    this.#rows.set(session.sessionId, row);
    return row;
  }

  #update(row: Row, session: Session): void {
    row.session = session;
    const { sessionId, revoked } = session;
    row.item.dataset.revoked = `${revoked}`;

    row.tags.replaceChildren();
    if (sessionId === this.#own) row.tags.append(create('span', 'tag own', 'this player'));
    if (revoked) row.tags.append(create('span', 'tag revoked', 'revoked'));

    const now = nowSeconds();
    const facts = [this.#titleOf(session.asset), `started ${timeOf(session.startedAt)}`];
    if (session.subject) facts.splice(1, 0, session.subject);
    if (session.lastSeenAt > 0) {
      const idle = now - session.lastSeenAt;
      facts.push(idle < 3 ? 'seen just now' : `seen ${roughly(idle)} ago`);
    }
    facts.push(session.expiresAt > now ? `expires in ${roughly(session.expiresAt - now)}` : 'expired');
    // Breaks between facts, not inside them.
    row.facts.textContent = facts.map((fact) => fact.replaceAll(' ', '\u00a0')).join(' · ');

    row.button.textContent = revoked ? 'Restore' : 'Revoke';
    row.button.className = revoked ? '' : 'danger';
    row.button.dataset.testid = revoked ? 'restore' : 'revoke';
    row.button.setAttribute('aria-label', `${revoked ? 'Restore' : 'Revoke'} session ${sessionId}`);
  }

  async #toggle({ button, session }: Row): Promise<void> {
    // Not `disabled`, which would drop the keyboard focus.
    if (button.getAttribute('aria-busy') === 'true') return;
    button.setAttribute('aria-busy', 'true');
    this.#error.hidden = true;
    try {
      await (session.revoked ? this.#api.restore(session.sessionId) : this.#api.revoke(session.sessionId));
      await this.refresh();
    } catch (error) {
      this.#error.textContent = describe(error);
      this.#error.hidden = false;
    } finally {
      button.removeAttribute('aria-busy');
    }
  }
}
