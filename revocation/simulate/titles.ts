import type { Random } from './random.ts';
import type { Content } from './scenarios.ts';

/** Seconds of media in a segment, and in a part of one (low latency). */
export const SEGMENT_SECONDS = 4;
export const PART_SECONDS = 1;
/** Segments in the playlist of a channel: how far back one can jump. */
export const DVR_SEGMENTS = 1800;

/** Renditions, by the name of their folder, and their bits a second. */
export const RENDITIONS = [
  { name: '180p', bitRate: 107_000 },
  { name: '360p', bitRate: 221_000 },
  { name: '720p', bitRate: 2_400_000 },
  { name: '1080p', bitRate: 5_200_000 },
] as const;

export interface Title {
  /** First segment of its paths. */
  id: string;
  kind: keyof Content;
  /** Segments of a film; a channel has no end. */
  segments: number;
}

const film = (id: string, minutes: number): Title => ({ id, kind: 'vod', segments: (minutes * 60) / SEGMENT_SECONDS });
const channel = (id: string, kind: 'live' | 'lowLatency'): Title => ({ id, kind, segments: Number.POSITIVE_INFINITY });

/** The catalogue, the most popular of each kind first; the second row of films are whole seasons under one URL. */
const TITLES: Record<keyof Content, Title[]> = {
  vod: [
    ...[film('aurora', 104), film('harbour', 128), film('glacier', 92), film('lanterns', 118), film('meridian', 97)],
    ...[film('northern-line', 450), film('saltmarsh', 480)],
    ...[film('orchard', 110), film('quarry', 101), film('signal-box', 86), film('tidewater', 133), film('umber', 95)],
  ],
  live: [channel('news', 'live'), channel('sports-1', 'live'), channel('city', 'live'), channel('music', 'live')],
  lowLatency: [channel('arena', 'lowLatency'), channel('auction', 'lowLatency')],
};

/** A title that fits; popularity falls with the rank (Zipf). Long watching picks long films. */
export function drawTitle(random: Random, content: Content, minutes: number): Title {
  const kinds = Object.keys(TITLES) as (keyof Content)[];
  const kind = random.pickWeighted(kinds.map((name) => [name, content[name]] as const));
  const long = TITLES[kind].filter(({ segments }) => segments * SEGMENT_SECONDS >= minutes * 60);
  const fitting = long.length > 0 ? long : TITLES[kind];
  return random.pickWeighted(fitting.map((title, rank) => [title, 1 / (rank + 1)] as const));
}

/** The number of the segment of a channel that is complete at `time`, seconds since the epoch. */
export function liveSegment(time: number): number {
  return Math.floor(time / SEGMENT_SECONDS) - 400_000_000;
}

export function segmentPath(title: Title, rendition: number, segment: number): string {
  return `/${title.id}/${RENDITIONS[rendition]?.name}/segment-${String(segment).padStart(3, '0')}.m4s`;
}

/** Parts are named as in the examples of draft-pantos-hls-rfc8216bis: number of the segment, then number of the part. */
export function partPath(title: Title, rendition: number, segment: number, part: number): string {
  return `/${title.id}/${RENDITIONS[rendition]?.name}/segment-${segment}.${part}.m4s`;
}

export function playlistPath(title: Title, rendition: number): string {
  return `/${title.id}/${RENDITIONS[rendition]?.name}/index.m3u8`;
}

export function initPath(title: Title, rendition: number): string {
  return `/${title.id}/${RENDITIONS[rendition]?.name}/init.mp4`;
}

export function masterPath(title: Title): string {
  return `/${title.id}/master.m3u8`;
}
