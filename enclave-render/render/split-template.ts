import { type JobTemplate, MOST_TASKS, templateError } from './template-schema.ts';

/** How a source is split and encoded. */
export interface SplitRequest {
  /** Length of the source in whole seconds, rounded up. */
  seconds: number;
  /** Length of a part in whole seconds. */
  partSeconds: number;
  /** Whether the source has sound, which is encoded in one piece. */
  sound: boolean;
}

/** Most parts: each is open while they are joined. */
const MOST_PARTS = 256;

/**
 * The template `transcode`, with its parameters, for a long source: part by part, a task each, and then joined into `Output`. An enclave
 * that ends in between goes on with the part it was at. Parts are cut at frames, begin with key frames, and are joined without being
 * encoded again. Throws `ERR_RENDER_TEMPLATE` for more than 256 parts.
 */
export function splitTemplate({ seconds, partSeconds, sound }: SplitRequest): JobTemplate {
  for (const [name, value] of Object.entries({ seconds, partSeconds })) {
    if (!Number.isSafeInteger(value) || value < 1) throw templateError(name, 'has to be a whole number of seconds');
  }
  const parts = Math.ceil(seconds / partSeconds);
  if (parts > Math.min(MOST_PARTS, MOST_TASKS)) {
    const enough = Math.ceil(seconds / MOST_PARTS);
    throw templateError('partSeconds', `makes ${parts} parts: ${MOST_PARTS} is the most, take ${enough} or more`);
  }
  const files = Array.from({ length: parts }, (_, index) => `/in/part.${index + 1}/part.ts`);
  const run = (args: string[]) => ({ actions: { onRun: { command: 'ffmpeg', args } } });
  const start = '{{Task.Param.Start}}';
  const steps: JobTemplate['steps'] = [
    {
      name: 'part',
      parameterSpace: {
        taskParameterDefinitions: [
          { name: 'Start', type: 'INT', range: `0-${(parts - 1) * partSeconds}:${partSeconds}` },
        ],
      },
      script: run([
        ...['-ss', start, '-t', `${partSeconds}`, '-i', '{{Param.Source}}', '-map', '0:v:0', '-map_metadata', '-1'],
        // Each has the times that it will have in the whole, and a second more: B-frames are decoded before they are shown, and
        // no time is negative in a transport stream.
        ...[
          '-vf',
          `scale=-2:{{Param.Height}}:flags=bicubic,format=yuv420p,setpts=PTS+(1+${start})/TB`,
          '-fps_mode',
          'passthrough',
        ],
        ...['-c:v', 'libx264', '-threads', '4', '-preset', 'medium', '-crf', '{{Param.Crf}}'],
        ...['-g', '{{Param.KeyFrames}}', '-keyint_min', '{{Param.KeyFrames}}', '-sc_threshold', '0'],
        ...['-muxdelay', '0', '-muxpreload', '0'],
        // Its counters begin anew where it is joined, and nothing is missing there (ISO/IEC 13818-1 §2.4.3.5).
        ...['-mpegts_flags', 'initial_discontinuity', '-f', 'mpegts', '/out/part.ts'],
      ]),
    },
  ];
  if (sound) {
    const args = ['-i', '{{Param.Source}}', '-map', '0:a:0', '-map_metadata', '-1', '-c:a', 'aac', '-b:a', '128k'];
    steps.push({ name: 'sound', script: run([...args, '-ac', '2', '/out/sound.mp4']) });
  }
  steps.push({
    name: 'join',
    dependencies: [{ dependsOn: 'part' }, ...(sound ? [{ dependsOn: 'sound' }] : [])],
    script: run([
      ...['-f', 'mpegts', '-i', `concat:${files.join('|')}`, ...(sound ? ['-i', '/in/sound/sound.mp4'] : [])],
      ...[
        '-map',
        '0:v',
        ...(sound ? ['-map', '1:a'] : []),
        '-c',
        'copy',
        '-movflags',
        '+faststart',
        '{{Param.Output}}',
      ],
    ]),
  });
  return {
    specificationVersion: 'jobtemplate-2023-09',
    name: `Encode in ${parts} parts`,
    parameterDefinitions: [
      { name: 'Source', type: 'PATH', objectType: 'FILE', dataFlow: 'IN' },
      { name: 'Output', type: 'PATH', objectType: 'FILE', dataFlow: 'OUT', default: 'title.mp4' },
      { name: 'Height', type: 'INT', default: 1080, minValue: 16, maxValue: 4320 },
      { name: 'Crf', type: 'INT', default: 18, minValue: 0, maxValue: 51 },
      { name: 'KeyFrames', type: 'INT', default: 50, minValue: 1, maxValue: 600 },
    ],
    steps,
  };
}
