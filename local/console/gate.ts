import { byId } from './dom.ts';

const STORED_AS = 'portcullis.key';

/** The key in a console URL (`…#key=…`), or the text itself when it is a bare key. */
function keyIn(text: string): string {
  const [, fragment] = /#(.*)$/.exec(text) ?? [];
  if (fragment !== undefined) return new URLSearchParams(fragment).get('key') ?? '';
  return text.includes('/') ? '' : text.replace(/^key=/, '');
}

/** The key from the address bar, which is then cleared of it, or from earlier in this tab; '' when there is none. */
export function takeKey(): string {
  const key = keyIn(location.hash);
  if (key === '') return sessionStorage.getItem(STORED_AS) ?? '';
  sessionStorage.setItem(STORED_AS, key);
  history.replaceState(null, '', location.pathname + location.search);
  return key;
}

/** What stands before the console until one has signed in. */
export interface Gate {
  open(message: string): void;
  close(): void;
  /** What is said when one cannot get in any more, after what was signed in with is forgotten. */
  signedOut(): string;
}

/** The panel that asks for the key of a local stack. */
export class KeyGate implements Gate {
  readonly #panel = byId('gate', HTMLElement);
  readonly #message = byId('gate-message', HTMLParagraphElement);
  readonly #input = byId('gate-key', HTMLInputElement);

  constructor(onKey: (key: string) => void) {
    byId('gate-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      const key = keyIn(this.#input.value.trim());
      if (key === '') {
        this.open('There is no key in that text. The URL ends in #key= and the key.');
        return;
      }
      sessionStorage.setItem(STORED_AS, key);
      onKey(key);
    });
  }

  open(message: string): void {
    this.#message.textContent = message;
    this.#panel.hidden = false;
    this.#input.focus();
  }

  close(): void {
    this.#panel.hidden = true;
    this.#input.value = '';
  }

  signedOut(): string {
    sessionStorage.removeItem(STORED_AS);
    return 'This key is not accepted. It changes each time portcullis up starts: open the URL that it printed last.';
  }
}

/** The panel that sends people to the issuer, where the page is deployed. */
export class LoginGate implements Gate {
  readonly #panel = byId('login', HTMLElement);
  readonly #message = byId('login-message', HTMLParagraphElement);
  readonly #button = byId('login-button', HTMLButtonElement);

  constructor(onLogin: () => void) {
    this.#button.addEventListener('click', () => {
      if (this.#button.getAttribute('aria-busy') === 'true') return;
      this.#button.setAttribute('aria-busy', 'true');
      onLogin();
    });
    // Whoever comes back from the issuer by the browser's Back finds the page as it was left.
    window.addEventListener('pageshow', () => this.#button.removeAttribute('aria-busy'));
  }

  open(message: string): void {
    this.#message.textContent = message;
    this.#panel.hidden = false;
    this.#button.removeAttribute('aria-busy');
    this.#button.focus();
  }

  close(): void {
    this.#panel.hidden = true;
  }

  signedOut(): string {
    return 'This login has ended.';
  }
}
