/** The claims set of a playback token. Times are seconds since the epoch (RFC 7519 §2, NumericDate), integers only. */
export interface ClaimsSet {
  sid: string;
  aid: string;
  iat: number;
  exp: number;
  sst: number;
  paths: string[];
  sub?: string;
  files?: string[];
  bnd?: string[];
  bmac?: string;
  btol?: string[];
  cty?: string[];
  nbf?: number;
}

/**
 * A session id: what the API, the rule group and the logs can all tell apart. As everywhere at the edge, the end is not
 * `$` alone: in njs that matches before a trailing line feed too.
 */
export const SESSION_ID = /^[A-Za-z0-9]{12,64}$(?!\n)/;

/** More opening brackets than any claims set of ours has, and fewer than every engine takes: njs stops at 32 levels, V8 at none. */
const TOO_MANY_BRACKETS = /(?:[[{][^[{]*){30}/;

// Looked up once: a global and its member cost as much as the call.
const isArray = Array.isArray;
const parseJson = JSON.parse;
const keysOf = Object.keys;

/** Whether this is an integer from 0 on: only that is equal to itself without its fraction. */
export function isTime(value: unknown): boolean {
  const time = value as number;
  return time - (time % 1) === time && time >= 0;
}

/** Whether this is a text of 1 to 128 UTF-16 code units. */
export function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && value.length <= 128;
}

/** Whether this is a list of texts, at least one. */
export function isTextList(value: unknown): boolean {
  return isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string' && item !== '');
}

/** What each optional claim must be. */
const OPTIONAL: { name: keyof ClaimsSet; isRight: (value: unknown) => boolean }[] = [
  { name: 'sub', isRight: isText },
  { name: 'bnd', isRight: isTextList },
  { name: 'bmac', isRight: isText },
  { name: 'btol', isRight: isTextList },
  { name: 'cty', isRight: isTextList },
  { name: 'files', isRight: isTextList },
  { name: 'nbf', isRight: isTime },
];

/** How many claims are required. */
const REQUIRED = 6;

/**
 * Parses a payload; null unless it is a JSON object in which every claim that we know has its type. Unknown claims are
 * left alone, as long as they are not nested beyond what every engine parses.
 */
export function readClaims(payload: string): ClaimsSet | null {
  let claims: ClaimsSet;
  try {
    claims = parseJson(payload) || {};
  } catch (e) {
    return null;
  }
  const iat = claims.iat;
  const exp = claims.exp;
  const sst = claims.sst;
  const isRight =
    // Three times as `isTime` tells them, in order; written out, because this is asked of every token.
    sst - (sst % 1) === sst &&
    iat - (iat % 1) === iat &&
    exp - (exp % 1) === exp &&
    sst >= 0 &&
    sst <= iat &&
    iat < exp &&
    typeof claims.sid === 'string' &&
    isText(claims.aid) &&
    isTextList(claims.paths);
  if (!isRight) return null;

  // What is there beyond the required claims: looking for each optional one would cost more than all that is above.
  let others = keysOf(claims).length - REQUIRED;
  if (others === 0) return claims;
  for (let i = 0; i < OPTIONAL.length && others > 0; i++) {
    const optional = OPTIONAL[i] as (typeof OPTIONAL)[number];
    const value = claims[optional.name];
    if (value === undefined) continue;
    if (!optional.isRight(value)) return null;
    others--;
  }
  if (others > 0 && payload.search(TOO_MANY_BRACKETS) >= 0) return null;
  return !claims.bnd === !claims.bmac ? claims : null;
}
