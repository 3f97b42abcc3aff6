import type { TokenCrypto } from '../crypto.ts';
import { readHeader } from '../parse.ts';

/** Longest token of the compatibility dialect, in characters, session prefix included: half of what CloudFront takes as a URL. */
export const MAX_COMPAT_TOKEN_LENGTH = 4095;

/**
 * `/[<session>.]<header>.<payload>.<signature>/`. A session id is whatever prints, without a dot, which ends it, without a
 * comma, which ends it in the log, and without a colon, which would move it into the next bound value.
 */
const TOKENISED = /^\/(?:([!-+\-0-9;-~]+)\.)?(([\w-]+)\.([\w-]+))\.([\w-]{43})\//;

/** A URI with a token of the compatibility dialect, taken apart; nothing of it verified yet. */
export interface ParsedCompatToken {
  /** Session id before the token; '' when there is none. */
  sid: string;
  kid: string;
  /** What the signature covers: header and payload as sent (RFC 7515 §5.2). */
  signed: string;
  payload: string;
  signature: string;
  /** The path without the token. */
  path: string;
}

/** Takes a URI apart without trusting any of it; null when it has no token of this dialect. Needs no key. Never throws. */
export function parseCompat(uri: string, crypto: TokenCrypto): ParsedCompatToken | null {
  const match = uri.match(TOKENISED) as [string, string | undefined, string, string, string, string] | null;
  if (!match || match[0].length > MAX_COMPAT_TOKEN_LENGTH + 2) return null;
  // Two or three texts leave no room for what engines parse differently.
  const header = readHeader(match[3], crypto);
  if (!header || (header.typ !== undefined && header.typ !== 'JWT')) return null;
  return {
    sid: match[1] || '',
    kid: header.kid,
    signed: match[2],
    payload: match[4],
    signature: match[5],
    path: uri.slice(match[0].length - 1),
  };
}
