const TOKEN = /(ey[\w%-]+?(?:\.|%2e)[\w%-]+?(?:\.|%2e)).*/i;
const LONG_RUN = /[^/?&\s]{64,}/g;

/**
 * Makes text safe to log: in every token, what follows header and payload becomes `-`, also when the dots are
 * percent-encoded; any other run of 64 or more characters is cut, because it may be a token in a disguise we do not know.
 */
export function redact(text: string): string {
  return text.replace(LONG_RUN, (run) => {
    const redacted = run.replace(TOKEN, '$1-');
    return redacted === run ? `${run.slice(0, 32)}-` : redacted;
  });
}
