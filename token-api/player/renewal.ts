import { type Clock, createClock } from './clock.ts';
import { isOfSession, type PlaybackUrl, readPlaybackUrl, withTokenOf } from './playback-url.ts';

export type PlayerRenewalErrorCode = 'ERR_PLAYER_RENEWAL_URL';

/** Why a renewal cannot begin. */
export class PlayerRenewalError extends Error {
  readonly code: PlayerRenewalErrorCode;
  constructor(code: PlayerRenewalErrorCode, message: string) {
    super(message);
    this.name = 'PlayerRenewalError';
    this.code = code;
  }
}

/**
 * Codes of a refusal that are not the API's: it was refused without a code; no answer came in time; the answer was a token
 * of another session or for another place.
 */
export type RefusalCode = 'ERR_PLAYER_RENEWAL_REFUSED' | 'ERR_PLAYER_RENEWAL_UNREACHABLE' | 'ERR_PLAYER_RENEWAL_ANSWER';

/** Why there will be no more renewals. */
export interface Refusal {
  /** HTTP status of the answer; 0 when there was none until the token had expired. */
  status: number;
  /** Of the API's problem details, such as `ERR_SESSION_REVOKED`; or one of our own. */
  code: RefusalCode | (string & {});
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
/** Share of the token's time that Retry-After may take. */
const LONGEST_RETRY_AFTER = 0.75;
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
 * growing pauses while nobody answers, no sooner than Retry-After says, and at once when a request finds it overdue, as
 * after sleep. The lifetime is that between the claims `iat` and `exp`, counted from when the token was asked for, so that
 * the clock of the device need not be right. Only the first token, which may be older, is also held against it, and renewed
 * early in doubt.
 *
 * Throws `ERR_PLAYER_RENEWAL_URL` when `playbackUrl` carries no token.
 */
export function createRenewal(options: RenewalOptions, clock: Clock = createClock()): Renewal {
  const { renew, onRenewed, onRefused } = options;
  const first = readPlaybackUrl(options.playbackUrl);
  if (!first) {
    const message = 'playbackUrl carries no token; pass it as POST /v1/playback answered it';
    throw new PlayerRenewalError('ERR_PLAYER_RENEWAL_URL', message);
  }

  let latest: PlaybackUrl = first;
  /** When to renew, and when the latest token is certainly of no use any more; as `clock.elapsed` counts. */
  let due = 0;
  let deadline = clock.elapsed() + lifetimeMs(first);
  /** Until when the API asked to be left alone. */
  let notBefore = 0;
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
    if (isEnded || clock.elapsed() < notBefore) return Promise.resolve();
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
    if (typeof outcome === 'number') tryAgain(outcome);
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

  /** A renewed URL or a refusal; without a usable answer, for how many milliseconds at least not to ask again. */
  async function ask(): Promise<PlaybackUrl | Refusal | number> {
    const controller = new AbortController();
    // Also ends the wait for a `renew` that does not heed the signal.
    const aborted = new Promise<number>((resolve) => {
      abort = () => {
        controller.abort();
        resolve(0);
      };
    });
    const timeout = clock.setTimeout(abort, ATTEMPT_MS);
    const answer = async () => {
      const response = await renew(latest.href, controller.signal);
      if (response.ok) return readAnswer(await response.json(), latest);
      const isFinal = response.status >= 400 && response.status < 500 && !PASSING.has(response.status);
      return isFinal ? readRefusal(response) : retryAfterMs(response.headers, clock.epochSeconds() * 1000);
    };
    try {
      return await Promise.race([answer(), aborted]);
    } catch {
      return 0;
    } finally {
      clock.clearTimeout(timeout);
    }
  }

  function tryAgain(leastMs: number): void {
    const left = deadline - clock.elapsed();
    if (left <= 0) {
      refuse({ status: 0, code: 'ERR_PLAYER_RENEWAL_UNREACHABLE', reason: '' });
      return;
    }
    // An expired token cannot be renewed, so some time is kept. Our pause comes on top: not all players at the same moment.
    const least = Math.min(leastMs, left * LONGEST_RETRY_AFTER);
    notBefore = clock.elapsed() + least;
    // More often again towards the end, so that no pause goes over what is left.
    const most = Math.max((left - least) / 4, FIRST_RETRY_MS);
    const pause = Math.min(FIRST_RETRY_MS * 2 ** failures, LAST_RETRY_MS, most);
    failures++;
    renewIn(least + pause * (0.5 + Math.random() / 2));
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

/** The URL of an answer `{"playbackUrl": …}`, if it continues the session at the same place; 0 when there is none in it. */
function readAnswer(answer: unknown, before: PlaybackUrl): PlaybackUrl | Refusal | 0 {
  const { playbackUrl } = (answer ?? {}) as { playbackUrl?: unknown };
  if (typeof playbackUrl !== 'string') return 0;
  const renewed = readPlaybackUrl(playbackUrl);
  const continues =
    renewed?.origin === before.origin && renewed.prefix === before.prefix && renewed.sessionId === before.sessionId;
  return continues ? renewed : { status: 200, code: 'ERR_PLAYER_RENEWAL_ANSWER', reason: '' };
}

/** A refusal from problem details (RFC 9457), or from the edge, which answers with a header. */
async function readRefusal(response: Response): Promise<Refusal> {
  const problem = (await response.json().catch(() => null)) as { code?: unknown; reason?: unknown } | null;
  const text = (value: unknown) => (typeof value === 'string' ? value : '');
  return {
    status: response.status,
    code: text(problem?.code) || 'ERR_PLAYER_RENEWAL_REFUSED',
    reason: text(problem?.reason) || (response.headers.get('x-portcullis-reason') ?? ''),
  };
}

/**
 * Milliseconds that Retry-After asks for (RFC 9110 §10.2.3), as seconds or as a date; 0 when it is absent or neither. A date
 * is held against that of the answer where the page may see it, which other origins have to expose, else against `nowMs`.
 */
function retryAfterMs(headers: Headers, nowMs: number): number {
  const value = headers.get('retry-after') ?? '';
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  return Math.max(Date.parse(value) - (Date.parse(headers.get('date') ?? '') || nowMs), 0) || 0;
}
