import { templateError } from '../template-schema.ts';
import type { RendererRules } from './renderer-rules.ts';

/**
 * Options that templates may use (ffmpeg(1), ffmpeg-all(1)), and how many arguments they take. All that names a file, a device, a
 * protocol or another program is missing on purpose: `-f tee`, `-attach`, `-dump_attachment`, `-filter_complex_script`, `-report`,
 * `-passlogfile`, `-x264-params` (which has `stats`), `-/option` and their like.
 */
const FLAGS = ['an', 'dn', 'sn', 'vn', 'accurate_seek', 'noaccurate_seek', 'autorotate', 'noautorotate', 'shortest'];
const VALUES = [
  // What is read and written, and how long.
  ...['f', 'ss', 't', 'to', 'itsoffset', 'stream_loop', 'loop', 'start_number', 'framerate', 'frames', 'update'],
  ...['map', 'map_metadata', 'map_chapters', 'metadata', 'disposition', 'output_ts_offset', 'avoid_negative_ts'],
  ...['movflags', 'brand', 'video_track_timescale', 'muxdelay', 'muxpreload', 'mpegts_flags', 'timecode', 'tag'],
  // Filters.
  ...['vf', 'af', 'filter', 'filter_complex', 'filter_threads', 'filter_complex_threads', 'sws_flags'],
  // Encoders.
  ...[
    'c',
    'codec',
    'b',
    'q',
    'qscale',
    'crf',
    'qp',
    'preset',
    'tune',
    'profile',
    'level',
    'threads',
    'g',
    'bf',
    'refs',
  ],
  ...['keyint_min', 'sc_threshold', 'force_key_frames', 'maxrate', 'minrate', 'bufsize', 'coder', 'context', 'slices'],
  ...['slicecrc', 'pix_fmt', 'color_range', 'color_primaries', 'color_trc', 'colorspace', 'field_order', 'aspect'],
  ...['r', 's', 'vsync', 'fps_mode', 'compression_level', 'bitexact', 'flags', 'fflags'],
  ...['ac', 'ar', 'sample_fmt', 'channel_layout', 'strict'],
];
const FILTER_OPTIONS = new Set(['vf', 'af', 'filter', 'filter_complex']);

/** Containers, as `-f` names them. None that leads to another file by what is in it, as playlists and lists do. */
const FORMATS = [
  ...['mov', 'mp4', 'matroska', 'webm', 'mpegts', 'mxf', 'nut', 'avi', 'h264', 'hevc', 'ivf', 'obu', 'yuv4mpegpipe'],
  ...['wav', 'flac', 'adts', 'ac3', 'eac3', 'ogg', 'image2', 'rawvideo', 'framemd5', 'framehash', 'null'],
];
/** What ffmpeg may take an input for, whatever its content says it is: names of demuxers. */
const DEMUXERS = [
  ...['mov', 'mp4', 'm4a', '3gp', '3g2', 'mj2', 'matroska', 'webm', 'mpegts', 'mpeg', 'mxf', 'nut', 'avi', 'h264'],
  ...['hevc', 'ivf', 'obu', 'yuv4mpegpipe', 'wav', 'w64', 'aiff', 'flac', 'aac', 'mp3', 'ac3', 'eac3', 'ogg', 'image2'],
  ...['png_pipe', 'exr_pipe', 'dpx_pipe', 'tiff_pipe', 'jpeg_pipe', 'j2k_pipe', 'bmp_pipe'],
];

/** Silent but for progress on standard output; asks nothing, overwrites nothing, and fails at the first error. */
const ALWAYS = ['-hide_banner', '-nostdin', '-nostats', '-loglevel', 'error', '-xerror', '-n', '-progress', 'pipe:1'];

const INPUT = /^\/in\/[A-Za-z0-9][\w.%-]*(?:\/[A-Za-z0-9][\w.%-]*)*$/;
const OUTPUT = /^\/out\/[A-Za-z0-9][\w.%-]*(?:\/[A-Za-z0-9][\w.%-]*)*$/;
const CONCAT = 'concat:';

/**
 * ffmpeg. Every option is one of a table, every input a file in `/in` (or `concat:` of several, parts of one transport stream), every
 * output one in `/out`. What a file says it is, and where it says that more is to be found, is not believed: protocols and formats are
 * listed for each input. Outputs are bit-exact, without the version of ffmpeg in them.
 */
export const FFMPEG: RendererRules = {
  embed: (text, before) => (isFilterOption(before) ? escapeFilterText(text) : text),
  checkAround(around, before, path) {
    if (!isFilterOption(before)) return;
    if (/['\\]/.test(around)) {
      throw templateError(path, 'has text of a parameter and quotes of its own: the text is escaped already');
    }
    const count = (word: string) => around.split(word).length - 1;
    if (count('drawtext=') !== count('expansion=none')) {
      throw templateError(
        path,
        'draws text of a parameter: say expansion=none, or ffmpeg would evaluate what is in it',
      );
    }
  },
  prepare(args, path) {
    const made = [...ALWAYS];
    let outputs = 0;
    for (let at = 0; at < args.length; at++) {
      const text = args[at] ?? '';
      const refuse = (why: string) => {
        throw templateError(`${path}.${at}`, why);
      };
      if (!text.startsWith('-')) {
        if (!OUTPUT.test(text)) refuse('is no option, and no file in /out that could be written');
        made.push('-bitexact', text);
        outputs++;
        continue;
      }
      const name = optionName(text);
      if (FLAGS.includes(name)) {
        made.push(text);
        continue;
      }
      if (name !== 'i' && !VALUES.includes(name)) refuse(`is an option that no template may use: ${text.slice(0, 40)}`);
      const value = args[++at];
      if (value === undefined) return refuse(`needs a value: ${text}`);
      if (name === 'i') made.push(...inputArguments(value, `${path}.${at}`));
      else if (name === 'f' && !FORMATS.includes(value)) refuse(`is none of the formats: ${FORMATS.join(', ')}`);
      else made.push(text, value);
    }
    if (outputs === 0) throw templateError(path, 'have no output: name a file in /out last');
    return made;
  },
};

function inputArguments(value: string, path: string): string[] {
  const isConcat = value.startsWith(CONCAT);
  const files = isConcat ? value.slice(CONCAT.length).split('|') : [value];
  if (!files.every((file) => INPUT.test(file))) {
    throw templateError(path, 'is no file in /in: inputs are {{Param.NAME}}, or /in/TASK/FILE of an earlier task');
  }
  const protocols = isConcat ? 'concat,file' : 'file';
  return ['-protocol_whitelist', protocols, '-format_whitelist', DEMUXERS.join(','), '-i', value];
}

/** `-c:v:0` is `c`. */
function optionName(text: string): string {
  return /^-([A-Za-z_]+)(?::[\w:#]+)?$/.exec(text)?.[1] ?? '';
}

function isFilterOption(text: string | undefined): boolean {
  return text !== undefined && FILTER_OPTIONS.has(optionName(text));
}

/**
 * Text as a value of an option in a filter graph: escaped once for the option and once for the graph (ffmpeg-filters(1), "Notes on
 * filtergraph escaping"). A backslash before any character is that character, so all are escaped that are no letters or digits.
 */
export function escapeFilterText(text: string): string {
  const once = (from: string) => from.replace(/[^\p{L}\p{N}]/gu, '\\$&');
  return once(once(text));
}

/** How much is done, in seconds of output, by a piece of what ffmpeg prints about its progress; undefined when it does not say. */
export function ffmpegProgress(text: string): number | undefined {
  const microseconds = [...text.matchAll(/out_time_us=(\d{1,15})/g)].at(-1)?.[1];
  return microseconds === undefined ? undefined : Number(microseconds) / 1e6;
}

/**
 * How many seconds a task is about, by its arguments: that of `-t`, or the rest of its first input behind `-ss`. `inputSeconds`: length
 * of that input, if it is known. Undefined when nothing says it.
 */
export function ffmpegSeconds(args: readonly string[], inputSeconds: number | undefined): number | undefined {
  const value = (option: string, within: readonly string[]) => {
    const at = within.indexOf(option);
    return at < 0 ? undefined : Number(within[at + 1]);
  };
  const skipped = value('-ss', args.slice(0, args.indexOf('-i'))) ?? 0;
  const seconds = Math.min(
    value('-t', args) ?? Number.POSITIVE_INFINITY,
    (inputSeconds ?? Number.POSITIVE_INFINITY) - skipped,
  );
  return seconds > 0 && Number.isFinite(seconds) ? seconds : undefined;
}
