import { type ChildProcess, spawn } from 'node:child_process';
import { createCipheriv, randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import type { MasterReader } from '../mastering/master-reader.ts';
import { openRangeView } from '../mastering/range-view.ts';
import { PackagingError } from './errors.ts';
import { handlerTypes } from './mp4-handlers.ts';
import type { TitleSource } from './package-title.ts';
import { refuseUnseen } from './source.ts';

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

/** What ffmpeg may take for a source. Never a playlist or a list of files, which would lead it elsewhere. */
const FORMATS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mxf,mpegts,avi,mpeg';

/** Transcoded renditions, to be packaged and then closed. */
export interface Transcoded {
  sources: TitleSource[];
  close(): Promise<void>;
}

/**
 * Transcodes a source with ffmpeg on the PATH into H.264 and AAC, a rendition a rung, with key frames every so many seconds. ffmpeg
 * reads through a loopback view of the reader and writes into pipes; what comes out is kept encrypted under a key of this process
 * alone, so that no plaintext touches the disk. Progress is in seconds of the source. Rejects with `ERR_PACKAGE_FFMPEG_MISSING`,
 * and with `ERR_PACKAGE_FFMPEG` when it fails, or with what the reader failed with.
 */
export async function transcode(
  { name, reader }: TitleSource,
  rungs: Rung[],
  segmentSeconds: number,
  {
    onProgress,
    signal,
  }: { onProgress?: ((seconds: number) => void) | undefined; signal?: AbortSignal | undefined } = {},
): Promise<Transcoded> {
  const handlers = await handlerTypes(reader);
  refuseUnseen(name, handlers);
  if (handlers.filter((type) => type === 'vide').length > 1) {
    const message = `${name} has several video tracks, of which one would be packaged: remove the others from the source first`;
    throw new PackagingError('ERR_PACKAGE_TRACK', message);
  }
  const view = await openRangeView(reader);
  const kept: SealedFile[] = [];
  const close = async () => {
    for (const file of kept) await file.close();
  };
  try {
    for (const _ of rungs) kept.push(await SealedFile.create());
    const inputs = ['-protocol_whitelist', 'http,tcp', '-format_whitelist', FORMATS, '-i', view.url];
    const outputs = rungs.flatMap((rung, index) => outputArguments(rung, segmentSeconds, `pipe:${index + 3}`));
    const quiet = ['-hide_banner', '-nostdin', '-xerror', '-loglevel', 'error', '-progress', 'pipe:1'];
    const child = spawn('ffmpeg', [...quiet, ...inputs, ...outputs], {
      // Nothing else of ours: a proxy or a report asked for by a variable would be told the URL, and it gets no credentials.
      env: { PATH: process.env.PATH },
      stdio: ['ignore', 'pipe', 'pipe', ...rungs.map(() => 'pipe' as const)],
      ...(signal ? { signal } : {}),
    });
    await finish(child, kept, name, view.url, onProgress).catch((error) => {
      throw view.failure ?? error;
    });
    // Where its input breaks off, ffmpeg may call what it has a success.
    if (view.failure !== undefined) throw view.failure;
    return {
      sources: kept.map((file, index) => ({ name: `${name} at ${rungs[index]?.height}p`, reader: file })),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  } finally {
    await view.close();
  }
}

function outputArguments({ height, kilobits }: Rung, segmentSeconds: number, output: string): string[] {
  return [
    ...['-map', '0:v:0', '-map', '0:a?', '-map_metadata', '-1'],
    // Never larger than the source; even numbers of lines.
    ...['-vf', `scale=-2:'min(${height},trunc(ih/2)*2)':flags=bicubic,format=yuv420p`],
    ...[
      '-c:v',
      'libx264',
      '-preset',
      'medium',
      '-crf',
      '20',
      '-maxrate',
      `${kilobits}k`,
      '-bufsize',
      `${2 * kilobits}k`,
    ],
    ...['-force_key_frames', `expr:gte(t,n_forced*${segmentSeconds})`, '-sc_threshold', '0', '-g', '9999'],
    ...['-c:a', 'aac', '-b:a', '128k', '-ac', '2'],
    // Into a pipe: in fragments, whose index needs no way back.
    ...['-f', 'mp4', '-movflags', 'frag_keyframe+delay_moov+default_base_moof', output],
  ];
}

async function finish(
  child: ChildProcess,
  kept: SealedFile[],
  name: string,
  url: string,
  onProgress: ((seconds: number) => void) | undefined,
): Promise<void> {
  let complaint = '';
  child.stderr?.on('data', (text) => {
    complaint = `${complaint}${text}`.slice(-2000);
  });
  child.stdout?.on('data', (text) => {
    const microseconds = [...String(text).matchAll(/out_time_us=(\d+)/g)].at(-1)?.[1];
    if (microseconds !== undefined) onProgress?.(Number(microseconds) / 1e6);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') return reject(error);
      const message = `${name} needs transcoding, and there is no ffmpeg on the PATH: install it (Debian: apt install ffmpeg)`;
      reject(new PackagingError('ERR_PACKAGE_FFMPEG_MISSING', message));
    });
    child.once('close', resolve);
  });
  const storing = kept.map((file, index) => file.fill(child.stdio[index + 3] as Readable));
  const [code] = await Promise.all([ended, ...storing]).catch((error) => {
    child.kill('SIGKILL');
    throw error;
  });
  if (code === 0) return;
  const said = complaint.replaceAll(url, name).trim().split('\n').at(-1)?.slice(0, 300);
  throw new PackagingError(
    'ERR_PACKAGE_FFMPEG',
    `ffmpeg could not transcode ${name}: ${said || `it ended with ${code}`}`,
  );
}

/** A file that only this process can read, under a key that is nowhere else: AES-256-CTR (NIST SP 800-38A §6.5). */
class SealedFile implements MasterReader {
  size = 0;
  readonly #file: Awaited<ReturnType<typeof open>>;
  readonly #key = randomBytes(32);

  private constructor(file: Awaited<ReturnType<typeof open>>) {
    this.#file = file;
  }

  /** The file has no name any more: it is gone when the process is, however it ends. */
  static async create(): Promise<SealedFile> {
    const path = join(tmpdir(), `portcullis-transcoded-${randomBytes(8).toString('hex')}`);
    const file = await open(path, 'wx+', 0o600);
    await rm(path);
    return new SealedFile(file);
  }

  async fill(stream: Readable): Promise<void> {
    const cipher = this.#cipherAt(0);
    for await (const chunk of stream) {
      const sealed = cipher.update(chunk as Buffer);
      await this.#file.write(sealed, 0, sealed.length, this.size);
      this.size += sealed.length;
    }
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const from = offset - (offset % 16);
    const bytes = Buffer.alloc(Math.max(0, Math.min(offset + length, this.size) - from));
    const { bytesRead } = await this.#file.read(bytes, 0, bytes.length, from);
    return this.#cipherAt(from)
      .update(bytes.subarray(0, bytesRead))
      .subarray(offset - from);
  }

  async close(): Promise<void> {
    this.#key.fill(0);
    await this.#file.close();
  }

  /** The key is used for one file, from counter 0. */
  #cipherAt(offset: number) {
    const counter = Buffer.alloc(16);
    counter.writeBigUInt64BE(BigInt(offset / 16), 8);
    return createCipheriv('aes-256-ctr', this.#key, counter);
  }
}
