import type { TokenCrypto } from './crypto.ts';
import { isUnsafePath } from './path-scope.ts';
import type { Reason } from './reasons.ts';

/** `typ` of our tokens (explicit typing, RFC 8725 §3.11). */
export const TOKEN_TYPE = 'portcullis+jwt';
/** Longest token accepted, in characters, session prefix included. */
export const MAX_TOKEN_LENGTH = 2048;

const SESSION_ID = /^[A-Za-z0-9]{12,64}$/;
const KEY_ID = /^[\w-]{1,64}$/;

/** A tokenised URI taken apart, nothing of it verified yet; `reason` is '' when it has the shape of a token. */
export interface ParsedToken {
  reason: Reason | '';
  sid: string;
  kid: string;
  /** What the signature covers: header and payload as sent (RFC 7515 §5.2). */
  signed: string;
  payload: string;
  signature: string;
  /** The path without the token: what goes to cache and origin when the request is allowed. */
  path: string;
}

function refused(reason: Reason, path: string): ParsedToken {
  return { reason: reason, sid: '', kid: '', signed: '', payload: '', signature: '', path: path };
}

/** The key id of an encoded header; '' unless it holds exactly `alg` HS256, our `typ` and a `kid`: so no `crit`, `jku`, `jwk`, … */
function readHeader(encoded: string, crypto: TokenCrypto): string {
  let header: { alg?: unknown; typ?: unknown; kid?: unknown } | null;
  try {
    header = JSON.parse(crypto.decode(encoded));
  } catch (e) {
    return '';
  }
  return header !== null &&
    typeof header === 'object' &&
    header.alg === 'HS256' &&
    header.typ === TOKEN_TYPE &&
    typeof header.kid === 'string' &&
    KEY_ID.test(header.kid) &&
    Object.keys(header).length === 3
    ? header.kid
    : '';
}

/**
 * Takes `/<sid>.<header>.<payload>.<signature>/path` apart without trusting any of it. Needs no key, so the handler can
 * look up `kid` and `sid` afterwards. Never throws.
 */
export function parse(uri: string, crypto: TokenCrypto): ParsedToken {
  const end = uri.indexOf('/', 1);
  const sidEnd = uri.indexOf('.');
  if (end < 0 || sidEnd < 0 || sidEnd > end) return refused(isUnsafePath(uri) ? 'path-unsafe' : 'token-missing', uri);
  const path = uri.slice(end);
  if (uri.charAt(0) !== '/' || isUnsafePath(path)) return refused('path-unsafe', path);
  const headerEnd = uri.indexOf('.', sidEnd + 1);
  const payloadEnd = uri.indexOf('.', headerEnd + 1);
  const sid = uri.slice(1, sidEnd);
  if (end > MAX_TOKEN_LENGTH || headerEnd < 0 || payloadEnd < headerEnd || payloadEnd > end || !SESSION_ID.test(sid)) {
    return refused('token-malformed', path);
  }
  const kid = readHeader(uri.slice(sidEnd + 1, headerEnd), crypto);
  if (kid === '') return refused('token-malformed', path);
  return {
    reason: '',
    sid: sid,
    kid: kid,
    signed: uri.slice(sidEnd + 1, payloadEnd),
    payload: uri.slice(headerEnd + 1, payloadEnd),
    signature: uri.slice(payloadEnd + 1, end),
    path: path,
  };
}
