import { PackagingError } from '../errors.ts';
import { type Fetched, type ManifestStore, manifestStore } from './fetch-manifest.ts';
import { follow, type Get, type Note } from './follow.ts';
import { lintMediaPlaylist, type MediaPlaylist } from './media-playlist.ts';
import { type PlaylistLine, parsePlaylist } from './playlist-parser.ts';
import { type Finding, RULES } from './rules.ts';

/** What the linter looked at, and found. */
export interface LintReport {
  findings: Finding[];
  /** Manifests, keys and segments that were fetched. */
  fetched: number;
  kind: 'multivariant' | 'media' | 'mpd';
}

const MANIFEST_LIMIT = 16 << 20;

/**
 * Checks what players would fetch, from a multivariant playlist, a media playlist or an MPD: a URL, or a file. Keys are fetched,
 * of segments the first and last of each playlist. Resolves also when there is much to say; rejects with `ERR_PACKAGE_LINT` when
 * the manifest itself cannot be had.
 */
export async function lint(target: string): Promise<LintReport> {
  const store = await manifestStore(target);
  const findings: Finding[] = [];
  const note: Note = (rule, { url, line }, detail = '') => {
    const { severity, words } = RULES[rule];
    findings.push({
      rule,
      severity,
      where: `${store.name(url)}${line === undefined ? '' : `:${line}`}`,
      detail,
      words,
    });
  };
  const known = new Map<string, Promise<Fetched>>();
  const get: Get = (url, limit) => {
    const { href } = url;
    const answer = known.get(href) ?? store.fetch(url, limit);
    known.set(href, answer);
    return answer;
  };
  const { bytes, why } = await get(store.base, MANIFEST_LIMIT);
  if (!bytes) throw new PackagingError('ERR_PACKAGE_LINT', `cannot read ${store.name(store.base)}: ${why}`);
  const kind = await lintManifest(Buffer.from(bytes).toString('utf8'), store, get, note);
  return { findings, fetched: known.size, kind };
}

async function lintManifest(text: string, store: ManifestStore, get: Get, note: Note): Promise<LintReport['kind']> {
  const lines = parsePlaylist(text);
  if (!lines && /<MPD[\s>]/.test(text)) {
    await lintMpd(text, store.base, get, note);
    return 'mpd';
  }
  if (!lines) {
    const name = store.name(store.base);
    throw new PackagingError('ERR_PACKAGE_LINT', `${name} is neither an HLS playlist nor a DASH MPD`);
  }
  if (lines.some((line) => line.type === 'tag' && line.name === 'EXT-X-STREAM-INF')) {
    await lintMultivariant(lines, store.base, get, note);
    return 'multivariant';
  }
  await lintMediaPlaylist(lines, store.base, get, note);
  return 'media';
}

async function lintMultivariant(lines: PlaylistLine[], base: URL, get: Get, note: Note): Promise<void> {
  const groups = new Set<string>();
  const referred: { group: string; line: number }[] = [];
  const playlists: { uri: string; line: number; isVideo: boolean }[] = [];
  let streamInf: Extract<PlaylistLine, { type: 'tag' }> | undefined;
  for (const entry of lines) {
    const at = { url: base, line: entry.line };
    if (entry.type === 'uri') {
      playlists.push({ ...entry, isVideo: streamInf?.attributes.has('RESOLUTION') ?? false });
      streamInf = undefined;
      continue;
    }
    const { name, attributes } = entry;
    if (name === 'EXT-X-STREAM-INF') {
      streamInf = entry;
      if (!/^[1-9]\d*$/.test(attributes.get('BANDWIDTH') ?? '')) note('attribute-missing', at, 'BANDWIDTH');
      if (!attributes.get('CODECS')) note('codecs-missing', at);
      for (const type of ['AUDIO', 'VIDEO', 'SUBTITLES']) {
        const group = attributes.get(type);
        if (group !== undefined) referred.push({ group: `${type} ${group}`, line: entry.line });
      }
    }
    if (name === 'EXT-X-MEDIA') {
      for (const required of ['TYPE', 'GROUP-ID', 'NAME']) {
        if (!attributes.get(required)) note('attribute-missing', at, required);
      }
      groups.add(`${attributes.get('TYPE')} ${attributes.get('GROUP-ID')}`);
    }
    const uri = attributes.get('URI');
    if (uri === undefined) continue;
    if (name === 'EXT-X-MEDIA' && attributes.get('TYPE') !== 'CLOSED-CAPTIONS') {
      playlists.push({ uri, line: entry.line, isVideo: false });
    } else if (name === 'EXT-X-SESSION-KEY' || name === 'EXT-X-I-FRAME-STREAM-INF') {
      const url = follow(uri, base, entry.line, note);
      const { bytes, why } = url ? await get(url, MANIFEST_LIMIT) : { bytes: undefined, why: 'not followed' };
      if (url && !bytes) note(name === 'EXT-X-SESSION-KEY' ? 'key-missing' : 'unreachable', at, why);
    }
  }
  for (const { group, line } of referred) if (!groups.has(group)) note('group-missing', { url: base, line }, group);

  const seen: { isVideo: boolean; url: URL; playlist: MediaPlaylist }[] = [];
  for (const { uri, line, isVideo } of playlists) {
    const url = follow(uri, base, line, note);
    if (!url) continue;
    const { bytes, why } = await get(url, MANIFEST_LIMIT);
    const media = bytes && parsePlaylist(Buffer.from(bytes).toString('utf8'));
    if (!bytes) note('unreachable', { url: base, line }, why);
    else if (!media) note('not-a-manifest', { url });
    else seen.push({ isVideo, url, playlist: await lintMediaPlaylist(media, url, get, note) });
  }
  compare(seen, note);
}

/** All playlists have to be encrypted or none, and those of pictures be in step. */
function compare(seen: { isVideo: boolean; url: URL; playlist: MediaPlaylist }[], note: Note): void {
  const [first] = seen;
  for (const { url, playlist } of seen) {
    if (first && playlist.isEncrypted !== first.playlist.isEncrypted && playlist.segments > 0) {
      note(
        'mixed-encryption',
        { url },
        playlist.isEncrypted ? 'encrypted, others are not' : 'in clear, others are not',
      );
    }
  }
  const videos = seen.filter(({ isVideo, playlist }) => isVideo && playlist.isComplete);
  for (const { url, playlist } of videos) {
    const expected = videos[0]?.playlist;
    const isInStep =
      expected &&
      playlist.segments === expected.segments &&
      playlist.mediaSequence === expected.mediaSequence &&
      playlist.discontinuitySequence === expected.discontinuitySequence &&
      playlist.discontinuities.join() === expected.discontinuities.join();
    if (!isInStep) note('renditions-out-of-step', { url });
  }
}

const XML_URI =
  /<(?:BaseURL|Location|PatchLocation)\b[^>]*>([^<]*)<|\b(?:media|initialization|sourceURL|index|xlink:href)="([^"]*)"/g;

/** What of an MPD can lead away from the token: its URLs. Templates are not expanded. */
async function lintMpd(text: string, base: URL, get: Get, note: Note): Promise<void> {
  let folder = base;
  for (const match of text.matchAll(XML_URI)) {
    const [, element, attribute] = match;
    const uri = (element ?? attribute ?? '').trim().replaceAll('&amp;', '&');
    const line = text.slice(0, match.index).split('\n').length;
    if (uri === '') continue;
    const url = follow(uri, element === undefined ? folder : base, line, note);
    if (!url) continue;
    if (element !== undefined) folder = url;
    else if (!uri.includes('$')) {
      const { bytes, why } = await get(url, 1);
      if (!bytes) note('unreachable', { url: base, line }, why);
    }
  }
  const [, ...sets] = text.split(/<AdaptationSet\b/).map((set) => set.split('</AdaptationSet>', 1)[0] ?? '');
  if (text.includes('<ContentProtection') && sets.some((set) => !set.includes('<ContentProtection'))) {
    note('mixed-encryption', { url: base }, 'an AdaptationSet without ContentProtection beside others with');
  }
}
