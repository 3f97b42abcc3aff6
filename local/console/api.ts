import type { EventSourceMessage } from 'eventsource-parser/stream';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import type { DetectionRun } from '../../revocation/detect/detection-runs.ts';
import type { RevocationSource } from '../../revocation/list/revocation-list.ts';
import type { SuspiciousSession as Finding } from '../../revocation/suspicious/suspicious-sessions.ts';
import type { TitleChain } from '../title-chain.ts';
import { pause } from './dom.ts';

const SUSPICIOUS_A_PAGE = 20;
/** How long a run of detection may take, and how often it is asked for. */
const RUN_MILLISECONDS = 900_000;
const RUN_POLL_MILLISECONDS = 2000;

type Role = 'player' | 'backend' | 'security';

/** Where the API is, and what it is called with. */
export interface Access {
  edge: string;
  tokens: Record<Role, string>;
  /** The local stack's alone, as is the stream of decisions. */
  chain?: TitleChain;
}

export interface Asset {
  id: string;
  title: string;
  path: string;
}

export interface Playback {
  playbackUrl: string;
  sessionId: string;
  expiresAt: number;
}

export interface Session {
  sessionId: string;
  asset: string;
  subject?: string;
  startedAt: number;
  expiresAt: number;
  lastSeenAt: number;
  revoked: boolean;
}

/** What detection found, and what became of it. */
export interface SuspiciousSession extends Omit<Finding, 'expiresAt'> {
  verdict: 'review' | 'auto';
  title: string;
  firstSeen: number;
  lastSeen: number;
  revoked: boolean;
  /** Who revoked it: a person, or detection. */
  source?: RevocationSource;
  /** A person took a revocation back. */
  restored?: true;
  /** Why it gets no later token, when it gets none. */
  reason?: string;
}

/** A failed call, as its problem details (RFC 9457) tell it; `status` is 0 when there was no answer at all. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly detail: string;

  constructor(status: number, code: string, title: string, detail: string) {
    super(title);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.detail = detail;
  }
}

/** What one signed in with, a key or a token, is not accepted, or no longer. */
export class SignedOutError extends ApiError {
  constructor() {
    super(401, 'signed-out', 'What the console signed in with is not accepted', '');
  }
}

/** What to tell the user about any error. */
export function describe(error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error);
  return error.detail === '' ? error.message : `${error.message}: ${error.detail}`;
}

async function problemOf(response: Response): Promise<ApiError> {
  const body: unknown = await response.json().catch(() => undefined);
  const problem: Record<string, unknown> = typeof body === 'object' && body !== null ? { ...body } : {};
  const text = (name: string) => (typeof problem[name] === 'string' ? problem[name] : '');
  const code = text('code') || (response.headers.get('x-portcullis-reason') ?? '');
  return new ApiError(response.status, code, text('title') || `HTTP ${response.status}`, text('detail'));
}

/** Whatever is answered. Throws `ApiError` when nothing is. */
export async function call(url: string, init: RequestInit, what: string): Promise<Response> {
  try {
    return await fetch(url, { ...init, cache: 'no-store', referrerPolicy: 'no-referrer' });
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ApiError(0, 'unreachable', `${what} does not answer`, 'It may not be running any more.');
  }
}

/** Exchanges the key of a local stack for access. Throws `SignedOutError` when it is not accepted. */
export async function signInWithKey(key: string): Promise<Access> {
  const headers = { 'content-type': 'application/json' };
  const init = { method: 'POST', headers, body: JSON.stringify({ key }) };
  const response = await call('./session', init, 'The console server');
  if (response.status === 401) throw new SignedOutError();
  if (!response.ok) throw await problemOf(response);
  return response.json();
}

/** The token API, called through the edge as its real clients do. */
export class Api {
  readonly #signIn: () => Promise<Access>;
  #access: Access;

  private constructor(signIn: () => Promise<Access>, access: Access) {
    this.#signIn = signIn;
    this.#access = access;
  }

  /** `signIn` gives access now, and again when that has expired; it throws `SignedOutError` when it has none. */
  static async open(signIn: () => Promise<Access>): Promise<Api> {
    return new Api(signIn, await signIn());
  }

  get edgeHost(): string {
    return new URL(this.#access.edge).host;
  }

  /** How the mastered title of a local stack came to the edge: as it was when the stack started. */
  get chain(): TitleChain | undefined {
    return this.#access.chain;
  }

  async assets(): Promise<Asset[]> {
    const { assets }: { assets: Asset[] } = await this.#json('player', '/v1/assets?limit=1000');
    return assets;
  }

  playback(asset: string): Promise<Playback> {
    return this.#json('player', '/v1/playback', { method: 'POST', body: JSON.stringify({ asset }) });
  }

  /** Asks for a renewed token; resolves to whatever is answered, which is the renewal's to read. */
  renewal(playbackUrl: string, signal: AbortSignal): Promise<Response> {
    const body = JSON.stringify({ token: playbackUrl });
    return this.#ask('player', '/v1/tokens/renewal', { method: 'POST', body, signal });
  }

  async sessions(signal: AbortSignal): Promise<Session[]> {
    const { sessions }: { sessions: Session[] } = await this.#json('security', '/v1/sessions?limit=1000', { signal });
    return sessions;
  }

  /** A page of the sessions that detection found, the highest score first. */
  suspicious(
    signal: AbortSignal,
    cursor: string | undefined,
  ): Promise<{ sessions: SuspiciousSession[]; next?: string }> {
    const query = new URLSearchParams({ limit: `${SUSPICIOUS_A_PAGE}` });
    if (cursor !== undefined) query.set('cursor', cursor);
    return this.#json('security', `/v1/sessions/suspicious?${query}`, { signal });
  }

  /** Runs detection now, and waits until it has. */
  async detect(signal: AbortSignal): Promise<void> {
    const response = await this.#request('security', '/v1/detections', { method: 'POST', signal });
    if (response.status !== 202) return;
    const { startedAt }: { startedAt: number } = await response.json();
    for (let waited = 0; waited < RUN_MILLISECONDS && !signal.aborted; waited += RUN_POLL_MILLISECONDS) {
      const { run, running } = await this.latestDetection(signal);
      if (run && run.checkedAt >= startedAt) return;
      if (!running) throw new ApiError(0, 'failed', 'The run failed', 'The log of the API says why.');
      await pause(RUN_POLL_MILLISECONDS, signal);
    }
  }

  /** The last run of detection that had something to do, none before the first; and whether there is one now. */
  async latestDetection(signal: AbortSignal): Promise<{ run?: DetectionRun; running: boolean }> {
    try {
      const path = '/v1/detections/latest';
      const { running, ...run } = await this.#json<DetectionRun & { running: boolean }>('security', path, { signal });
      return { run, running };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.code === 'ERR_DETECTION_NONE') return { running: false };
      if (error.code === 'ERR_DETECTION_RUNNING') return { running: true };
      throw error;
    }
  }

  async revoke(sessionId: string): Promise<void> {
    await this.#request('security', revocationOf(sessionId), {
      method: 'POST',
      body: JSON.stringify({ reason: 'Revoked in the console' }),
    });
  }

  async restore(sessionId: string): Promise<void> {
    await this.#request('security', revocationOf(sessionId), { method: 'DELETE' });
  }

  /** The running server-sent events. Plain fetch, as `EventSource` cannot send the authorization header. */
  async decisions(signal: AbortSignal): Promise<ReadableStream<EventSourceMessage>> {
    const { body } = await this.#request('security', '/v1/decisions', { signal });
    if (body === null) throw new ApiError(0, 'unreachable', 'The decision stream is empty', '');
    // The cast bridges two views of a byte stream: TypeScript's decoder wants BufferSource, fetch gives Uint8Array.
    const text = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array<ArrayBuffer>>);
    return text.pipeThrough(new EventSourceParserStream());
  }

  async #json<T>(role: Role, path: string, init?: RequestInit): Promise<T> {
    const response = await this.#request(role, path, init);
    return response.json();
  }

  async #request(role: Role, path: string, init?: RequestInit): Promise<Response> {
    const response = await this.#ask(role, path, init);
    if (!response.ok) throw await problemOf(response);
    return response;
  }

  async #ask(role: Role, path: string, init: RequestInit = {}): Promise<Response> {
    const send = () => {
      const headers = new Headers({ authorization: `Bearer ${this.#access.tokens[role]}` });
      if (init.body !== undefined) headers.set('content-type', 'application/json');
      return call(`${this.#access.edge}${path}`, { ...init, headers }, 'The edge');
    };
    const response = await send();
    if (response.status !== 401) return response;
    // Tokens are short-lived.
    this.#access = await this.#signIn();
    return send();
  }
}

function revocationOf(sessionId: string): string {
  return `/v1/sessions/${encodeURIComponent(sessionId)}/revocation`;
}
