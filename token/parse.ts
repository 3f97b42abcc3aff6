import type { TokenCrypto } from './crypto.ts';
import { isUnsafePath } from './path-scope.ts';
import type { Reason } from './reasons.ts';

/** `typ` of our tokens (explicit typing, RFC 8725 §3.11). */
export const TOKEN_TYPE = 'portcullis+jwt';
/** Longest token accepted, in characters, session prefix included. */
export const MAX_TOKEN_LENGTH = 2047;

/** How most libraries begin a header, `{"alg":"HS256","typ":"portcullis+jwt","kid":"`: 45 bytes, so whole groups of base64url. */
const USUAL_HEADER = 'eyJhbGciOiJIUzI1NiIsInR5cCI6InBvcnRjdWxsaXMrand0Iiwia2lkIjoi';
const USUAL_END = /^[\w-]{1,64}"}$/;
/** A key id. */
export const KEY_ID = /^[\w-]{1,64}$/;
const SIGNATURE_LENGTH = 43;

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

/** The key id of an encoded header; '' unless it holds exactly `alg` HS256, our `typ` and a `kid`: so no `crit`, `jku`, `jwk`, … */
function readHeader(encoded: string, crypto: TokenCrypto): string {
  // A short cut to the same answer: what follows the usual beginning must be the key id and nothing else.
  if (encoded.startsWith(USUAL_HEADER)) {
    const end = crypto.decode(encoded.slice(USUAL_HEADER.length));
    return end.search(USUAL_END) < 0 ? '' : end.slice(0, -2);
  }
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
 * Takes `/<sid>.<header>.<payload>.<signature>/path` apart without trusting any of it: where the dots are, and that the
 * header is one of ours; a denial reason when it is not. That session id and payload are what they should be follows from the signature over them. Needs
 * no key, so the handler can look up `kid` and `sid` afterwards. Never throws.
 */
export function parse(uri: string, crypto: TokenCrypto): ParsedToken | Reason {
  const sidEnd = uri.indexOf('.');
  const headerEnd = uri.indexOf('.', sidEnd + 1);
  const payloadEnd = uri.indexOf('.', headerEnd + 1);
  const end = payloadEnd + 1 + SIGNATURE_LENGTH;
  const isToken = sidEnd > 1 && headerEnd > sidEnd && payloadEnd > headerEnd && uri[end] === '/' && uri[0] === '/';
  if (!isToken || end > MAX_TOKEN_LENGTH + 1) {
    const slash = uri.indexOf('/', 1);
    return sidEnd < 0 || slash < sidEnd ? 'token-missing' : 'token-malformed';
  }
  const path = uri.slice(end);
  if (isUnsafePath(path)) return 'path-unsafe';
  const kid = readHeader(uri.slice(sidEnd + 1, headerEnd), crypto);
  if (kid === '') return 'token-malformed';
  return {
    sid: uri.slice(1, sidEnd),
    kid: kid,
    signed: uri.slice(sidEnd + 1, payloadEnd),
    payload: uri.slice(headerEnd + 1, payloadEnd),
    signature: uri.slice(payloadEnd + 1, end),
    path: path,
  };
}
