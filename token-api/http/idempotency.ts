import { randomUUID, timingSafeEqual } from 'node:crypto';
import { createMiddleware } from 'hono/factory';
import type { StatusCode } from 'hono/utils/http-status';
import type { AnswerEntry, Answers, KeptAnswer } from '../idempotency/answers.ts';
import { requestSeal } from '../idempotency/seal.ts';
import type { CallerEnv } from './authorize.ts';
import { problem } from './problem-docs.ts';

/** What repeating requests safely is made of. */
export interface IdempotencyOptions {
  answers: Answers;
  /** Told of errors that are ours. */
  report: (error: Error) => void;
  /** Seconds since the epoch. */
  now: () => number;
}

/** The key as a string of structured fields (RFC 9651 §3.3.3), or bare, as many clients send it. */
const KEY = /^(?:"([\w.~:+/=-]{20,128})"|([\w.~:+/=-]{20,128}))$/;
/** Answers are kept for a day; a token that expires sooner takes its answer with it. */
const KEPT_SECONDS = 86_400;
/** For how long a request that was begun holds its key: longer than any may run, in case what ran it died. */
const RUN_SECONDS = 60;
/** Headers that belong to an answer and not to one exchange. */
const KEPT_HEADERS = ['content-type', 'cache-control', 'location'];

/**
 * Makes POST safe to repeat (draft-ietf-httpapi-idempotency-key-header-07): of all requests of a caller with one
 * Idempotency-Key and path one is run, and the others get its answer, marked `idempotent-replayed: true`. 409 while it
 * runs, 422 when the body is another, 400 when the key is none. What failed on our side or was not understood is not
 * kept: it may be tried again with the same key. 503 when answers cannot be kept.
 */
export function idempotency({ answers, report, now }: IdempotencyOptions) {
  return createMiddleware<CallerEnv>(async (c, next) => {
    const header = c.req.header('idempotency-key');
    if (c.req.method !== 'POST' || header === undefined) return next();
    const { subject, roles } = c.get('caller');
    const request = requestSeal(keyOf(header), { subject, roles, method: 'POST', path: c.req.path });
    const mine: AnswerEntry = {
      id: request.id,
      fingerprint: request.fingerprint(new Uint8Array(await c.req.arrayBuffer())),
      run: randomUUID(),
      expiresAt: now() + RUN_SECONDS,
    };
    const held = await answers.begin(mine, now()).catch((error: Error) => {
      report(error);
      throw problem('ERR_UNAVAILABLE', 'The answer could not be kept just now; try again in a moment.');
    });
    if (held) {
      if (!timingSafeEqual(held.fingerprint, mine.fingerprint)) {
        const message = 'This Idempotency-Key was used with another body; a new request takes a new key.';
        throw problem('ERR_IDEMPOTENCY_KEY_REUSED', message);
      }
      if (!held.sealed) {
        c.header('retry-after', '1');
        const message = 'The request with this Idempotency-Key is still running; ask again in a second.';
        throw problem('ERR_IDEMPOTENCY_RUNNING', message);
      }
      const { status, headers, body } = request.open(held.sealed);
      c.header('idempotent-replayed', 'true');
      // A status without a body (204) takes none, not even an empty one.
      return c.newResponse(body === '' ? null : body, status as StatusCode, headers);
    }

    await next();

    const answer = await keptAnswer(c.res);
    // What was done is done: the caller gets the answer, whether or not it could be kept.
    const kept = isFinal(answer.status)
      ? answers.finish({ ...mine, sealed: request.seal(answer), expiresAt: keptUntil(answer, now()) })
      : answers.abandon(mine.id, mine.run);
    await kept.catch(report);
  });
}

function keyOf(header: string): string {
  const [, quoted, bare] = KEY.exec(header.trim()) ?? [];
  const key = quoted ?? bare;
  if (key !== undefined) return key;
  const message =
    'An Idempotency-Key is 20 to 128 letters, digits and . ~ : + / = - _; take a random one, like a UUID.';
  throw problem('ERR_IDEMPOTENCY_KEY_INVALID', message);
}

/** Whether repeating the request would change nothing. */
function isFinal(status: number): boolean {
  return status < 500 && status !== 429 && status !== 400;
}

async function keptAnswer(response: Response): Promise<KeptAnswer> {
  const headers = KEPT_HEADERS.flatMap((name) => {
    const value = response.headers.get(name);
    return value === null ? [] : [[name, value]];
  });
  return { status: response.status, headers: Object.fromEntries(headers), body: await response.clone().text() };
}

/** When an answer is forgotten: what expires in it says so as `expiresAt`, in seconds since the epoch. */
function keptUntil({ headers, body }: KeptAnswer, now: number): number {
  const json = headers['content-type']?.includes('json') ? (JSON.parse(body) as { expiresAt?: unknown } | null) : null;
  const expiresAt = typeof json?.expiresAt === 'number' ? json.expiresAt : Number.POSITIVE_INFINITY;
  return Math.min(expiresAt, now + KEPT_SECONDS);
}
