/**
 * A function that runs `run`, one run after the other: whoever calls while one is under way shares the next one, which
 * begins after that. So every call is answered by a run that began later than the call.
 */
export function coalesced<Result>(run: () => Promise<Result>): () => Promise<Result> {
  let last: Promise<unknown> = Promise.resolve();
  let next: Promise<Result> | undefined;
  return () => {
    if (next) return next;
    next = last.then(() => {
      next = undefined;
      return run();
    });
    last = next.catch(() => undefined);
    return next;
  };
}
