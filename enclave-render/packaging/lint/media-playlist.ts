import { follow, type Get, type Note, shownUri } from './follow.ts';
import type { PlaylistLine } from './playlist-parser.ts';

/** What other playlists of the title are compared with. */
export interface MediaPlaylist {
  segments: number;
  isEncrypted: boolean;
  /** Whether it ends (`EXT-X-ENDLIST`): only then can several be compared, a live one goes on between two requests. */
  isComplete: boolean;
  mediaSequence: number;
  discontinuitySequence: number;
  /** Indices of the segments that come after a discontinuity. */
  discontinuities: number[];
}

/** Of a segment only whether it is there is asked. */
const SEGMENT_BYTES = 1;
const KEY_BYTES = 16;

/** Checks a media playlist (RFC 8216 §4.3.3) and what it refers to. */
export async function lintMediaPlaylist(lines: PlaylistLine[], url: URL, get: Get, note: Note): Promise<MediaPlaylist> {
  const result: MediaPlaylist = {
    segments: 0,
    isEncrypted: false,
    isComplete: false,
    mediaSequence: 0,
    discontinuitySequence: 0,
    discontinuities: [],
  };
  const encrypted = { yes: 0, firstClear: 0, firstSealed: 0 };
  const seen = new Set<string>();
  const uris: { uri: string; line: number }[] = [];
  let target: number | undefined;
  let duration: number | undefined;
  let hasMap = false;
  let key: { method: string; hasIv: boolean } | undefined;
  for (const entry of lines) {
    const at = { url, line: entry.line };
    if (entry.type === 'uri') {
      if (duration === undefined) note('duration-missing', at, shownUri(entry.uri));
      else if (target !== undefined && Math.round(duration) > target) {
        note('target-duration-exceeded', at, `${duration} s, and ${target} s are announced`);
      }
      duration = undefined;
      const isSealed = key !== undefined && key.method !== 'NONE';
      if (isSealed) encrypted.yes++;
      if (isSealed) encrypted.firstSealed ||= entry.line;
      else encrypted.firstClear ||= entry.line;
      if (
        /\.(?:m4s|mp4|cmfv|cmfa|m4v|m4a)$/i.test(entry.uri.replace(/[?#].*$/, '')) &&
        !hasMap &&
        !seen.has('no map')
      ) {
        seen.add('no map');
        note('map-missing', at);
      }
      uris.push(entry);
      result.segments++;
      continue;
    }
    const { name, value, attributes, line } = entry;
    const uri = attributes.get('URI');
    if (name === 'EXT-X-TARGETDURATION') target = Number(value);
    if (name === 'EXTINF') duration = Number.parseFloat(value);
    if (name === 'EXT-X-ENDLIST') result.isComplete = true;
    if (name === 'EXT-X-DISCONTINUITY') result.discontinuities.push(result.segments);
    if (name === 'EXT-X-MEDIA-SEQUENCE' || name === 'EXT-X-DISCONTINUITY-SEQUENCE') {
      if (result.segments > 0 || seen.has(name)) note('media-sequence-late', at, name);
      seen.add(name);
      if (name === 'EXT-X-MEDIA-SEQUENCE') result.mediaSequence = Number(value);
      else result.discontinuitySequence = Number(value);
    }
    if (name === 'EXT-X-KEY') key = await lintKey(attributes, url, line, get, note);
    if (name === 'EXT-X-MAP') {
      hasMap = true;
      if (key && key.method !== 'NONE' && !key.hasIv) note('init-encrypted-without-iv', at);
      if (uri !== undefined) await reach(uri, url, line, get, note);
    }
    if (name === 'EXT-X-PART' || name === 'EXT-X-PRELOAD-HINT' || name === 'EXT-X-RENDITION-REPORT') {
      if (uri !== undefined) follow(uri, url, line, note);
    }
  }
  if (target === undefined) note('target-duration-missing', { url });
  result.isEncrypted = encrypted.yes > 0;
  if (encrypted.firstClear > 0 && encrypted.firstSealed > 0) {
    note('mixed-encryption', { url, line: Math.max(encrypted.firstClear, encrypted.firstSealed) });
  }
  for (const [index, { uri, line }] of uris.entries()) {
    const followed = follow(uri, url, line, note);
    if (followed && (index === 0 || index === uris.length - 1)) await fetchable(followed, url, line, get, note);
  }
  return result;
}

async function lintKey(attributes: Map<string, string>, url: URL, line: number, get: Get, note: Note) {
  const method = attributes.get('METHOD') ?? '';
  const uri = attributes.get('URI');
  const iv = attributes.get('IV');
  const at = { url, line };
  if (iv !== undefined && !/^0[xX][0-9a-fA-F]{32}$/.test(iv)) note('iv-invalid', at);
  if (method !== 'NONE' && !uri) note('key-without-uri', at);
  if (method !== 'NONE' && method !== 'AES-128') note('key-method', at, method.slice(0, 40));
  if (method === 'AES-128' && uri) {
    const followed = follow(uri, url, line, note);
    if (followed) {
      const { bytes, why } = await get(followed, KEY_BYTES + 1);
      if (!bytes) note('key-missing', at, why);
      else if (bytes.length !== KEY_BYTES) note('key-missing', at, 'it is not 16 bytes');
    }
  }
  return { method, hasIv: iv !== undefined };
}

async function reach(uri: string, url: URL, line: number, get: Get, note: Note): Promise<void> {
  const followed = follow(uri, url, line, note);
  if (followed) await fetchable(followed, url, line, get, note);
}

async function fetchable(followed: URL, url: URL, line: number, get: Get, note: Note): Promise<void> {
  const { bytes, why } = await get(followed, SEGMENT_BYTES);
  if (!bytes) note('unreachable', { url, line }, why);
}
