import { PackagingError } from '../errors.ts';
import { Examination } from './examination.ts';
import { manifestStore } from './fetch-manifest.ts';
import { LIMITS, type Limits } from './limits.ts';
import { lintMediaPlaylist, type MediaPlaylist } from './media-playlist.ts';
import { lintMpd } from './mpd.ts';
import { isPlaylist, type PlaylistLine, parsePlaylist } from './playlist-parser.ts';
import type { Finding } from './rules.ts';

/** What the linter looked at, and found. */
export interface LintReport {
  findings: Finding[];
  /** Manifests, keys and segments that were fetched. */
  fetched: number;
  kind: 'multivariant' | 'media' | 'mpd';
}

/**
 * Checks what players would fetch, from a multivariant playlist, a media playlist or an MPD: a URL, or a file. Keys are fetched,
 * of segments the first and last of each playlist. Resolves also when there is much to say, and when a limit ended it (finding
 * `limit-reached`); rejects with `ERR_PACKAGE_LINT` when the manifest itself cannot be had, or is none.
 */
export async function lint(target: string, limits: Limits = LIMITS): Promise<LintReport> {
  const store = manifestStore(target);
  const examination = new Examination(store, limits);
  const { manifest, why } = await examination.getManifest(store.base);
  if (!manifest) throw new PackagingError('ERR_PACKAGE_LINT', `cannot read ${store.name(store.base)}: ${why}`);
  const kind = kindOf(manifest.text);
  if (kind === undefined) {
    const message = `${store.name(store.base)} is neither an HLS playlist nor a DASH MPD`;
    throw new PackagingError('ERR_PACKAGE_LINT', message);
  }
  await examination.run(async () => {
    examination.requireWhole(manifest);
    const { url, text } = manifest;
    if (kind === 'mpd') await lintMpd(text, url, examination);
    else if (kind === 'media') await lintMediaPlaylist(parsePlaylist(text) ?? [], url, examination);
    else await lintMultivariant(parsePlaylist(text) ?? [], url, examination);
  });
  return { findings: examination.findings, fetched: examination.fetched, kind };
}

function kindOf(text: string): LintReport['kind'] | undefined {
  if (isPlaylist(text)) return /^[^\S\n]*#EXT-X-STREAM-INF:/m.test(text) ? 'multivariant' : 'media';
  return /<MPD[\s>]/.test(text) ? 'mpd' : undefined;
}

type TagLine = Extract<PlaylistLine, { type: 'tag' }>;

/** A media playlist that a multivariant one refers to. */
interface Reference {
  uri: string;
  line: number;
  isVideo: boolean;
}

async function lintMultivariant(lines: PlaylistLine[], base: URL, examination: Examination): Promise<void> {
  requireGroups(lines, base, examination);
  const references: Reference[] = [];
  let streamInf: TagLine | undefined;
  for (const entry of lines) {
    if (entry.type === 'uri') {
      references.push({ ...entry, isVideo: streamInf?.attributes.has('RESOLUTION') ?? false });
      streamInf = undefined;
      continue;
    }
    const { name, attributes, line } = entry;
    requireAttributes(entry, base, examination);
    if (name === 'EXT-X-STREAM-INF') streamInf = entry;
    const uri = attributes.get('URI');
    if (uri === undefined) continue;
    if (name === 'EXT-X-MEDIA' && attributes.get('TYPE') !== 'CLOSED-CAPTIONS') {
      references.push({ uri, line, isVideo: false });
    } else if (name === 'EXT-X-SESSION-KEY' || name === 'EXT-X-I-FRAME-STREAM-INF') {
      const url = examination.follow(uri, base, line);
      const { bytes, why } = url ? await examination.get(url, 1) : { bytes: undefined, why: '' };
      const rule = name === 'EXT-X-SESSION-KEY' ? 'key-missing' : 'unreachable';
      if (url && !bytes) examination.note(rule, { url: base, line }, why);
    }
  }
  await lintReferences(references, base, examination);
}

function requireAttributes({ name, attributes, line }: TagLine, url: URL, examination: Examination): void {
  const at = { url, line };
  if (name === 'EXT-X-STREAM-INF') {
    if (!/^[1-9]\d*$/.test(attributes.get('BANDWIDTH') ?? '')) examination.note('attribute-missing', at, 'BANDWIDTH');
    if (!attributes.get('CODECS')) examination.note('codecs-missing', at);
  }
  if (name === 'EXT-X-MEDIA') {
    for (const required of ['TYPE', 'GROUP-ID', 'NAME']) {
      if (!attributes.get(required)) examination.note('attribute-missing', at, required);
    }
  }
}

/** All groups that renditions name have to be there (RFC 8216 §4.3.4.2). */
function requireGroups(lines: PlaylistLine[], url: URL, examination: Examination): void {
  const tags = lines.filter((line): line is TagLine => line.type === 'tag');
  const media = tags.filter(({ name }) => name === 'EXT-X-MEDIA').map(({ attributes }) => attributes);
  const groups = new Set(media.map((attributes) => `${attributes.get('TYPE')} ${attributes.get('GROUP-ID')}`));
  for (const { attributes, line } of tags.filter(({ name }) => name === 'EXT-X-STREAM-INF')) {
    for (const type of ['AUDIO', 'VIDEO', 'SUBTITLES'].filter((each) => attributes.has(each))) {
      const group = `${type} ${attributes.get(type)}`;
      if (!groups.has(group)) examination.note('group-missing', { url, line }, group);
    }
  }
}

interface Linted {
  url: URL;
  isVideo: boolean;
  playlist: MediaPlaylist;
}

/** Checks media playlists, each once however often it is referred to, and compares them. */
async function lintReferences(references: Reference[], base: URL, examination: Examination): Promise<void> {
  const linted: Linted[] = [];
  const seen = new Set<string>();
  for (const { uri, line, isVideo } of references) {
    const url = examination.follow(uri, base, line);
    if (!url || seen.has(url.href)) continue;
    seen.add(url.href);
    const { manifest, why } = await examination.getManifest(url);
    if (!manifest) {
      examination.note('unreachable', { url: base, line }, why);
      continue;
    }
    examination.requireWhole(manifest);
    const lines = parsePlaylist(manifest.text);
    if (!lines) examination.note('not-a-manifest', { url });
    else linted.push({ url, isVideo, playlist: await lintMediaPlaylist(lines, url, examination) });
  }
  compare(linted, examination);
}

/** All playlists have to be encrypted or none, and those of pictures be in step. */
function compare(linted: Linted[], examination: Examination): void {
  const [first] = linted;
  for (const { url, playlist } of linted) {
    if (first && playlist.isEncrypted !== first.playlist.isEncrypted && playlist.segments > 0) {
      const detail = playlist.isEncrypted ? 'encrypted, others are not' : 'in clear, others are not';
      examination.note('mixed-encryption', { url }, detail);
    }
  }
  const rhythm = ({ segments, mediaSequence, discontinuitySequence, discontinuities }: MediaPlaylist) =>
    [segments, mediaSequence, discontinuitySequence, ...discontinuities].join();
  const [leader, ...others] = linted.filter(({ isVideo, playlist }) => isVideo && playlist.isComplete);
  const expected = leader && rhythm(leader.playlist);
  for (const { url, playlist } of others) {
    if (rhythm(playlist) !== expected) examination.note('renditions-out-of-step', { url });
  }
}
