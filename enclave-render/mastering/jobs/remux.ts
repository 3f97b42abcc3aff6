import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { PassThrough, type Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { MasterJobError } from './job-error.ts';

/** Containers that ffmpeg can write to a pipe, and how. */
const FORMATS = {
  ts: ['-f', 'mpegts'],
  mp4: ['-f', 'mp4', '-movflags', 'frag_keyframe+empty_moov+default_base_moof'],
} as const;

export type RemuxContainer = keyof typeof FORMATS;

/** Tracks that are neither video nor sound, as ffmpeg lists those of its input; and any that shows itself only later. */
const LOST_TRACK = /^\[info\] +Stream #0:.*: (Subtitle|Data|Attachment|Unknown): |\] New (\w+) stream /;

/**
 * Puts video and sound into another container, as they are, through ffmpeg on the PATH. Plaintext stays in pipes. Fails with
 * `ERR_MASTER_JOB_TRANSCODE`, with `ERR_MASTER_JOB_TRACK` when a track would be lost, or as the source does; the stream ends only
 * when ffmpeg has succeeded and all of the source was read, also what ffmpeg did not want: its end may say that it was tampered with.
 */
export function remux(source: Readable, container: RemuxContainer): Readable {
  const args = ['-v', 'level+info', '-nostats', '-hide_banner', '-xerror', '-nostdin'];
  // The input is whatever somebody put under the key: a playlist in it must not have ffmpeg open files or addresses.
  args.push('-protocol_whitelist', 'pipe', '-i', 'pipe:0');
  args.push('-map', '0:v?', '-map', '0:a?', '-c', 'copy', '-map_metadata', '-1', ...FORMATS[container], 'pipe:1');
  // Of our environment it gets the PATH alone: there may be credentials in it, and variables that have it write files.
  const child = spawn('ffmpeg', args, { env: { PATH: process.env.PATH }, stdio: ['pipe', 'pipe', 'pipe'] });
  const output = new PassThrough();
  child.stdout.pipe(output, { end: false });
  output.on('close', () => {
    child.kill('SIGKILL');
    source.destroy();
  });

  let said: string | undefined;
  const listened = new Promise<void>((resolve, reject) => {
    const lines = createInterface({ input: child.stderr });
    lines.on('close', resolve).on('line', (line) => {
      const [, listed, appeared] = LOST_TRACK.exec(line) ?? [];
      const type = listed ?? appeared;
      if (type !== undefined) reject(lostTrack(type.toLowerCase()));
      if (/\[(?:error|fatal)\]/.test(line)) said ??= line.slice(0, 300);
    });
  });
  const succeeded = new Promise<void>((resolve, reject) => {
    child.on('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'ENOENT' ? failed('there is no ffmpeg on the PATH: install it') : error);
    });
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(failed(`ffmpeg says: ${said ?? `exit code ${code}`}`));
    });
  });
  Promise.all([pipeline(source, inputOf(child.stdin)), listened, succeeded]).then(
    () => output.end(),
    (error) => output.destroy(error),
  );
  return output;
}

/** The input of a program that may close it early, as one that takes everything: whether that is a failure its exit code says. */
function inputOf(stdin: Writable): Writable {
  stdin.on('error', () => {});
  return new Writable({
    write: (chunk, _encoding, done) => stdin.write(chunk, () => done()),
    final: (done) => stdin.end(() => done()),
  });
}

function lostTrack(type: string): MasterJobError {
  return new MasterJobError(
    'ERR_MASTER_JOB_TRACK',
    `the input has a ${type} track, which the output would not have: video and sound alone are copied here. Make a master of ` +
      'them alone (ffmpeg -map 0:v -map 0:a -c copy), or run the job in MediaConvert (portcullis master migrate)',
  );
}

function failed(why: string): MasterJobError {
  return new MasterJobError(
    'ERR_MASTER_JOB_TRANSCODE',
    `the output could not be made: ${why}. An MP4 that is fed through a pipe needs its moov box in front, and a wrong key or IV ` +
      'in mode ctr shows itself like this, too',
  );
}
