/** The claims set of a playback token. Times are seconds since the epoch (RFC 7519 §2, NumericDate), integers only. */
export interface ClaimsSet {
  sid: string;
  aid: string;
  iat: number;
  exp: number;
  sst: number;
  paths: string[];
  nbf?: number;
  sub?: string;
  cty?: string[];
  bnd?: string[];
  bmac?: string;
}

/** A session id: what the API, the rule group and the logs can all tell apart. */
export const SESSION_ID = /^[A-Za-z0-9]{12,64}$/;

function isTime(value: unknown): boolean {
  return typeof value === 'number' && value >= 0 && value % 1 === 0;
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value !== '' && value.length <= 128;
}

/** Whether this is a list of texts, at least one. An array is told from an object by what only arrays have. */
function isTextList(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0) return false;
  for (let i = 0; i < value.length; i++) if (typeof value[i] !== 'string' || value[i] === '') return false;
  return true;
}

/** Parses a payload; null unless it is a JSON object in which every claim that we know has its type. Unknown claims are left alone. */
export function readClaims(payload: string): ClaimsSet | null {
  let claims: ClaimsSet;
  try {
    claims = JSON.parse(payload);
  } catch (e) {
    return null;
  }
  if (claims === null) return null;
  const iat = claims.iat;
  const exp = claims.exp;
  const sst = claims.sst;
  const sid = claims.sid;
  const isRight =
    // Three integers from 0 on, in order: whatever is no number fails one of the comparisons or has a remainder.
    typeof iat === 'number' &&
    typeof exp === 'number' &&
    typeof sst === 'number' &&
    sst >= 0 &&
    sst <= iat &&
    iat < exp &&
    sst % 1 === 0 &&
    iat % 1 === 0 &&
    exp % 1 === 0 &&
    typeof sid === 'string' &&
    sid.search(SESSION_ID) === 0 &&
    isText(claims.aid) &&
    isTextList(claims.paths) &&
    (claims.nbf === undefined || isTime(claims.nbf)) &&
    (claims.sub === undefined || isText(claims.sub)) &&
    (claims.cty === undefined || isTextList(claims.cty)) &&
    (claims.bnd === undefined ? claims.bmac === undefined : isTextList(claims.bnd) && isText(claims.bmac));
  return isRight ? claims : null;
}
