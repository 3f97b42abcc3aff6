import type { PlaybackRequest } from './playback.ts';
import { type Period, planSession, type Session } from './session.ts';

/** A stream of requests, and the next of them. */
interface Pending {
  session: Session;
  request: PlaybackRequest;
  rest: Generator<PlaybackRequest>;
}

/** A request of a session. */
export interface SessionRequest {
  session: Session;
  request: PlaybackRequest;
}

/**
 * The requests of `count` sessions in the order of time, without holding more of them than sessions that are open.
 * `onSession` is told of each session as it begins.
 */
export function* traffic(
  seed: number,
  count: number,
  period: Period,
  onSession: (session: Session) => void,
): Generator<SessionRequest> {
  const starts = Float64Array.from({ length: count }, (_, index) => planSession(seed, index, period).startedAt);
  const order = Uint32Array.from({ length: count }, (_, index) => index).sort(
    (a, b) => (starts[a] ?? 0) - (starts[b] ?? 0) || a - b,
  );
  const pending = new Pendings();
  const advance = (session: Session, rest: Generator<PlaybackRequest>) => {
    const { value, done } = rest.next();
    if (!done && value.time < period.to) pending.push({ session, request: value, rest });
  };

  for (const index of order) {
    yield* until(starts[index] ?? 0);
    const session = planSession(seed, index, period);
    onSession(session);
    for (const stream of session.streams()) advance(session, stream);
  }
  yield* until(Number.POSITIVE_INFINITY);

  function* until(time: number): Generator<SessionRequest> {
    for (let next = pending.popBefore(time); next; next = pending.popBefore(time)) {
      yield next;
      advance(next.session, next.rest);
    }
  }
}

/** A binary heap, the earliest request on top. */
class Pendings {
  readonly #heap: Pending[] = [];

  push(pending: Pending): void {
    const heap = this.#heap;
    let at = heap.push(pending) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#time(parent) <= pending.request.time) break;
      heap[at] = heap[parent] as Pending;
      at = parent;
    }
    heap[at] = pending;
  }

  /** Takes the earliest, unless that is at `time` or later. */
  popBefore(time: number): Pending | undefined {
    const heap = this.#heap;
    const top = heap[0];
    if (top === undefined || top.request.time >= time) return undefined;
    const last = heap.pop() as Pending;
    if (heap.length === 0) return top;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const least = this.#time(left + 1) < this.#time(left) ? left + 1 : left;
      if (this.#time(least) >= last.request.time) break;
      heap[at] = heap[least] as Pending;
      at = least;
    }
    heap[at] = last;
    return top;
  }

  #time(at: number): number {
    return this.#heap[at]?.request.time ?? Number.POSITIVE_INFINITY;
  }
}
