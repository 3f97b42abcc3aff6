import { once } from 'node:events';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { MasterReader } from '../../../enclave-render/mastering/master-reader.ts';
import { openFile } from '../../../enclave-render/packaging/file-reader.ts';
import { packageTitle } from '../../../enclave-render/packaging/package-title.ts';
import { RUNGS, type Rung, transcode } from '../../../enclave-render/packaging/transcode.ts';
import { clearRendition, describeWithFfmpeg, ffmpeg, makeMedia, probe } from '../../harness/media.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

describeWithFfmpeg('a source that players do not take is transcoded', () => {
  const scratch = temporaryDirectory();
  const old = join(scratch, 'old.mp4');
  const rungs = ['360p', '240p'].map((name) => RUNGS[name] as Rung);
  beforeAll(async () => {
    await makeMedia(old, { seconds: 6, size: '640x480', video: ['mpeg4'], audio: ['pcm_s16le'], more: ['-f', 'mov'] });
  });
  afterAll(() => removeDirectory(scratch));
  const leftovers = () => readdirSync(tmpdir()).filter((name) => name.startsWith('portcullis-transcoded-'));

  test('into rungs that are renditions of one title', async () => {
    const reader = await openFile(old);
    const told: number[] = [];
    const { sources, close } = await transcode({ name: 'old.mp4', reader }, rungs, 2, {
      onProgress: (seconds) => told.push(seconds),
    });
    expect(leftovers()).toEqual([]);
    const out = join(scratch, 'title');
    const title = await packageTitle(out, sources, { container: 'cmaf', segmentSeconds: 2, encryption: 'none' });
    await close();
    await reader.close();
    expect(title.renditions.map(({ name, width, height, segments }) => [name, width, height, segments.length])).toEqual(
      [
        ['360p', 480, 360, 3],
        ['240p', 320, 240, 3],
        ['audio', undefined, undefined, 3],
      ],
    );
    expect(title.duration).toBeCloseTo(6, 1);
    expect(told.at(-1)).toBeGreaterThan(5);
    const file = join(scratch, 'rendition.mp4');
    const [video] = title.renditions;
    if (video) writeFileSync(file, clearRendition(out, video, new Map()));
    expect((await probe(file, 'packet=pts')).packets).toHaveLength(150);
  });

  async function refusal(path: string): Promise<string> {
    const reader = await openFile(path);
    const error = await transcode({ name: basename(path), reader }, rungs, 2).then(
      () => new Error('it was transcoded'),
      (reason) => reason,
    );
    await reader.close();
    expect(leftovers()).toEqual([]);
    expect(error.message).not.toMatch(/127\.0\.0\.1/);
    return error.code;
  }

  test('what is none, leads elsewhere, or has words in it, is refused', async () => {
    const playlist = join(scratch, 'playlist.mp4');
    writeFileSync(playlist, `#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nfile://${old}\n#EXT-X-ENDLIST\n`);
    const list = join(scratch, 'list.mp4');
    writeFileSync(list, `ffconcat version 1.0\nfile ${old}\n`);
    const noise = join(scratch, 'noise.mp4');
    writeFileSync(noise, Buffer.alloc(4096, 'noise'));
    for (const path of [playlist, list, noise]) expect(await refusal(path)).toBe('ERR_PACKAGE_FFMPEG');
    const subtitles = join(scratch, 'subtitles.srt');
    writeFileSync(subtitles, '1\n00:00:00,000 --> 00:00:02,000\nWords\n');
    const withText = join(scratch, 'text.mov');
    await ffmpeg('-i', old, '-i', subtitles, '-map', '0', '-map', '1', '-c', 'copy', '-c:s', 'mov_text', withText);
    expect(await refusal(withText)).toBe('ERR_PACKAGE_TRACK');
    const twice = join(scratch, 'twice.mov');
    await ffmpeg('-i', old, '-map', '0:v', '-map', '0:v', '-c', 'copy', twice);
    expect(await refusal(twice)).toBe('ERR_PACKAGE_TRACK');
  });

  test('a source of which half cannot be read is no shorter title', async () => {
    const long = join(scratch, 'long.mkv');
    await ffmpeg('-stream_loop', '3', '-i', old, '-c', 'copy', long);
    const { size, read, close } = await openFile(long);
    const broken = new Error('half of it has been tampered with');
    const half: MasterReader = {
      size,
      read: (offset, length) => (offset + length > size / 2 ? Promise.reject(broken) : read(offset, length)),
      close,
    };
    await expect(transcode({ name: 'long.mkv', reader: half }, rungs.slice(1), 2)).rejects.toBe(broken);
    await close();
    expect(leftovers()).toEqual([]);
  });

  test('ffmpeg gets nothing of our environment that would have it tell others what it reads', async () => {
    const asked: unknown[] = [];
    const proxy = createServer((request, response) => {
      asked.push(request.url);
      response.writeHead(502).end();
    });
    proxy.listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    const report = join(scratch, 'report.log');
    vi.stubEnv('http_proxy', `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`);
    vi.stubEnv('no_proxy', '');
    vi.stubEnv('FFREPORT', `file=${report}`);
    const reader = await openFile(old);
    try {
      await (await transcode({ name: 'old.mp4', reader }, rungs.slice(1), 2)).close();
    } finally {
      vi.unstubAllEnvs();
      await reader.close();
      proxy.close();
    }
    expect({ asked, isReported: existsSync(report) }).toEqual({ asked: [], isReported: false });
  });

  test('where there is no ffmpeg, that is said', async () => {
    const path = process.env.PATH;
    process.env.PATH = scratch;
    try {
      expect(await refusal(old)).toBe('ERR_PACKAGE_FFMPEG_MISSING');
    } finally {
      process.env.PATH = path;
    }
  });
});
