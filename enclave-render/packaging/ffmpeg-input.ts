import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { ffmpegEnvironment, INPUT_LIMITS } from '../mastering/ffmpeg.ts';
import { PackagingError } from './errors.ts';

/** A description of some thousand tracks is smaller. */
const LARGEST_DESCRIPTION = 1 << 20;

/** The tracks of a source as ffmpeg sees them. */
export interface ProbedTracks {
  /** Video tracks, without the pictures of covers. */
  videos: number;
  /** Lines of the first of them, as it is shown: turned, if the source says so. Undefined when ffprobe does not know. */
  height: number | undefined;
  /** A language a track (ISO 639-2), undefined when nobody said. */
  audios: (string | undefined)[];
  /** Types of all others that a viewer could miss: `subtitle`, `data` … */
  others: string[];
}

interface ProbedStream {
  codec_type?: string;
  codec_tag_string?: string;
  disposition?: { attached_pic?: number };
  tags?: { language?: string };
  width?: number;
  height?: number;
  side_data_list?: { rotation?: number }[];
}

/** Tags of data that is for those who edit and stream the file itself: timecode and hints. */
const NOT_FOR_VIEWERS = new Set(['tmcd', 'rtp ']);

/**
 * Asks ffprobe, which comes with ffmpeg, for the tracks of a source under a URL; `name` is for messages. Rejects with
 * `ERR_PACKAGE_FFMPEG_MISSING` when it is not on the PATH, with `ERR_PACKAGE_FFMPEG` when it cannot read the source.
 */
export async function probeTracks(url: string, name: string, signal?: AbortSignal): Promise<ProbedTracks> {
  const entries =
    'stream=codec_type,codec_tag_string,width,height:stream_disposition=attached_pic:stream_tags=language:' +
    'stream_side_data=rotation';
  const args = ['-loglevel', 'error', ...INPUT_LIMITS, '-show_entries', entries, '-of', 'json', url];
  const options = { env: ffmpegEnvironment(), maxBuffer: LARGEST_DESCRIPTION, ...(signal ? { signal } : {}) };
  const { stdout } = await promisify(execFile)('ffprobe', args, options).catch((error) => {
    if (signal?.aborted) throw signal.reason;
    if (error.code === 'ENOENT') throw ffmpegMissing(name, 'ffprobe');
    throw ffmpegFailure(name, url, String(error.stderr), `ffprobe ended with ${error.code}`);
  });
  const tracks: ProbedTracks = { videos: 0, height: undefined, audios: [], others: [] };
  const { streams = [] } = JSON.parse(stdout) as { streams?: ProbedStream[] };
  for (const stream of streams) {
    const { codec_type: type = 'unknown', codec_tag_string: tag = '', disposition, tags } = stream;
    if (type === 'video') {
      if (disposition?.attached_pic === 1) continue;
      if (tracks.videos === 0) tracks.height = shownHeight(stream);
      tracks.videos += 1;
    } else if (type === 'audio') tracks.audios.push(languageOf(tags?.language));
    // Attachments are fonts and covers.
    else if (type !== 'attachment' && !NOT_FOR_VIEWERS.has(tag)) tracks.others.push(type);
  }
  return tracks;
}

function shownHeight({ width, height, side_data_list: sideData = [] }: ProbedStream): number | undefined {
  const isTurned = sideData.some(({ rotation = 0 }) => Math.abs(rotation) % 180 === 90);
  return isTurned ? width : height;
}

/** It goes into arguments of ffmpeg: nothing but three letters. */
function languageOf(tag: string | undefined): string | undefined {
  return tag !== undefined && /^[a-z]{3}$/.test(tag) && tag !== 'und' ? tag : undefined;
}

/** What to say when a program is not on the PATH. */
export function ffmpegMissing(name: string, program: 'ffmpeg' | 'ffprobe'): PackagingError {
  return new PackagingError(
    'ERR_PACKAGE_FFMPEG_MISSING',
    `${name} needs transcoding, and there is no ${program} on the PATH: install ffmpeg (Debian: apt install ffmpeg)`,
  );
}

/** What ffmpeg or ffprobe said last, without the URL, which others could read the source from. */
export function ffmpegFailure(name: string, url: string, said: string, otherwise: string): PackagingError {
  const last = said
    .replaceAll(url, name)
    .trim()
    .split('\n')
    .at(-1)
    ?.replace(/^\[[^\]]*\] /, '')
    .slice(0, 300);
  return new PackagingError('ERR_PACKAGE_FFMPEG', `ffmpeg could not transcode ${name}: ${last || otherwise}`);
}
