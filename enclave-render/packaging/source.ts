import {
  type AudioCodec,
  CustomSource,
  type EncodedPacket,
  EncodedPacketSink,
  Input,
  type InputAudioTrack,
  type InputVideoTrack,
  Logging,
  LogLevel,
  MP4,
  QTFF,
  type VideoCodec,
} from 'mediabunny';
import type { MasterReader } from '../mastering/master-reader.ts';
import { CONTAINERS, type Container } from './containers.ts';
import { PackagingError } from './errors.ts';
import { handlerTypes } from './mp4-movie.ts';

/** A video track of a source. Packets come in decode order, their times in seconds from the first frame. */
export interface VideoTrack {
  type: 'video';
  codec: VideoCodec;
  /** RFC 6381, as `CODECS` takes it. */
  codecString: string;
  config: VideoDecoderConfig;
  /** As displayed, in pixels. */
  width: number;
  height: number;
  rotation: 0 | 90 | 180 | 270;
  packets(): AsyncGenerator<EncodedPacket>;
}

/** An audio track of a source, its times on the clock of the video. */
export interface AudioTrack {
  type: 'audio';
  codec: AudioCodec;
  codecString: string;
  config: AudioDecoderConfig;
  /** RFC 5646, `und` when nobody said. */
  language: string;
  packets(): AsyncGenerator<EncodedPacket>;
}

/** What is packaged: one encoding of a title. */
export interface Source {
  name: string;
  /** Seconds. */
  duration: number;
  video: VideoTrack | undefined;
  audio: AudioTrack[];
  close(): void;
}

// It would write to the console of whoever uses us; what it warns of is refused below.
Logging.level = LogLevel.Silent;

/**
 * A track that carries no picture, sound or text that a viewer would miss: timecode and hints are for those who edit and stream
 * the file itself.
 */
const NOT_FOR_VIEWERS = new Set(['tmcd', 'hint']);
/** Names of codecs in HLS where they are not those of WebCodecs (RFC 8216 §3.4, Apple's HLS authoring specification). */
const HLS_CODECS: Record<string, string> = { opus: 'Opus', flac: 'fLaC' };
/** How much sound may be left out because it comes before the first picture, in seconds: a few packets. */
const LARGEST_LEAD = 0.1;
/** Rounding of timestamps in seconds. */
const EPSILON = 1e-6;
/** Files that came through a container that counts in milliseconds have sound and picture that far apart, in seconds. */
const MILLISECOND = 0.001;

/**
 * Opens an MP4 or MOV for packaging; `name` is for messages. The caller closes source and reader. Rejects with
 * `ERR_PACKAGE_SOURCE`; with `ERR_PACKAGE_TRACK` when it has a track that no rendition would hold; with `ERR_PACKAGE_CODEC` when
 * the container does not take a codec.
 */
export async function openMediaSource(reader: MasterReader, name: string, container: Container): Promise<Source> {
  const handlers = await handlerTypes(reader);
  const input = new Input({
    // What demuxing reads ahead is what a master decrypts at once.
    source: new CustomSource({
      getSize: () => reader.size,
      read: (start, end) => reader.read(start, end - start),
      prefetchProfile: 'fileSystem',
    }),
    formats: [MP4, QTFF],
  });
  try {
    if (!(await input.canRead())) {
      throw new PackagingError('ERR_PACKAGE_SOURCE', `${name} is not an MP4 or MOV file: remux it into one first`);
    }
    const [videos, audios] = [await input.getVideoTracks(), await input.getAudioTracks()];
    refuseDropped(name, container, handlers, videos.length, audios.length);
    const origin = await originOf(name, videos[0], audios);
    const video = videos[0] && (await videoTrack(videos[0], name, container, origin));
    const audio = await Promise.all(audios.map((track) => audioTrack(track, name, container, origin)));
    const duration = (await input.computeDuration()) - origin;
    return { name, duration, video, audio, close: () => input.dispose() };
  } catch (error) {
    input.dispose();
    if ((error as { code?: unknown }).code !== undefined) throw error;
    throw new PackagingError('ERR_PACKAGE_SOURCE', `${name} is damaged: ${(error as Error).message}`);
  }
}

/**
 * Everything in the source has to be in a rendition, or nobody notices that it is missing until a viewer does. `types` are the
 * handler types of its tracks, or what else says that one is no picture and no sound; `videos` and `audios` are how many of each can
 * be read. Throws `ERR_PACKAGE_TRACK`, or `ERR_PACKAGE_SOURCE` when there is none.
 */
export function refuseDropped(
  name: string,
  container: Container,
  types: string[],
  videos: number,
  audios: number,
): void {
  const refuse = (what: string) => {
    throw new PackagingError('ERR_PACKAGE_TRACK', `${name} has ${what}: remove it from the source first`);
  };
  if (videos + audios === 0) {
    throw new PackagingError('ERR_PACKAGE_SOURCE', `${name} has neither a video nor an audio track`);
  }
  if (videos > 1) refuse(`${videos} video tracks, of which one would be packaged`);
  if (container === 'ts' && audios > 1) {
    throw new PackagingError(
      'ERR_PACKAGE_TRACK',
      `${name} has ${audios} audio tracks, of which MPEG-TS would hold one: package it as CMAF, which has a rendition for each`,
    );
  }
  const other = types.find((type) => type !== 'vide' && type !== 'soun' && !NOT_FOR_VIEWERS.has(type));
  if (other !== undefined) refuse(`a track of type '${other}', which would be dropped`);
  const known = types.filter((type) => type === 'vide' || type === 'soun').length;
  if (known > videos + audios) refuse('a track that cannot be read and would be dropped');
}

/** When the title begins: with the first picture, or with the first sound where there are none. What is before is not shown. */
async function originOf(name: string, video: InputVideoTrack | undefined, audios: InputAudioTrack[]): Promise<number> {
  const starts = await Promise.all(audios.map((track) => track.getFirstTimestamp()));
  // What is before 0 is hidden in the source as well: it primes the decoder.
  const sound = Math.max(0, Math.min(...starts));
  if (video === undefined) return sound;
  const origin = await video.getFirstTimestamp();
  if (audios.length > 0 && origin - sound > LARGEST_LEAD) {
    throw new PackagingError(
      'ERR_PACKAGE_TRACK',
      `${name} has ${(origin - sound).toFixed(2)} s of sound before the first picture, which would be dropped: cut the source so ` +
        'that both begin together',
    );
  }
  return origin;
}

async function videoTrack(
  track: InputVideoTrack,
  name: string,
  container: Container,
  origin: number,
): Promise<VideoTrack> {
  const codec = await track.getCodec();
  const config = await track.getDecoderConfig();
  const row = CONTAINERS[container];
  if (!codec || !config || !row.video.includes(codec)) {
    throw refusedCodec(name, 'video', codec ?? String(await track.getInternalCodecId()), container);
  }
  const rotation = await track.getRotation();
  if (rotation !== 0 && container === 'ts') {
    throw new PackagingError(
      'ERR_PACKAGE_TRACK',
      `${name} is turned by ${rotation} degrees, which MPEG-TS cannot say: package it as CMAF, or transcode it`,
    );
  }
  return {
    type: 'video',
    codec,
    codecString: await codecString(track),
    config,
    width: await track.getDisplayWidth(),
    height: await track.getDisplayHeight(),
    rotation,
    packets: () => packets(track, origin),
  };
}

async function audioTrack(
  track: InputAudioTrack,
  name: string,
  container: Container,
  origin: number,
): Promise<AudioTrack> {
  const codec = await track.getCodec();
  const config = await track.getDecoderConfig();
  if (!codec || !config || !CONTAINERS[container].audio.includes(codec)) {
    throw refusedCodec(name, 'audio', codec ?? String(await track.getInternalCodecId()), container);
  }
  return {
    type: 'audio',
    codec,
    codecString: await codecString(track),
    config,
    language: languageTag(await track.getLanguageCode()),
    packets: () => packets(track, origin),
  };
}

function refusedCodec(name: string, type: 'video' | 'audio', codec: string, container: Container): PackagingError {
  const { name: containerName, [type]: taken } = CONTAINERS[container];
  return new PackagingError(
    'ERR_PACKAGE_CODEC',
    `${name} has ${type} in ${codec}, and ${containerName} takes ${taken.join(', ')}: transcode it, with --transcode 1080p,720p`,
  );
}

/** `eng` of an MP4 is `en` to players (RFC 5646 §2.2.1); what is no language goes into no playlist. */
function languageTag(code: string): string {
  try {
    return Intl.getCanonicalLocales(code)[0] ?? 'und';
  } catch {
    return 'und';
  }
}

async function codecString(track: InputVideoTrack | InputAudioTrack): Promise<string> {
  const codec = (await track.getCodecParameterString()) ?? '';
  return HLS_CODECS[codec] ?? codec;
}

/**
 * The packets with their times from `origin`, without those that begin before it: the packet that primes an audio encoder, which
 * an edit list hides in the source, would shift all sound in segments, which have no edit list; and pictures before the first
 * key frame cannot be decoded. What begins within a millisecond after `origin` begins there: players see a hole before it otherwise,
 * wait at 0 for what never comes, and skip a tenth of a second.
 */
async function* packets(track: InputVideoTrack | InputAudioTrack, origin: number): AsyncGenerator<EncodedPacket> {
  for await (const packet of new EncodedPacketSink(track).packets()) {
    const timestamp = packet.timestamp - origin;
    if (timestamp < -EPSILON) continue;
    const shifted = timestamp < MILLISECOND ? 0 : timestamp;
    yield shifted === packet.timestamp ? packet : packet.clone({ timestamp: shifted });
  }
}
