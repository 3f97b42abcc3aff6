/** Runs without a delimiter that are long enough to hold a token; an escaped slash delimits like a slash. */
const DELIMITER = /[/?&\s]|%2f/gi;
const DOT = /\.|%2e/gi;
/** A session id before a token; what begins like a JSON object is a header, and then there is none. */
const SESSION_PREFIX = /^(?!e[w-z])[A-Za-z0-9]{12,64}(?:\.|%2e)/i;
const LONG = 64;

/** How much of a long run may be read: up to the dot before the signature, or a short beginning when there is none. */
function readable(run: string): string {
  const dots = SESSION_PREFIX.test(run) ? 3 : 2;
  DOT.lastIndex = 0;
  let end = 0;
  for (let i = 0; i < dots; i++) {
    if (!DOT.test(run)) return run.slice(0, LONG / 2);
    end = DOT.lastIndex;
  }
  return run.slice(0, end);
}

/**
 * Makes text safe to log: of every run of 64 or more characters only `<session>.<header>.<payload>.` is kept, and `-`
 * takes the place of the rest. Recognises tokens by their length and dots alone, because a header may be encoded in many
 * ways; what is cut in error is no loss to a log.
 */
export function redact(text: string): string {
  let result = '';
  let start = 0;
  const append = (end: number) => {
    result += end - start < LONG ? text.slice(start, end) : `${readable(text.slice(start, end))}-`;
  };
  for (const { 0: delimiter, index } of text.matchAll(DELIMITER)) {
    append(index);
    result += delimiter;
    start = index + delimiter.length;
  }
  append(text.length);
  return result;
}
