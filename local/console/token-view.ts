import { encode } from 'uqr';
import type { Playback } from './api.ts';
import { byId, create } from './dom.ts';
import { countdown, nowSeconds, timeOf } from './format.ts';

const SVG = 'http://www.w3.org/2000/svg';
const TIME_CLAIMS = new Set(['sst', 'iat', 'nbf', 'exp']);
const EXPIRING_SOON_SECONDS = 30;

function decodePart(part: string): unknown {
  const binary = atob(part.replaceAll('-', '+').replaceAll('_', '/'));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
}

/** Indented JSON with its flat arrays on one line. JSON has no line breaks inside strings, so none is touched. */
function prettyJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(/\[\n[^[\]{}]*\]/g, (array) =>
    array.replace(/\n\s*/g, ' ').replace('[ ', '[').replace(/ \]$/, ']'),
  );
}

/**
 * The readable form of a time is shown by the style sheet, from `data-note`: the text of the element stays valid JSON.
 */
function jsonLines(value: unknown): (Node | string)[] {
  return prettyJson(value)
    .split('\n')
    .flatMap((text) => {
      const line = create('span', '', text);
      const [, name = '', number = ''] = /^ {2}"(\w+)": (\d+)/.exec(text) ?? [];
      if (TIME_CLAIMS.has(name)) line.dataset.note = timeOf(Number(number));
      return [line, '\n'];
    });
}

function showJson(target: HTMLElement, part: string): unknown {
  try {
    const value = decodePart(part);
    target.replaceChildren(...jsonLines(value));
    return value;
  } catch {
    target.replaceChildren('Not readable as JSON.');
    return undefined;
  }
}

function shorten(signature: string): string {
  return signature.length > 14 ? `${signature.slice(0, 6)}…${signature.slice(-4)}` : signature;
}

/** The code as one path of horizontal runs: small, and free of seams between modules. */
function qrImage(text: string): SVGSVGElement {
  const { data, size } = encode(text, { ecc: 'L', border: 3 });
  let path = '';
  for (const [y, row] of data.entries()) {
    for (let x = 0; x < size; x++) {
      if (!row[x]) continue;
      const start = x;
      while (x < size && row[x]) x++;
      path += `M${start} ${y}h${x - start}v1h${start - x}z`;
    }
  }
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', `0 0 ${size} ${size}`);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', 'QR code of the playback URL');
  svg.setAttribute('shape-rendering', 'crispEdges');
  const modules = document.createElementNS(SVG, 'path');
  modules.setAttribute('d', path);
  svg.append(modules);
  return svg;
}

/** The playback URL taken apart: session id, header, payload and signature of its token, and the time it has left. */
export class TokenView {
  readonly #url = byId('playback-url', HTMLInputElement);
  readonly #copy = byId('copy', HTMLButtonElement);
  readonly #countdown = byId('countdown', HTMLSpanElement);
  readonly #expiryLabel = byId('expiry-label', HTMLSpanElement);
  readonly #expiry = byId('expiry', HTMLParagraphElement);
  readonly #lifetime = byId('lifetime', HTMLDivElement);
  #issuedAt = 0;
  #expiresAt = 0;

  constructor() {
    this.#url.addEventListener('focus', () => this.#url.select());
    this.#copy.addEventListener('click', () => void this.#copyUrl());
    window.setInterval(() => this.#tick(), 250);
  }

  show({ playbackUrl, sessionId, expiresAt }: Playback): void {
    const url = new URL(playbackUrl);
    // Wherever the configuration puts the token.
    const segment = url.pathname.split('/').find((text) => text.split('.').length === 4) ?? '';
    const [pathSession = '', header = '', payload = '', signature = ''] = segment.split('.');
    byId('token-session', HTMLElement).textContent = pathSession || sessionId;
    byId('token-signature', HTMLElement).textContent = shorten(signature);
    showJson(byId('token-header', HTMLPreElement), header);
    const claims = showJson(byId('token-payload', HTMLPreElement), payload);

    const issuedAt = typeof claims === 'object' && claims !== null && 'iat' in claims ? Number(claims.iat) : Number.NaN;
    this.#issuedAt = Number.isFinite(issuedAt) ? issuedAt : nowSeconds();
    this.#expiresAt = expiresAt;

    this.#url.value = playbackUrl;
    byId('qr', HTMLDivElement).replaceChildren(qrImage(playbackUrl));
    const loopback = ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname);
    byId('qr-caption', HTMLElement).textContent = loopback ? 'Works on this machine only' : 'Scan to play';

    byId('token-empty', HTMLParagraphElement).hidden = true;
    byId('token-body', HTMLDivElement).hidden = false;
    this.#expiry.hidden = false;
    this.#tick();
  }

  #tick(): void {
    if (this.#expiry.hidden) return;
    const left = this.#expiresAt - nowSeconds();
    const expired = left <= 0;
    this.#expiryLabel.hidden = expired;
    this.#countdown.textContent = expired ? 'expired' : countdown(left);
    this.#expiry.dataset.state = expired ? 'expired' : left <= EXPIRING_SOON_SECONDS ? 'soon' : 'valid';
    const share = left / Math.max(1, this.#expiresAt - this.#issuedAt);
    this.#lifetime.style.transform = `scaleX(${Math.min(1, Math.max(0, share)).toFixed(4)})`;
  }

  async #copyUrl(): Promise<void> {
    let outcome = 'Copied';
    try {
      await navigator.clipboard.writeText(this.#url.value);
    } catch {
      // No permission: leave the URL selected for the keyboard.
      this.#url.focus();
      outcome = 'Press Ctrl+C';
    }
    this.#copy.textContent = outcome;
    window.setTimeout(() => {
      this.#copy.textContent = 'Copy';
    }, 2000);
  }
}
