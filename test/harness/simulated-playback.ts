import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ClaimsSet, mint } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import type { Clock } from '../../token-api/player/clock.ts';
import { type PlaybackUrl, readPlaybackUrl } from '../../token-api/player/playback-url.ts';
import { decide, NOW, TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from './minting.ts';

/** Time that passes when a test says so. Timers stand still while the device sleeps, as those of browsers do. */
export class SimulatedClock implements Clock {
  /** Milliseconds since the beginning. */
  passed = 0;
  #slept = 0;
  #timers: { at: number; run: () => void }[] = [];
  readonly #errorSeconds: number;
  readonly #settle: () => Promise<void>;

  /** `errorSeconds` is how far the device's clock is ahead; `settle` resolves when all that was set off has happened. */
  constructor(errorSeconds: number, settle: () => Promise<void>) {
    this.#errorSeconds = errorSeconds;
    this.#settle = settle;
  }

  /** Seconds since the epoch, really. */
  now(): number {
    return NOW + this.passed / 1000;
  }

  epochSeconds(): number {
    return this.now() + this.#errorSeconds;
  }

  elapsed(): number {
    return this.passed;
  }

  setTimeout(run: () => void, milliseconds: number): unknown {
    const timer = { at: this.passed - this.#slept + milliseconds, run };
    this.#timers.push(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.#timers = this.#timers.filter((other) => other !== timer);
  }

  get timers(): number {
    return this.#timers.length;
  }

  async advance(seconds: number): Promise<void> {
    const end = this.passed + seconds * 1000;
    await this.#settle();
    for (;;) {
      const [next] = this.#timers.toSorted((a, b) => a.at - b.at);
      if (!next || next.at + this.#slept > end) break;
      this.passed = Math.max(this.passed, next.at + this.#slept);
      this.clearTimeout(next);
      next.run();
      await this.#settle();
    }
    this.passed = end;
  }

  sleep(seconds: number): void {
    this.passed += seconds * 1000;
    this.#slept += seconds * 1000;
  }
}

/** What the renewal API of a simulation does: answer, break the connection, say nothing, or answer with this status. */
export type Behaviour =
  | 'answer'
  | 'break'
  | 'hang'
  | { status: number; body?: object; headers?: Record<string, string> };

export const EDGE = 'https://media.example.com';

/**
 * A playback in simulated time: an API on real HTTP that renews real tokens with the rules of the real one (the presented
 * token must be valid), and an edge that verifies them.
 */
export class SimulatedPlayback {
  readonly clock: SimulatedClock;
  behaviour: Behaviour = 'answer';
  /** Times of the attempts, in seconds since the beginning. */
  attempts: number[] = [];
  #lifetime: number;
  #sessionEnd: number;
  #pending = 0;
  #server: http.Server;

  constructor(options: { lifetime: number; clockError?: number; sessionSeconds?: number }) {
    this.#lifetime = options.lifetime;
    this.#sessionEnd = NOW + (options.sessionSeconds ?? 86400);
    this.clock = new SimulatedClock(options.clockError ?? 0, () => this.#settled());
    this.#server = http.createServer((request, response) => this.#answer(request, response));
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** A playback URL with a token minted `ago` seconds ago. */
  mint(more: Partial<ClaimsSet> = {}, ago = 0): string {
    const iat = Math.floor(this.clock.now() - ago);
    const exp = Math.min(iat + this.#lifetime, this.#sessionEnd);
    const token = mint({ ...TEST_CLAIMS, sst: NOW - 3600, iat, exp, ...more }, TEST_KEY, TEST_VIEWING, nodeCrypto);
    return `${EDGE}/${token}/aurora/master.m3u8`;
  }

  /** What the edge says to a request; '' when it is allowed. */
  ask(url: string): string {
    return decide(new URL(url).pathname, TEST_VIEWING, { now: Math.floor(this.clock.now()) });
  }

  /** For `createRenewal`. */
  renew = async (playbackUrl: string, signal: AbortSignal): Promise<Response> => {
    this.attempts.push(this.clock.passed / 1000);
    // Nobody waits for an answer that does not come.
    const counted = this.behaviour === 'hang' ? 0 : 1;
    this.#pending += counted;
    try {
      const { port } = this.#server.address() as AddressInfo;
      const body = JSON.stringify({ token: playbackUrl });
      const response = await fetch(`http://127.0.0.1:${port}/v1/tokens/renewal`, { method: 'POST', body, signal });
      const { status, headers } = response;
      return new Response(await response.text(), { status, headers });
    } finally {
      this.#pending -= counted;
    }
  };

  async #settled(): Promise<void> {
    do {
      await new Promise((resolve) => setImmediate(resolve));
    } while (this.#pending > 0);
    await new Promise((resolve) => setImmediate(resolve));
  }

  #answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { behaviour } = this;
    if (behaviour === 'hang') return;
    if (behaviour === 'break') {
      request.socket.destroy();
      return;
    }
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      const { status, body = {}, headers } = behaviour === 'answer' ? this.#renewal(JSON.parse(text).token) : behaviour;
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
    });
  }

  #renewal(url: string): Exclude<Behaviour, string> {
    const reason = this.ask(url);
    if (reason !== '') return { status: 401, body: { code: 'ERR_TOKEN_REFUSED', reason } };
    const { sessionId, expiresAt } = read(url);
    if (expiresAt >= this.#sessionEnd) return { status: 403, body: { code: 'ERR_SESSION_ENDED' } };
    const playbackUrl = this.mint({ sid: sessionId });
    const isLater = read(playbackUrl).expiresAt > expiresAt;
    return isLater ? { status: 200, body: { playbackUrl } } : { status: 409, body: { code: 'ERR_RENEWAL_NOT_LATER' } };
  }
}

/** A playback URL taken apart. */
export function read(url: string): PlaybackUrl {
  const playback = readPlaybackUrl(url);
  if (!playback) throw new Error('no playback URL');
  return playback;
}
