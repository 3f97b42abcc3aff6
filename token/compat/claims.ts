import { isTextList } from '../claims.ts';

/**
 * The payload of a token of the AWS solution v1. Times are seconds since the epoch. The flags say what `intsig`, the
 * binding MAC, covers; `headers` and `qs` name the headers and query parameters that it covers too.
 */
export interface CompatClaims {
  ip?: boolean;
  co?: boolean;
  cty?: boolean;
  reg?: boolean;
  ssn?: boolean;
  exp: number;
  headers?: string[];
  qs?: string[];
  intsig?: string;
  paths: string[];
  exc: string[];
  ip_ver?: number;
  co_fallback?: boolean;
  cty_fallback?: boolean;
  reg_fallback?: boolean;
  nbf?: number;
}

/** Stands for the session id among the names of our bindings. */
export const SESSION = 'session';

/** The flags in the order in which `intsig` covers what they bind, and that as a binding of ours. */
export const FLAGS = [
  ['ip', 'ip'],
  ['co', 'country'],
  ['cty', 'city'],
  ['reg', 'region'],
  ['ssn', SESSION],
] as const;

/** What is not ASCII, or has more than 16 opening brackets: njs stops at 32 levels of nesting, V8 at none. */
const NOT_PLAIN = /[^\t\n\r -~]|(?:[[{][^[{]*){17}/;
/** What an odd number has, and little else. */
const MAYBE_ODD = /\b0\d|\./;
const STRING = /"(?:\\.|[^"\\])*"/g;
/** Between strings, what njs takes for a number and JSON does not: a leading zero, no digit before or behind the point. */
const ODD_NUMBER = /[^\d.]0\d|\D\.|\.\D/;

/** Whether this is a list of texts, or empty. */
function isMaybeList(value: unknown): boolean {
  return isTextList(value) || (Array.isArray(value) && value.length === 0);
}

/** Whether an optional claim is absent or of the type that `typeof` calls `type`. */
function isMaybe(value: unknown, type: string): boolean {
  return value === undefined || typeof value === type;
}

/**
 * Parses a payload; null unless it is an object of JSON, in ASCII, in which every claim that we know has its type. `exp`,
 * `paths` and `exc` are required; unknown claims are left alone. Never throws, and says the same in every engine.
 */
export function readCompatClaims(payload: string): CompatClaims | null {
  // Looking between the strings is dear, and hardly ever needed.
  if (NOT_PLAIN.test(payload)) return null;
  if (MAYBE_ODD.test(payload) && ODD_NUMBER.test(payload.replace(STRING, ''))) return null;
  try {
    const claims: CompatClaims = JSON.parse(payload);
    const isRight =
      Number.isFinite(claims.exp) &&
      [claims.paths, claims.exc, claims.headers || [], claims.qs || []].every(isMaybeList) &&
      isMaybe(claims.intsig, 'string') &&
      isMaybe(claims.nbf, 'number') &&
      FLAGS.every(
        (row) =>
          isMaybe(claims[row[0]], 'boolean') && isMaybe(claims[(row[0] + '_fallback') as 'co_fallback'], 'boolean'),
      );
    return isRight ? claims : null;
  } catch (e) {
    // Not JSON, or null.
    return null;
  }
}
