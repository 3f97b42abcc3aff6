import { PassThrough, type Readable } from 'node:stream';
import { runFfmpeg } from '../ffmpeg.ts';
import type { RangeView } from '../range-view.ts';
import { MasterJobError } from './job-error.ts';
import type { TranscoderPreset } from './presets.ts';

type Container = TranscoderPreset['container'];

/** How an output is made: encoded as a preset says, or video and sound as they are in another container. */
export type OutputRecipe = { preset: TranscoderPreset } | { copyInto: Container };

/** Containers, as ffmpeg writes them into a pipe: an MP4 in fragments, whose index needs no way back. */
const FORMATS: Record<Container, string[]> = {
  ts: ['-f', 'mpegts'],
  mp4: ['-f', 'mp4', '-movflags', 'frag_keyframe+delay_moov+default_base_moof'],
};

/** Most frames between key frames (KeyframesMaxDist of the system presets). */
const KEY_FRAME_DISTANCE = 90;
/** Of the sound of system presets, in hertz. */
const SAMPLE_RATE = 44_100;

/** Tracks that are neither video nor sound, as ffmpeg lists those of its input; and any that shows itself only later. */
const LOST_TRACK = /^\[info\] +Stream #0:.*: (Subtitle|Data|Attachment|Unknown): (.*)|\] New (\w+) stream /;

/**
 * Makes an output of the plaintext in a view through ffmpeg on the PATH. Fails with `ERR_MASTER_JOB_TRANSCODE`,
 * `ERR_MASTER_JOB_FFMPEG_MISSING`, with `ERR_MASTER_JOB_TRACK` when a track would be lost, or as the view does; the stream ends only
 * when all of it was made.
 */
export function makeOutput(view: RangeView, recipe: OutputRecipe): Readable {
  const isCopy = 'copyInto' in recipe;
  const run = runFfmpeg(view, {
    outputs: [isCopy ? copying(recipe.copyInto) : encoding(recipe.preset)],
    onLine(line) {
      const [, listed, what, appeared] = LOST_TRACK.exec(line) ?? [];
      const type = (listed ?? appeared)?.toLowerCase();
      // A time code is for those who edit. Whoever asks for a copy may be one of them.
      if (type === undefined || (!isCopy && what?.includes('(tmcd'))) return;
      throw lostTrack(type);
    },
    errors: { missing, failed },
  });
  const output = new PassThrough();
  run.pipes[0]?.on('error', () => {}).pipe(output, { end: false });
  output.on('close', run.kill);
  run.ended.then(
    () => output.end(),
    (error) => output.destroy(error),
  );
  return output;
}

function copying(container: Container): string[] {
  return ['-map', '0:v?', '-map', '0:a?', '-c', 'copy', '-map_metadata', '-1', ...FORMATS[container]];
}

function encoding({ container, video, audioBitrate }: TranscoderPreset): string[] {
  return [
    // Pictures of covers are no video (V).
    ...(video ? ['-map', '0:V', '-map', '0:a?', ...avc(video)] : ['-map', '0:a', '-vn']),
    ...['-c:a', 'aac', '-b:a', `${audioBitrate}`, '-ac', '2', '-ar', `${SAMPLE_RATE}`],
    ...['-map_metadata', '-1', ...FORMATS[container]],
  ];
}

/** Progressive AVC, main profile; within the size of the preset, never larger than the input, its sides even and not distorted. */
function avc({ width, height, maxBitrate }: NonNullable<TranscoderPreset['video']>): string[] {
  const fit = `scale='min(${width},iw)':'min(${height},ih)':force_original_aspect_ratio=decrease:force_divisible_by=2`;
  return [
    ...['-vf', `${fit},format=yuv420p`, '-c:v', 'libx264', '-profile:v', 'main', '-g', `${KEY_FRAME_DISTANCE}`],
    ...['-b:v', `${maxBitrate}`, '-maxrate', `${maxBitrate}`, '-bufsize', `${2 * maxBitrate}`],
  ];
}

function lostTrack(type: string): MasterJobError {
  return new MasterJobError(
    'ERR_MASTER_JOB_TRACK',
    `the input has a ${type} track, which the output would not have: it holds video and sound alone. Make a master of ` +
      'them alone (ffmpeg -map 0:v -map 0:a -c copy), or run the job in MediaConvert (portcullis master migrate)',
  );
}

function missing(): MasterJobError {
  return new MasterJobError(
    'ERR_MASTER_JOB_FFMPEG_MISSING',
    'outputs are made by ffmpeg, and there is none on the PATH: install it (Debian: apt install ffmpeg)',
  );
}

function failed(why: string): MasterJobError {
  return new MasterJobError(
    'ERR_MASTER_JOB_TRANSCODE',
    `the output could not be made: ffmpeg says: ${why}. A wrong key or IV in mode ctr shows itself like this, too`,
  );
}
