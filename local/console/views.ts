import { byId } from './dom.ts';

const NAMES = ['playback', 'suspicious', 'mastering'] as const;
type Name = (typeof NAMES)[number];

const TITLES: Record<Name, string> = {
  playback: 'Portcullis console',
  suspicious: 'Suspicious sessions · Portcullis console',
  mastering: 'Mastering · Portcullis console',
};

/** The view that the address names; the fragment is left to the key. */
function current(): Name {
  const wanted = new URLSearchParams(location.search).get('view');
  return NAMES.find((name) => name === wanted) ?? 'playback';
}

/** The views of the page, one of them shown at a time; what runs in the others goes on. Says `shown` when that changes. */
export class Views extends EventTarget {
  readonly #links = byId('views', HTMLElement);
  #open = false;
  readonly #leftOut = new Set<Name>();

  constructor() {
    super();
    for (const link of this.#links.querySelectorAll('a')) {
      link.addEventListener('click', (event) => {
        // For another tab or window, as on any link.
        if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
        event.preventDefault();
        if (link.href !== location.href) history.pushState(null, '', link.href);
        this.#show();
      });
    }
    window.addEventListener('popstate', () => this.#show());
  }

  /** For what this place has no data of. */
  leaveOut(name: Name): void {
    this.#leftOut.add(name);
    this.#links.querySelector(`[data-view=${name}]`)?.remove();
  }

  isLeftOut(name: Name): boolean {
    return this.#leftOut.has(name);
  }

  open(): void {
    this.#open = true;
    this.#show();
  }

  close(): void {
    this.#open = false;
    this.#show();
  }

  #show(): void {
    const named = current();
    const shown = this.#leftOut.has(named) ? 'playback' : named;
    for (const name of NAMES) byId(name, HTMLDivElement).hidden = !this.#open || name !== shown;
    this.#links.hidden = !this.#open;
    for (const link of this.#links.querySelectorAll('a')) {
      if (link.dataset.view === shown) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    document.title = TITLES[shown];
    this.dispatchEvent(new Event('shown'));
  }
}
