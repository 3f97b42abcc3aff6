import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { RangeView } from './range-view.ts';

/** What ffmpeg may take for a source. Never a playlist or a list of files, which would lead it elsewhere. */
const FORMATS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mxf,mpegts,avi,mpeg,flv,asf,mp3,aac,wav,flac,ogg';

/** What precedes the URL of a source among the arguments of ffmpeg and ffprobe: they may open http, and nothing it leads to. */
export const INPUT_LIMITS = ['-protocol_whitelist', 'http,tcp', '-format_whitelist', FORMATS];

/** Nothing else of ours: a proxy or a report asked for by a variable would be told the URL, and it gets no credentials. */
export function ffmpegEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH };
}

export interface FfmpegOptions {
  /** Arguments of each output, without its file: ffmpeg writes it into a pipe. */
  outputs: string[][];
  /** Seconds of the source that are done. */
  onProgress?: ((seconds: number) => void) | undefined;
  /** What ffmpeg says, a line each, with its level in brackets. What it throws ends the run. */
  onLine?: ((line: string) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Makes the errors: there is no ffmpeg on the PATH, or it did not do it. `why` is its own first complaint, without the URL. */
  errors: { missing: () => Error; failed: (why: string) => Error };
}

export interface FfmpegRun {
  /** A pipe for each output. All have to be read. */
  pipes: Readable[];
  /**
   * Resolves when all of it was done; rejects with what the view failed with, what `errors` made, or what `onLine` threw. What came
   * out of the pipes before is worth nothing without it: where its input breaks off, ffmpeg may call what it has a success.
   */
  ended: Promise<void>;
  /** Ends it at once. */
  kill(): void;
}

/**
 * Runs ffmpeg on the PATH from a view of a plaintext into pipes, so that no plaintext touches the disk.
 */
export function runFfmpeg(view: RangeView, { outputs, onProgress, onLine, signal, errors }: FfmpegOptions): FfmpegRun {
  const quiet = ['-hide_banner', '-nostdin', '-nostats', '-xerror', '-loglevel', 'level+info', '-progress', 'pipe:1'];
  const input = [...INPUT_LIMITS, '-i', view.url];
  const child = spawn('ffmpeg', [...quiet, ...input, ...outputs.flatMap((to, i) => [...to, `pipe:${i + 3}`])], {
    env: ffmpegEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe', ...outputs.map(() => 'pipe' as const)],
    ...(signal && { signal }),
  });
  const kill = () => void child.kill('SIGKILL');
  let complaint: string | undefined;
  const listened = new Promise<void>((resolve, reject) => {
    const lines = createInterface({ input: child.stderr as Readable });
    lines.on('close', resolve).on('line', (line) => {
      const [, said] = /\[(?:error|fatal|panic)\] (.*)/.exec(line) ?? [];
      complaint ??= said?.replaceAll(view.url, 'the source').slice(0, 300);
      try {
        onLine?.(line);
      } catch (error) {
        reject(error);
        kill();
      }
    });
  });
  child.stdout?.on('data', (text) => {
    const microseconds = [...String(text).matchAll(/out_time_us=(\d+)/g)].at(-1)?.[1];
    if (microseconds !== undefined) onProgress?.(Number(microseconds) / 1e6);
  });
  const succeeded = new Promise<void>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => reject(error.code === 'ENOENT' ? errors.missing() : error));
    child.once('close', (code, by) => {
      if (view.failure !== undefined) reject(view.failure);
      else if (code === 0) resolve();
      else reject(errors.failed(complaint ?? `it ended with ${code ?? by}`));
    });
  });
  return {
    pipes: outputs.map((_, i) => child.stdio[i + 3] as Readable),
    ended: Promise.all([listened, succeeded]).then(() => {}),
    kill,
  };
}
