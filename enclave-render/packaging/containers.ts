import type { AudioCodec, VideoCodec } from 'mediabunny';

/** Containers of segments. CMAF: ISO/IEC 23000-19; TS: ISO/IEC 13818-1, as HLS takes it (RFC 8216 §3.2). */
export type Container = 'cmaf' | 'ts';

/** What a container of segments is, and takes. */
export interface ContainerRow {
  name: string;
  /** Of segments. */
  extension: string;
  mimeType: { video: string; audio: string };
  /** `EXT-X-VERSION` of its playlists: 7 is what Apple asks for with fragmented MP4, 6 has all that is used with TS. */
  version: number;
  video: readonly VideoCodec[];
  audio: readonly AudioCodec[];
}

/** One row a container: players take these codecs in it, and the writer can write them. */
export const CONTAINERS: Record<Container, ContainerRow> = {
  cmaf: {
    name: 'CMAF',
    extension: 'm4s',
    mimeType: { video: 'video/mp4', audio: 'audio/mp4' },
    version: 7,
    video: ['avc', 'hevc', 'av1', 'vp9'],
    audio: ['aac', 'ac3', 'eac3', 'opus', 'flac'],
  },
  ts: {
    name: 'MPEG-TS',
    extension: 'ts',
    mimeType: { video: 'video/mp2t', audio: 'video/mp2t' },
    version: 6,
    video: ['avc', 'hevc'],
    audio: ['aac', 'mp3', 'ac3', 'eac3'],
  },
};
