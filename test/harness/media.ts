import { execFile } from 'node:child_process';
import { createDecipheriv } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe } from 'vitest';
import type { DataKeys } from '../../enclave-render/kms/data-keys.ts';
import type { KeyTable } from '../../enclave-render/packaging/key-table.ts';
import type { PackagedSegment, Rendition } from '../../enclave-render/packaging/title.ts';
import { isOnPath } from './programs.ts';

const run = promisify(execFile);

/** A suite that needs ffmpeg and ffprobe; skipped by name where they are missing. */
export function describeWithFfmpeg(name: string, suite: () => void): void {
  const isMissing = !isOnPath('ffmpeg') || !isOnPath('ffprobe');
  describe.skipIf(isMissing)(isMissing ? `${name} (needs ffmpeg, which is not installed)` : name, suite);
}

export async function ffmpeg(...args: string[]): Promise<string> {
  const { stdout } = await run('ffmpeg', ['-hide_banner', '-loglevel', 'error', '-nostdin', '-y', ...args], {
    maxBuffer: 1 << 28,
  });
  return stdout;
}

/** What ffmpeg warns of when it decodes a file. */
export async function complaints(file: string): Promise<string> {
  const { stderr } = await run('ffmpeg', ['-v', 'warning', '-nostdin', '-i', file, '-f', 'null', '-']);
  return stderr;
}

/** What a source of a test is; a test picture with its number of seconds and a tone. */
export interface TestMedia {
  seconds?: number;
  size?: string;
  rate?: string;
  /** Frames between key frames. */
  gop?: number;
  video?: string[] | 'none';
  audio?: string[] | 'none';
  more?: string[];
}

/** In a third of the time of the default, and still as mezzanines are: CABAC, and transforms of 8×8 (High). */
const QUICKLY = ['-preset', 'ultrafast', '-coder', '1', '-8x8dct', '1', '-crf', '28'];

/** Makes an MP4 as mezzanines are: B-frames, the index at the end, sound with its priming packet. */
export async function makeMedia(path: string, media: TestMedia = {}): Promise<string> {
  const { seconds = 12, size = '320x180', rate = '25', gop = 50, video, audio, more = [] } = media;
  const inputs = [
    ...(video === 'none' ? [] : ['-f', 'lavfi', '-i', `testsrc2=size=${size}:rate=${rate}:duration=${seconds}`]),
    ...(audio === 'none' ? [] : ['-f', 'lavfi', '-i', `sine=frequency=440:sample_rate=48000:duration=${seconds}`]),
  ];
  const picture = ['libx264', ...QUICKLY, '-bf', '3', '-pix_fmt', 'yuv420p'];
  const keyFrames = ['-g', `${gop}`, '-keyint_min', `${gop}`, '-sc_threshold', '0'];
  await ffmpeg(
    ...inputs,
    ...(video === 'none' ? [] : ['-c:v', ...(video ?? picture), ...keyFrames]),
    ...(audio === 'none' ? [] : ['-c:a', ...(audio ?? ['aac', '-b:a', '96k'])]),
    ...more,
    path,
  );
  return path;
}

/** A hash a packet (`copy`) or a decoded frame, with its time in microseconds, of the first video or audio stream. */
export async function frames(file: string, stream: 'v' | 'a', copy: boolean): Promise<{ pts: number; hash: string }[]> {
  const text = await ffmpeg(
    '-i',
    file,
    '-map',
    `0:${stream}:0`,
    ...(copy ? ['-c', 'copy'] : []),
    '-f',
    'framemd5',
    '-',
  );
  const [, numerator = 1, denominator = 1] = (/#tb 0: (\d+)\/(\d+)/.exec(text) ?? []).map(Number);
  return text
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(',').map((cell) => cell.trim()))
    .map(([, , pts, , , hash = '']) => ({ pts: Math.round((Number(pts) * numerator * 1e6) / denominator), hash }));
}

/** What `ffprobe -show_entries` says, as JSON. */
export async function probe(file: string, entries: string): Promise<Record<string, Record<string, string>[]>> {
  const { stdout } = await run('ffprobe', ['-v', 'error', '-show_entries', entries, '-of', 'json', file]);
  return JSON.parse(stdout);
}

/** The content keys of a packaged title by name, in clear. */
export async function contentKeys(file: string, dataKeys: Pick<DataKeys, 'decrypt'>): Promise<Map<string, Uint8Array>> {
  const { keys } = JSON.parse(readFileSync(file, 'utf8')) as KeyTable;
  const opened = keys.map(async ({ name, encryptedKey, context, keyId }) => {
    const { plaintext } = await dataKeys.decrypt(Buffer.from(encryptedKey, 'base64'), context, keyId);
    return [name, plaintext] as const;
  });
  return new Map(await Promise.all(opened));
}

/** A segment, or one of its parts, in clear. */
export function clearSegment(
  folder: string,
  segment: PackagedSegment,
  keys: Map<string, Uint8Array>,
  file = segment.file,
): Buffer {
  const bytes = readFileSync(join(folder, file));
  if (!segment.encryption) return bytes;
  const key = keys.get(segment.encryption.key);
  if (!key) throw new Error(`no key '${segment.encryption.key}'`);
  const decipher = createDecipheriv('aes-128-cbc', key, Buffer.from(segment.encryption.iv, 'hex'));
  return Buffer.concat([decipher.update(bytes), decipher.final()]);
}

/** A whole rendition in clear, as one file. */
export function clearRendition(title: string, rendition: Rendition, keys: Map<string, Uint8Array>): Buffer {
  const folder = join(title, rendition.name);
  const init = rendition.init ? readFileSync(join(folder, rendition.init)) : Buffer.alloc(0);
  return Buffer.concat([init, ...rendition.segments.map((segment) => clearSegment(folder, segment, keys))]);
}

/** Whether there is a file or folder. */
export function isThere(...path: string[]): boolean {
  return existsSync(join(...path));
}
