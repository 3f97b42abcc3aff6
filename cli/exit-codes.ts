/**
 * How every command ends: what a script may build on. The last two are those of sysexits.h, EX_UNAVAILABLE and EX_SOFTWARE.
 */
export const EXIT_CODES = {
  yes: { code: 0, meaning: 'yes' },
  no: { code: 1, meaning: 'no (denied, refused, not found)' },
  usage: { code: 2, meaning: 'bad usage or input' },
  unavailable: { code: 69, meaning: 'what was asked does not answer, or not just now' },
  internal: { code: 70, meaning: 'a fault of ours' },
} as const;

/** One of the ways to end. */
export type Exit = keyof typeof EXIT_CODES;

/** All of them for the help, one a line. */
export const EXIT_HELP = [
  'Exit codes:',
  ...Object.values(EXIT_CODES).map(({ code, meaning }) => `  ${`${code}`.padEnd(4)}${meaning}`),
].join('\n');

/** Statuses by which an API says that the request is not right; any other of 4xx, that the answer to a right one is no. */
const NOT_RIGHT = [400, 405, 413, 415, 422];
/** Statuses of what may answer later: too many requests (RFC 6585 §4), and what stands in front of an API that is away. */
const NOT_NOW = [429, 502, 503, 504];
/** Endings of the codes of errors that say the same of other services. */
const UNAVAILABLE = /_(?:THROTTLED|UNAVAILABLE|UNREACHABLE)$/;

/** How a command ends that an API refused with a status of 4xx or 5xx. */
export function exitOfStatus(status: number): Exit {
  if (NOT_NOW.includes(status)) return 'unavailable';
  if (status >= 500) return 'internal';
  return NOT_RIGHT.includes(status) ? 'usage' : 'no';
}

/** How a command ends because of an error of ours with this code (`ERR_…`). */
export function exitOfCode(code: string): Exit {
  return UNAVAILABLE.test(code) ? 'unavailable' : 'usage';
}
