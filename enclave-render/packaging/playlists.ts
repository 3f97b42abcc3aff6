import { CONTAINERS } from './containers.ts';
import type { PackagedSegment, PackagedTitle, Rendition } from './title.ts';

/** Where a rendition's playlist finds a key: in the folder `keys` of the title, so that the token in the path guards it too. */
export function keyUri(key: string): string {
  return `../keys/${key}.key`;
}

/** A number of seconds as `EXTINF` and others take it. */
export function decimal(seconds: number): string {
  return `${Number(seconds.toFixed(5))}`;
}

/**
 * `EXT-X-KEY` of a segment, and undefined when the one before holds on. Without an `IV` it is the media sequence number of the
 * segment (RFC 8216 §5.2), so that one tag does for all segments of a key.
 */
export function keyTag(
  segment: PackagedSegment,
  before: PackagedSegment | undefined,
  hasIv: boolean,
): string | undefined {
  const { encryption } = segment;
  if (!encryption) return undefined;
  if (before?.encryption?.key === encryption.key && !hasIv) return undefined;
  const iv = hasIv ? `,IV=0x${encryption.iv}` : '';
  return `#EXT-X-KEY:METHOD=AES-128,URI="${keyUri(encryption.key)}"${iv}`;
}

/** The media playlist of a rendition as a whole (RFC 8216 §4.3.3): relative URIs only. */
export function mediaPlaylist(title: PackagedTitle, rendition: Rendition): string {
  const lines = [
    '#EXTM3U',
    `#EXT-X-VERSION:${CONTAINERS[title.container].version}`,
    `#EXT-X-TARGETDURATION:${title.targetDuration}`,
    '#EXT-X-MEDIA-SEQUENCE:0',
    '#EXT-X-PLAYLIST-TYPE:VOD',
  ];
  if (rendition.isIndependent) lines.push('#EXT-X-INDEPENDENT-SEGMENTS');
  // Before any EXT-X-KEY: an initialization segment that comes after one would be encrypted (RFC 8216 §4.3.2.5).
  if (rendition.init) lines.push(`#EXT-X-MAP:URI="${rendition.init}"`);
  rendition.segments.forEach((segment, index) => {
    const key = keyTag(segment, rendition.segments[index - 1], title.iv === 'random');
    if (key) lines.push(key);
    lines.push(`#EXTINF:${decimal(segment.seconds)},`, segment.file);
  });
  return `${[...lines, '#EXT-X-ENDLIST'].join('\n')}\n`;
}

/** The group of all audio renditions. */
const AUDIO_GROUP = 'audio';

/** The multivariant playlist (RFC 8216 §4.3.4); `playlist` is the name of the media playlists in their folders. */
export function multivariantPlaylist(title: PackagedTitle, playlist = 'index.m3u8'): string {
  const videos = title.renditions.filter(({ type }) => type === 'video');
  const audios = title.renditions.filter(({ type }) => type === 'audio');
  const lines = ['#EXTM3U', `#EXT-X-VERSION:${CONTAINERS[title.container].version}`];
  if (title.renditions.every(({ isIndependent }) => isIndependent)) lines.push('#EXT-X-INDEPENDENT-SEGMENTS');
  if (videos.length > 0) lines.push(...audios.map((audio, index) => mediaTag(audio, index, playlist)));
  const rate = (of: 'bandwidth' | 'averageBandwidth') => Math.max(0, ...audios.map((audio) => audio[of]));
  for (const rendition of videos.length > 0 ? videos : audios) {
    const sound = rendition.type === 'video' ? audios : [];
    const attributes = [
      `BANDWIDTH=${rendition.bandwidth + (sound.length > 0 ? rate('bandwidth') : 0)}`,
      `AVERAGE-BANDWIDTH=${rendition.averageBandwidth + (sound.length > 0 ? rate('averageBandwidth') : 0)}`,
      `CODECS="${[...new Set([...rendition.codecs, ...sound.flatMap(({ codecs }) => codecs)])].join(',')}"`,
    ];
    if (rendition.width && rendition.height) attributes.push(`RESOLUTION=${rendition.width}x${rendition.height}`);
    if (rendition.frameRate) attributes.push(`FRAME-RATE=${rendition.frameRate.toFixed(3)}`);
    if (sound.length > 0) attributes.push(`AUDIO="${AUDIO_GROUP}"`);
    lines.push(`#EXT-X-STREAM-INF:${attributes.join(',')}`, `${rendition.name}/${playlist}`);
  }
  return `${lines.join('\n')}\n`;
}

function mediaTag({ name, language, channels }: Rendition, index: number, playlist: string): string {
  const attributes = [
    'TYPE=AUDIO',
    `GROUP-ID="${AUDIO_GROUP}"`,
    `NAME="${name}"`,
    ...(language && language !== 'und' ? [`LANGUAGE="${language}"`] : []),
    `DEFAULT=${index === 0 ? 'YES' : 'NO'}`,
    'AUTOSELECT=YES',
    ...(channels ? [`CHANNELS="${channels}"`] : []),
    `URI="${name}/${playlist}"`,
  ];
  return `#EXT-X-MEDIA:${attributes.join(',')}`;
}
