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
  bnd?: string[];
  bmac?: string;
}

function isTime(value: unknown): boolean {
  return typeof value === 'number' && value >= 0 && value <= 9007199254740991 && Math.floor(value) === value;
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value.length > 0 && value.length <= 128;
}

function isTextList(value: unknown): boolean {
  if (!Array.isArray(value) || value.length === 0) return false;
  for (let i = 0; i < value.length; i++) {
    if (typeof value[i] !== 'string' || value[i] === '') return false;
  }
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
  return claims !== null &&
    typeof claims === 'object' &&
    isText(claims.sid) &&
    isText(claims.aid) &&
    isTime(claims.iat) &&
    isTime(claims.exp) &&
    isTime(claims.sst) &&
    claims.sst <= claims.iat &&
    claims.iat < claims.exp &&
    isTextList(claims.paths) &&
    (claims.nbf === undefined || isTime(claims.nbf)) &&
    (claims.sub === undefined || isText(claims.sub)) &&
    (claims.bnd === undefined ? claims.bmac === undefined : isTextList(claims.bnd) && isText(claims.bmac))
    ? claims
    : null;
}
