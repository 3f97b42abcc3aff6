import type { Readable } from 'node:stream';
import { runFfmpeg } from '../mastering/ffmpeg.ts';
import { openRangeView } from '../mastering/range-view.ts';
import type { Container } from './containers.ts';
import { PackagingError } from './errors.ts';
import { ffmpegFailure, ffmpegMissing, type ProbedTracks, probeTracks } from './ffmpeg-input.ts';
import { handlerTypes } from './mp4-movie.ts';
import type { TitleSource } from './package-title.ts';
import { SealedFile } from './sealed-file.ts';
import { refuseDropped } from './source.ts';

/** A rung of a ladder: lines of the picture, and what it may take at most, in kilobits a second. */
export interface Rung {
  height: number;
  kilobits: number;
}

/** One row a rung that can be asked for. Rates are of H.264 at 25 or 30 frames a second (Apple's HLS authoring specification). */
export const RUNGS: Record<string, Rung> = {
  '2160p': { height: 2160, kilobits: 16_800 },
  '1440p': { height: 1440, kilobits: 9900 },
  '1080p': { height: 1080, kilobits: 5800 },
  '720p': { height: 720, kilobits: 3000 },
  '540p': { height: 540, kilobits: 2000 },
  '360p': { height: 360, kilobits: 730 },
  '240p': { height: 240, kilobits: 365 },
};

/** What to make of a source. */
export interface TranscodeRequest {
  /** A rendition each. */
  rungs: Rung[];
  /** Seconds between key frames: where segments will begin. */
  segmentSeconds: number;
  /** What the renditions are packaged as: one that cannot hold all tracks is refused before hours of work. */
  container: Container;
  /** Told how many seconds of the source are done. */
  onProgress?: ((seconds: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Transcoded renditions, to be packaged and then closed. */
export interface Transcoded {
  sources: TitleSource[];
  /** Lines of rungs that were left out, as the source is no larger than a lower one. */
  leftOut: number[];
  close(): Promise<void>;
}

/**
 * Transcodes a source with ffmpeg on the PATH into H.264 and AAC in stereo, a rendition a rung (of those that would be as large as
 * the source the lowest one only), with all of its audio tracks and
 * their languages. ffmpeg reads through a loopback view of the reader and writes into pipes; what comes out is kept encrypted under a
 * key of this process alone, so that no plaintext touches the disk. Rejects with `ERR_PACKAGE_TRACK` when a track would be dropped,
 * with `ERR_PACKAGE_SOURCE` when there is no picture, with `ERR_PACKAGE_FFMPEG_MISSING`, with `ERR_PACKAGE_FFMPEG` when ffmpeg
 * fails, with what the reader failed with, and with the signal's reason.
 */
export async function transcode(source: TitleSource, request: TranscodeRequest): Promise<Transcoded> {
  const { name, reader } = source;
  const view = await openRangeView(reader);
  const kept: SealedFile[] = [];
  const close = async () => {
    for (const file of kept) await file.close();
  };
  try {
    const { audios: languages, height } = await requireAllTracks(source, view.url, request);
    const rungs = withoutDuplicates(request.rungs, height);
    const leftOut = request.rungs.filter((rung) => !rungs.includes(rung)).map((rung) => rung.height);
    for (const _ of rungs) kept.push(await SealedFile.create());
    const run = runFfmpeg(view, {
      outputs: rungs.map((rung) => outputArguments(rung, request.segmentSeconds, languages)),
      onProgress: request.onProgress,
      onLine: (line) => refuseLateTrack(name, line),
      signal: request.signal,
      errors: {
        missing: () => ffmpegMissing(name, 'ffmpeg'),
        failed: (why) => ffmpegFailure(name, view.url, '', why),
      },
    });
    const storing = kept.map((file, index) => file.fill(run.pipes[index] as Readable));
    await Promise.all([run.ended, ...storing]).catch((error) => {
      run.kill();
      throw error;
    });
    const sources = kept.map((file, index) => ({ name: `${name} at ${rungs[index]?.height}p`, reader: file }));
    return { sources, leftOut, close };
  } catch (error) {
    await close();
    throw request.signal?.aborted ? request.signal.reason : (view.failure ?? error);
  } finally {
    await view.close();
  }
}

/** Everything in the source has to be in the renditions. Resolves to its tracks. */
async function requireAllTracks(
  { name, reader }: TitleSource,
  url: string,
  { container, signal }: TranscodeRequest,
): Promise<ProbedTracks> {
  // Of an MP4 also those that ffmpeg leaves out without a word.
  const handlers = await handlerTypes(reader);
  const tracks = await probeTracks(url, name, signal);
  const { videos, audios, others } = tracks;
  refuseDropped(name, container, [...handlers, ...others], videos, audios.length);
  if (videos === 0) {
    const message = `${name} has no video track, which --transcode would make renditions of: package it without`;
    throw new PackagingError('ERR_PACKAGE_SOURCE', message);
  }
  return tracks;
}

/** Rungs that are as large as the source or larger make the same picture: the lowest of them is enough. */
function withoutDuplicates(rungs: Rung[], sourceHeight: number | undefined): Rung[] {
  if (sourceHeight === undefined) return rungs;
  // As outputArguments has it.
  const lines = Math.trunc(sourceHeight / 2) * 2;
  const lowest = Math.min(...rungs.map(({ height }) => height).filter((height) => height >= lines));
  return rungs.filter(({ height }) => height <= lowest);
}

function outputArguments(
  { height, kilobits }: Rung,
  segmentSeconds: number,
  languages: (string | undefined)[],
): string[] {
  return [
    // Capital V: no cover.
    ...['-map', '0:V:0', '-map', '0:a?', '-map_metadata', '-1'],
    ...languages.flatMap((language, index) =>
      language === undefined ? [] : [`-metadata:s:a:${index}`, `language=${language}`],
    ),
    // Never larger than the source; even numbers of lines.
    ...['-vf', `scale=-2:'min(${height},trunc(ih/2)*2)':flags=bicubic,format=yuv420p`],
    ...['-c:v', 'libx264', '-preset', 'medium', '-crf', '20'],
    ...['-maxrate', `${kilobits}k`, '-bufsize', `${2 * kilobits}k`],
    ...['-force_key_frames', `expr:gte(t,n_forced*${segmentSeconds})`, '-sc_threshold', '0', '-g', '9999'],
    ...['-c:a', 'aac', '-b:a', '128k', '-ac', '2'],
    // Into a pipe: in fragments, whose index needs no way back.
    ...['-f', 'mp4', '-movflags', 'frag_keyframe+delay_moov+default_base_moof'],
  ];
}

/** A track that begins later than ffmpeg looks ahead, as transport streams may have; it would go on without it. */
const LATE_TRACK = /\bNew (\w+) stream \d+:\d+ at pos/;

function refuseLateTrack(name: string, line: string): void {
  const [, type] = LATE_TRACK.exec(line) ?? [];
  if (type === undefined) return;
  const message = `${name} has a track (${type}) that begins later, and would be dropped`;
  throw new PackagingError('ERR_PACKAGE_TRACK', `${message}: remux the source into Matroska or MP4 first`);
}
