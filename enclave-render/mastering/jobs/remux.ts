import { spawn } from 'node:child_process';
import { PassThrough, type Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { MasterJobError } from './job-error.ts';

/** Containers that ffmpeg can write to a pipe, and how. */
const FORMATS = {
  ts: ['-f', 'mpegts'],
  mp4: ['-f', 'mp4', '-movflags', 'frag_keyframe+empty_moov+default_base_moof'],
} as const;

export type RemuxContainer = keyof typeof FORMATS;

/**
 * Puts video and sound into another container, as they are, through ffmpeg on the PATH. Plaintext stays in pipes. Fails with
 * `ERR_MASTER_JOB_TRANSCODE`, or as the source does; the stream ends only when ffmpeg has read all of the source and succeeded.
 */
export function remux(source: Readable, container: RemuxContainer): Readable {
  const args = ['-v', 'error', '-xerror', '-nostdin'];
  // The input is whatever somebody put under the key: a playlist in it must not have ffmpeg open files or addresses.
  args.push('-protocol_whitelist', 'pipe', '-i', 'pipe:0');
  args.push('-map', '0:v?', '-map', '0:a?', '-c', 'copy', '-map_metadata', '-1', ...FORMATS[container], 'pipe:1');
  const child = spawn('ffmpeg', args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const output = new PassThrough();
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(0, 300);
  });
  const exited = new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  child.stdout.pipe(output, { end: false });
  output.on('close', () => child.kill('SIGKILL'));

  const run = async () => {
    // ffmpeg may be done with its input early; whether that is a failure its exit code says.
    const fed = pipeline(source, child.stdin).catch((error: NodeJS.ErrnoException) => {
      if (['EPIPE', 'ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET'].includes(error.code ?? '')) return;
      child.kill('SIGKILL');
      throw error;
    });
    const [, code] = await Promise.all([fed, exited]);
    if (code !== 0) throw failed(`ffmpeg says: ${said.split('\n', 1)[0] || `exit code ${code}`}`);
  };
  run().then(
    () => output.end(),
    (error: NodeJS.ErrnoException) =>
      output.destroy(error.code === 'ENOENT' ? failed('there is no ffmpeg on the PATH: install it') : error),
  );
  return output;
}

function failed(why: string): MasterJobError {
  return new MasterJobError(
    'ERR_MASTER_JOB_TRANSCODE',
    `the output could not be made: ${why}. An MP4 that is fed through a pipe needs its moov box in front, and a wrong key or IV ` +
      'in mode ctr shows itself like this, too',
  );
}
