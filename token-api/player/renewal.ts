import { type Clock, createClock } from './clock.ts';
import { isOfSession, type PlaybackUrl, readPlaybackUrl, withTokenOf } from './playback-url.ts';

export type RenewalErrorCode = 'ERR_RENEWAL_URL';

/** Why a renewal cannot begin. */
export class RenewalError extends Error {
  readonly code: RenewalErrorCode;
  constructor(code: RenewalErrorCode, message: string) {
    super(message);
    this.name = 'RenewalError';
    this.code = code;
  }
}

/** Why there will be no more renewals. */
export interface Refusal {
  /** HTTP status of the answer; 0 when there was none until the token had expired. */
  status: number;
  /**
   * Of the API's problem details; or `ERR_RENEWAL_REFUSED` when they name none, `ERR_RENEWAL_UNREACHABLE` when no answer
   * came in time, `ERR_RENEWAL_ANSWER` when it was a token of another session or for another place.
   */
  code: string;
  /** The denial reason of the edge, such as `session-revoked`; '' when it is none of those. */
  reason: string;
}

/** What a renewal is made of. */
export interface RenewalOptions {
  /** As `POST /v1/playback` answered it. */
  playbackUrl: string;
  /**
   * Asks for a renewed token, with the latest playback URL: `POST /v1/tokens/renewal`, or a route of the page's own backend
   * that passes status and body of that on. Resolves to whatever was answered; rejects when nothing was. Sees to its own
   * credentials: a 401 is taken as final.
   */
  renew: (playbackUrl: string, signal: AbortSignal) => Promise<Response>;
  /** Told of each renewed token; `expiresAt` is in seconds since the epoch. */
  onRenewed?: (renewed: { playbackUrl: string; expiresAt: number }) => void;
  /** Told once, when renewing has come to its end. The latest token is good until it expires or is revoked. */
  onRefused?: (refusal: Refusal) => void;
}

/** Keeps the token of one playback session fresh. */
export interface Renewal {
  /** The playback URL with the latest token: also what to hand to another device. */
  readonly playbackUrl: string;
  /** What to ask for instead of `url`: with the latest token if it carries one of this session, else unchanged. */
  rewrite(url: string): string;
  /**
   * For a URL that was denied as `token-expired`: the same with a newer token, which is asked for now if there is none yet.
   * Null when none is to be had; never rejects.
   */
  retryUrl(url: string): Promise<string | null>;
  /** Ends it, without telling `onRefused`. */
  stop(): void;
}

/** A token is renewed when this share of its time is gone, and a random part of the spread: not all players at once. */
const EARLIEST = 0.5;
const SPREAD = 0.2;
const SHORTEST_WAIT_MS = 1000;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;
const ATTEMPT_MS = 10_000;
/** Timers stand still in sleep: none is longer than this, so that waking up is noticed. */
const LONGEST_TIMER_MS = 10_000;

/**
 * Client errors that a later attempt may not meet again (RFC 9110 §15.5.9 and §15.5.10, RFC 8470 §5.2, RFC 6585 §4). 409 is
 * `ERR_RENEWAL_NOT_LATER`: the token is too young to be renewed.
 */
const PASSING = new Set([408, 409, 425, 429]);

/**
 * Renews the token of a playback session for as long as it plays: after half to seven tenths of its lifetime, again with
 * growing pauses while nobody answers, and at once when a request finds it overdue, as after sleep. The lifetime is that
 * between the claims `iat` and `exp`, counted from when the token was asked for, so that the clock of the device need not be
 * right. Only the first token, which may be older, is also held against it, and renewed early in doubt.
 *
 * Throws `ERR_RENEWAL_URL` when `playbackUrl` carries no token.
 */
export function createRenewal(options: RenewalOptions, clock: Clock = createClock()): Renewal {
  const { renew, onRenewed, onRefused } = options;
  const first = readPlaybackUrl(options.playbackUrl);
  if (!first) {
    const message = 'playbackUrl carries no token; pass it as POST /v1/playback answered it';
    throw new RenewalError('ERR_RENEWAL_URL', message);
  }

  let latest: PlaybackUrl = first;
  /** When to renew, and when the latest token is certainly of no use any more; as `clock.elapsed` counts. */
  let due = 0;
  let deadline = clock.elapsed() + lifetimeMs(first);
  let failures = 0;
  let timer: unknown;
  let attempt: Promise<void> | undefined;
  let isEnded = false;
  /** Ends the attempt that is under way. */
  let abort = () => {};

  renewIn(share(Math.min(lifetimeMs(first), (first.expiresAt - clock.epochSeconds()) * 1000)));

  return {
    get playbackUrl() {
      return latest.href;
    },
    rewrite(url) {
      if (clock.elapsed() >= due) void renewNow();
      return withTokenOf(latest, url);
    },
    async retryUrl(url) {
      if (!isOfSession(latest, url)) return null;
      if (withTokenOf(latest, url) === url) await renewNow();
      const retry = withTokenOf(latest, url);
      return retry === url ? null : retry;
    },
    stop: end,
  };

  function renewIn(milliseconds: number): void {
    due = clock.elapsed() + milliseconds;
    wait();
  }

  function wait(): void {
    clock.clearTimeout(timer);
    const left = due - clock.elapsed();
    if (left <= 0) void renewNow();
    else timer = clock.setTimeout(wait, Math.min(left, LONGEST_TIMER_MS));
  }

  /** One attempt; whoever asks while it is under way waits for the same one. */
  function renewNow(): Promise<void> {
    if (isEnded) return Promise.resolve();
    attempt ??= renewOnce().finally(() => {
      attempt = undefined;
    });
    return attempt;
  }

  async function renewOnce(): Promise<void> {
    clock.clearTimeout(timer);
    const askedAt = clock.elapsed();
    const outcome = await ask();
    if (isEnded) return;
    if (outcome === null) tryAgain();
    else if ('status' in outcome) refuse(outcome);
    else accept(outcome, askedAt);
  }

  function accept(renewed: PlaybackUrl, askedAt: number): void {
    latest = renewed;
    failures = 0;
    deadline = askedAt + lifetimeMs(latest);
    renewIn(share(deadline - clock.elapsed()));
    const { href: playbackUrl, expiresAt } = latest;
    tell(() => onRenewed?.({ playbackUrl, expiresAt }));
  }

  /** A renewed URL or a refusal; null when there was no usable answer. */
  async function ask(): Promise<PlaybackUrl | Refusal | null> {
    const controller = new AbortController();
    // Also ends the wait for a `renew` that does not heed the signal.
    const aborted = new Promise<null>((resolve) => {
      abort = () => {
        controller.abort();
        resolve(null);
      };
    });
    const timeout = clock.setTimeout(abort, ATTEMPT_MS);
    const answer = async () => {
      const response = await renew(latest.href, controller.signal);
      if (response.ok) return readAnswer(await response.json(), latest);
      const isFinal = response.status >= 400 && response.status < 500 && !PASSING.has(response.status);
      return isFinal ? readRefusal(response) : null;
    };
    try {
      return await Promise.race([answer(), aborted]);
    } catch {
      return null;
    } finally {
      clock.clearTimeout(timeout);
    }
  }

  function tryAgain(): void {
    const left = deadline - clock.elapsed();
    if (left <= 0) {
      refuse({ status: 0, code: 'ERR_RENEWAL_UNREACHABLE', reason: '' });
      return;
    }
    // More often again towards the end, so that no pause goes over what is left.
    const pause = Math.min(FIRST_RETRY_MS * 2 ** failures, LAST_RETRY_MS, Math.max(left / 4, FIRST_RETRY_MS));
    failures++;
    renewIn(pause * (0.5 + Math.random() / 2));
  }

  function refuse(refusal: Refusal): void {
    end();
    tell(() => onRefused?.(refusal));
  }

  function end(): void {
    isEnded = true;
    abort();
    clock.clearTimeout(timer);
    due = Number.POSITIVE_INFINITY;
  }
}

function lifetimeMs({ issuedAt, expiresAt }: PlaybackUrl): number {
  return (expiresAt - issuedAt) * 1000;
}

/** How long to wait before a token is renewed that has this many milliseconds left. */
function share(milliseconds: number): number {
  return Math.max(milliseconds * (EARLIEST + Math.random() * SPREAD), SHORTEST_WAIT_MS);
}

/** Calls back outside of our own course: an error in there is the page's, and changes nothing here. */
function tell(run: () => void): void {
  queueMicrotask(run);
}

/** The URL of an answer `{"playbackUrl": …}`, if it continues the session at the same place; null when there is none in it. */
function readAnswer(answer: unknown, before: PlaybackUrl): PlaybackUrl | Refusal | null {
  const { playbackUrl } = (answer ?? {}) as { playbackUrl?: unknown };
  if (typeof playbackUrl !== 'string') return null;
  const renewed = readPlaybackUrl(playbackUrl);
  const continues =
    renewed?.origin === before.origin && renewed.prefix === before.prefix && renewed.sessionId === before.sessionId;
  return continues ? renewed : { status: 200, code: 'ERR_RENEWAL_ANSWER', reason: '' };
}

/** A refusal from problem details (RFC 9457), or from the edge, which answers with a header. */
async function readRefusal(response: Response): Promise<Refusal> {
  const problem = (await response.json().catch(() => null)) as { code?: unknown; reason?: unknown } | null;
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  return {
    status: response.status,
    code: text(problem?.code) || 'ERR_RENEWAL_REFUSED',
    reason: text(problem?.reason) || (response.headers.get('x-portcullis-reason') ?? ''),
  };
}
