import { readClaims } from '../../token/claims.ts';

/** A segment of the form `<session id>.<header>.<payload>.<signature>` (docs/token.md). */
const TOKEN = /^([A-Za-z0-9]{12,64})\.[\w-]+\.([\w-]+)\.[\w-]+$/;

/** A playback URL taken apart. Times are those of the token's claims, in seconds since the epoch of the server. */
export interface PlaybackUrl {
  href: string;
  origin: string;
  /** Path before the token, begins and ends with a slash. */
  prefix: string;
  token: string;
  sessionId: string;
  issuedAt: number;
  expiresAt: number;
}

/** Takes a tokenised URL apart; null when it is no URL, or no segment of its path is a token. Verifies nothing: it has no key. */
export function readPlaybackUrl(url: string): PlaybackUrl | null {
  const parsed = parseUrl(url);
  if (!parsed) return null;
  const { href, origin, pathname } = parsed;
  const segments = pathname.split('/');
  const at = segments.findIndex((segment) => TOKEN.test(segment));
  const token = segments[at] ?? '';
  const [, sessionId = '', payload = ''] = TOKEN.exec(token) ?? [];
  const claims = readClaims(decodeBase64url(payload));
  if (claims?.sid !== sessionId) return null;
  const prefix = `${segments.slice(0, at).join('/')}/`;
  return { href, origin, prefix, token, sessionId, issuedAt: claims.iat, expiresAt: claims.exp };
}

/** Whether `url` carries a token of this session, at the place where `playback` has it: same origin, same path before it. */
export function isOfSession(playback: PlaybackUrl, url: string): boolean {
  const parsed = parseUrl(url);
  if (parsed?.origin !== playback.origin || !parsed.pathname.startsWith(playback.prefix)) return false;
  return TOKEN.exec(segmentAt(playback, parsed))?.[1] === playback.sessionId;
}

/**
 * The URL with the token of `playback` in place of an older one of the same session; any other URL as it is. So a token
 * goes only where one of this session has been.
 */
export function withTokenOf(playback: PlaybackUrl, url: string): string {
  if (!isOfSession(playback, url)) return url;
  const parsed = new URL(url);
  const old = segmentAt(playback, parsed);
  if (old === playback.token) return url;
  const { prefix, token } = playback;
  parsed.pathname = prefix + token + parsed.pathname.slice(prefix.length + old.length);
  return parsed.href;
}

function segmentAt({ prefix }: PlaybackUrl, { pathname }: URL): string {
  return pathname.slice(prefix.length).split('/')[0] ?? '';
}

function parseUrl(url: string): URL | null {
  try {
    return new URL(url);
  } catch {
    return null;
  }
}

/** The text of base64url (RFC 4648 §5); '' when it is none. */
function decodeBase64url(encoded: string): string {
  try {
    const binary = atob(encoded.replace(/-/g, '+').replace(/_/g, '/'));
    return new TextDecoder().decode(Uint8Array.from(binary, (character) => character.charCodeAt(0)));
  } catch {
    return '';
  }
}
