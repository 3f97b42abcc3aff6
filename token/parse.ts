import { SESSION_ID } from './claims.ts';
import type { TokenCrypto } from './crypto.ts';
import { isUnsafePath } from './path-scope.ts';
import type { Reason } from './reasons.ts';

/** `typ` of our tokens (explicit typing, RFC 8725 §3.11). */
export const TOKEN_TYPE = 'portcullis+jwt';
/** Longest token accepted, in characters, session prefix included. */
export const MAX_TOKEN_LENGTH = 2047;

/** How most libraries begin a header, `{"alg":"HS256","typ":"portcullis+jwt","kid":"`: 45 bytes, so whole groups of base64url. */
const USUAL_HEADER = 'eyJhbGciOiJIUzI1NiIsInR5cCI6InBvcnRjdWxsaXMrand0Iiwia2lkIjoi';
const USUAL_HEADER_LENGTH = 60;
const USUAL_END = /^[\w-]{1,64}"}$(?!\n)/;
/** A key id. */
export const KEY_ID = /^[\w-]{1,64}$(?!\n)/;
/** Fewer characters than a header or payload with all its members has: where the search for the next dot may begin. */
const SHORTEST_HEADER = 60;
const SHORTEST_PAYLOAD = 80;
const SIGNATURE_LENGTH = 43;
/** A session id, a colon, which it cannot hold, and a path of segments in which nothing can be unsafe. */
const USUAL_SESSION_AND_PATH = /^[A-Za-z0-9]{12,64}:(?:\/[\w-][\w.-]*)+$(?!\n)/;

/**
 * Segments that look like a token, ours or of another issuer, whatever follows in them: two long parts of base64url,
 * perhaps behind a session id. None is in a shorter path, which saves looking.
 */
const SHORTEST_SHAPED = 60;
const TOKEN_SHAPED = /\/(?:[^/.]+\.)?[\w-]{30,}\.[\w-]{30,}\.[^/]*/g;

/** A tokenised URI taken apart, nothing of it verified yet. */
export interface ParsedToken {
  sid: string;
  kid: string;
  /** What the signature covers: header and payload as sent (RFC 7515 §5.2). */
  signed: string;
  payload: string;
  signature: string;
  /** The path without the token: what goes to cache and origin when the request is allowed. */
  path: string;
}

/** An encoded header; null unless it holds `alg` HS256, a `kid`, perhaps a `typ`, and nothing else: so no `crit`, `jku`, `jwk`, … */
export function readHeader(encoded: string, crypto: TokenCrypto): { kid: string; typ?: unknown } | null {
  try {
    const header: { alg?: unknown; typ?: unknown; kid: string } = JSON.parse(crypto.decode(encoded));
    const isRight =
      header.alg === 'HS256' &&
      typeof header.kid === 'string' &&
      KEY_ID.test(header.kid) &&
      Object.keys(header).length === (header.typ === undefined ? 2 : 3);
    return isRight ? header : null;
  } catch (e) {
    // Not JSON, or null.
    return null;
  }
}

/** The key id of our header in `uri` between `from` and `to`; '' when it is not ours. */
function keyIdOf(uri: string, from: number, to: number, crypto: TokenCrypto): string {
  if (uri.startsWith(USUAL_HEADER, from)) {
    // A short cut to the same answer: only the end is left to read.
    const end = crypto.decode(uri.slice(from + USUAL_HEADER_LENGTH, to));
    if (end.search(USUAL_END) === 0) return end.slice(0, -2);
  }
  const header = readHeader(uri.slice(from, to), crypto);
  return header && header.typ === TOKEN_TYPE ? header.kid : '';
}

/**
 * Takes `<prefix><sid>.<header>.<payload>.<signature>/path` apart without trusting any of it: where the dots are, and and
 * that session id and header look like ours; a denial reason when they do not. `prefix` begins and ends with a slash. That
 * the payload is what it should be follows from the signature over it. Needs no key, so the handler can look up `kid`
 * and `sid` afterwards. Never throws.
 */
export function parse(uri: string, prefix: string, crypto: TokenCrypto): ParsedToken | Reason {
  const start = prefix.length;
  const sidEnd = uri.indexOf('.', start);
  const headerEnd = uri.indexOf('.', sidEnd + SHORTEST_HEADER);
  const payloadEnd = uri.indexOf('.', headerEnd + SHORTEST_PAYLOAD);
  const end = payloadEnd + (1 + SIGNATURE_LENGTH);
  const isToken = payloadEnd > headerEnd && headerEnd > sidEnd && sidEnd > start && uri[end] === '/';
  if (!isToken || end > MAX_TOKEN_LENGTH + start || !uri.startsWith(prefix)) {
    const slash = uri.indexOf('/', start);
    return sidEnd < 0 || slash < sidEnd ? 'token-missing' : 'token-malformed';
  }
  const path = prefix + uri.slice(end + 1);
  const sid = uri.slice(start, sidEnd);
  // Nearly every path passes here, together with the session id; what does not is looked at closely.
  if ((sid + ':' + path).search(USUAL_SESSION_AND_PATH) < 0) {
    if (isUnsafePath(path)) return 'path-unsafe';
    if (!SESSION_ID.test(sid)) return 'token-malformed';
  }
  const kid = keyIdOf(uri, sidEnd + 1, headerEnd, crypto);
  if (kid === '') return 'token-malformed';
  return {
    sid: sid,
    kid: kid,
    signed: uri.slice(sidEnd + 1, payloadEnd),
    payload: uri.slice(headerEnd + 1, payloadEnd),
    signature: uri.slice(payloadEnd + 1, end),
    path: path,
  };
}

/**
 * A path without the segments that look like a token: all of them, for the log; or, for a request that goes on although its
 * token is not valid, only one that begins at `position`. Nowhere else then, because whoever takes a segment out of a path
 * chooses another path. Of an unsafe path only `//` is left, which is unsafe too and so refused: njs 0.7.9 fails, or never
 * ends, when it replaces in text that is not ASCII.
 */
export function stripTokens(path: string, position?: number): string {
  if (path.length < SHORTEST_SHAPED) return path;
  if (isUnsafePath(path)) return '//';
  return path.replace(TOKEN_SHAPED, (segment, at) => (position === undefined || at === position ? '' : segment));
}
