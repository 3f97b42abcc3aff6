import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { MasterReader } from '../../../enclave-render/mastering/master-reader.ts';
import { openFile } from '../../../enclave-render/packaging/file-reader.ts';
import { packageTitle } from '../../../enclave-render/packaging/package-title.ts';
import { RUNGS, type Rung, type TranscodeRequest, transcode } from '../../../enclave-render/packaging/transcode.ts';
import { clearRendition, describeWithFfmpeg, ffmpeg, makeMedia, probe } from '../../harness/media.ts';
import { programPath } from '../../harness/programs.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

describeWithFfmpeg('a source that players do not take is transcoded', () => {
  const scratch = temporaryDirectory();
  const old = join(scratch, 'old.mp4');
  const rungs = ['360p', '240p'].map((name) => RUNGS[name] as Rung);
  const request: TranscodeRequest = { rungs, segmentSeconds: 2, container: 'cmaf' };
  const oneRung = { ...request, rungs: rungs.slice(1) };
  beforeAll(async () => {
    const codecs = { video: ['mpeg4'], audio: ['pcm_s16le'], more: ['-f', 'mov'] };
    // Of few frames: to encode them, as slowly as it is done for viewers, is what takes time.
    await makeMedia(old, { seconds: 6, size: '640x480', rate: '5', gop: 10, ...codecs });
  });
  afterAll(() => removeDirectory(scratch));
  const leftovers = () => readdirSync(tmpdir()).filter((name) => name.startsWith('portcullis-transcoded-'));

  test('into rungs that are renditions of one title', async () => {
    const reader = await openFile(old);
    const told: number[] = [];
    const { sources, close } = await transcode(
      { name: 'old.mp4', reader },
      { ...request, onProgress: (seconds) => told.push(seconds) },
    );
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
    expect((await probe(file, 'packet=pts')).packets).toHaveLength(30);
  });

  test('of rungs that would be as large as the source only the lowest is made, also when it is turned', async () => {
    const turned = join(scratch, 'turned.mp4');
    await ffmpeg('-i', old, '-t', '1', '-an', '-c', 'copy', '-metadata:s:v:0', 'rotate=90', turned);
    const ladder = ['1080p', '720p', '540p', '360p'].map((name) => RUNGS[name] as Rung);
    const made = async (path: string) => {
      const reader = await openFile(path);
      const { sources, leftOut, close } = await transcode({ name: 'it', reader }, { ...request, rungs: ladder });
      await close();
      await reader.close();
      return [sources.map(({ name }) => name), leftOut];
    };
    expect(await made(old)).toEqual([
      ['it at 540p', 'it at 360p'],
      [1080, 720],
    ]);
    expect(await made(turned)).toEqual([['it at 720p', 'it at 540p', 'it at 360p'], [1080]]);
  });

  async function refusal(path: string, changes: Partial<TranscodeRequest> = {}): Promise<string> {
    const reader = await openFile(path);
    const error = await transcode({ name: basename(path), reader }, { ...request, ...changes }).then(
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

  const MPEG = ['-c:v', 'mpeg2video', '-c:a', 'mp2', '-ar', '48000'];
  const [PICTURE, SOUND] = [
    ['-map', '0:v'],
    ['-map', '0:a'],
  ] as const;
  const words = join(scratch, 'words.srt');
  const WORDS = ['-map', '1', '-c:s', 'copy'];
  test.each<[string, string, string[], Partial<TranscodeRequest>]>([
    ['a second picture', 'mkv', [...PICTURE, ...PICTURE, ...SOUND, ...MPEG], {}],
    ['a second picture', 'ts', [...PICTURE, ...PICTURE, ...SOUND, ...MPEG], {}],
    ['subtitles', 'mkv', [...PICTURE, ...SOUND, ...WORDS, ...MPEG], {}],
    ['a private stream', 'ts', [...PICTURE, ...SOUND, ...WORDS, ...MPEG], {}],
    ['a second sound for MPEG-TS', 'mkv', [...PICTURE, ...SOUND, ...SOUND, ...MPEG], { container: 'ts' }],
    [
      'a second sound for MPEG-TS',
      'mxf',
      [...PICTURE, ...SOUND, ...SOUND, ...MPEG, '-c:a', 'pcm_s16le', '-r', '25'],
      { container: 'ts' },
    ],
  ])('%s in %s would be dropped, and is refused', async (_, extension, args, changes) => {
    writeFileSync(words, '1\n00:00:00,000 --> 00:00:02,000\nWords\n');
    const path = join(scratch, `dropped.${extension}`);
    await ffmpeg('-i', old, '-i', words, ...args, path);
    expect(await refusal(path, changes)).toBe('ERR_PACKAGE_TRACK');
  });

  test('a track that begins after what ffmpeg looks ahead is refused as well', async () => {
    const noise = 'testsrc2=size=640x480:rate=25:duration=3,noise=alls=60';
    const tone = ['-f', 'lavfi', '-i', 'sine=sample_rate=48000:duration=3'];
    const stream = ['-c:v', 'mpeg2video', '-q:v', '2', '-c:a', 'aac', '-mpegts_flags', 'initial_discontinuity'];
    const part = async (from: number, ...args: string[]) => {
      const file = join(scratch, 'part.ts');
      await ffmpeg(...args, ...stream, '-output_ts_offset', `${from}`, file);
      return readFileSync(file);
    };
    const large = ['-f', 'lavfi', '-i', noise, ...tone, '-map', '0', '-map', '1'];
    const parts = [
      await part(0, ...large),
      await part(5, '-i', old, ...tone, '-map', '0', '-map', '1', '-t', '3'),
      await part(10, ...large),
    ];
    // The large ones are more than the five million bytes that are looked at, at the beginning and the end.
    const path = join(scratch, 'late.ts');
    writeFileSync(path, Buffer.concat(parts));
    expect((await probe(path, 'stream=codec_type')).streams).toHaveLength(2);
    expect(await refusal(path, oneRung)).toBe('ERR_PACKAGE_TRACK');
  });

  test('sound alone has no rungs', async () => {
    const path = join(scratch, 'sound.mkv');
    await ffmpeg('-i', old, ...SOUND, '-c', 'copy', path);
    expect(await refusal(path)).toBe('ERR_PACKAGE_SOURCE');
  });

  test('each sound keeps its language; a cover and a font are no tracks; nothing else is told of the source', async () => {
    const [cover, path] = [join(scratch, 'cover.png'), join(scratch, 'languages.mkv')];
    await ffmpeg('-f', 'lavfi', '-i', 'color=red:size=64x64', '-frames:v', '1', cover);
    await ffmpeg(
      ...['-i', old, ...PICTURE, ...SOUND, ...SOUND, ...MPEG, '-metadata', 'title=unreleased'],
      ...['-metadata:s:a:0', 'language=ger', '-metadata:s:a:1', 'language=eng', '-metadata:s:a:1', 'title=unreleased'],
      ...['-attach', cover, '-metadata:s:t:0', 'mimetype=image/png', '-metadata:s:t:0', 'filename=cover.png'],
      ...['-attach', old, '-metadata:s:t:1', 'mimetype=font/ttf', '-metadata:s:t:1', 'filename=a.ttf'],
      path,
    );
    const { streams = [] } = await probe(path, 'stream=codec_type');
    expect(streams.map((stream) => stream.codec_type)).toEqual(['video', 'audio', 'audio', 'video', 'attachment']);
    const reader = await openFile(path);
    const { sources, close } = await transcode({ name: 'languages.mkv', reader }, oneRung);
    const out = join(scratch, 'languages');
    const title = await packageTitle(out, sources, { container: 'cmaf', segmentSeconds: 2, encryption: 'none' });
    const bytes = Buffer.from((await sources[0]?.reader.read(0, sources[0].reader.size)) ?? []);
    await close();
    await reader.close();
    expect(title.renditions.map(({ name, language }) => [name, language])).toEqual([
      ['240p', undefined],
      ['audio-de', 'de'],
      ['audio-en', 'en'],
    ]);
    expect(bytes.includes('unreleased')).toBe(false);
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
    await expect(transcode({ name: 'long.mkv', reader: half }, oneRung)).rejects.toBe(broken);
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
      await (await transcode({ name: 'old.mp4', reader }, oneRung)).close();
    } finally {
      vi.unstubAllEnvs();
      await reader.close();
      proxy.close();
    }
    expect({ asked, isReported: existsSync(report) }).toEqual({ asked: [], isReported: false });
  });

  test('where there is no ffmpeg, or no ffprobe, that is said', async () => {
    const bin = join(scratch, 'bin');
    mkdirSync(bin);
    const ffprobe = programPath('ffprobe');
    vi.stubEnv('PATH', bin);
    try {
      expect(await refusal(old)).toBe('ERR_PACKAGE_FFMPEG_MISSING');
      symlinkSync(ffprobe, join(bin, 'ffprobe'));
      expect(await refusal(old)).toBe('ERR_PACKAGE_FFMPEG_MISSING');
    } finally {
      vi.unstubAllEnvs();
    }
  });

  test('who stops it gets the reason, while it looks at the source and while it transcodes', async () => {
    const reader = await openFile(old);
    const reason = new Error('stopped');
    await expect(
      transcode({ name: 'old.mp4', reader }, { ...request, signal: AbortSignal.abort(reason) }),
    ).rejects.toBe(reason);
    const stop = new AbortController();
    const onProgress = () => stop.abort(reason);
    await expect(transcode({ name: 'old.mp4', reader }, { ...request, signal: stop.signal, onProgress })).rejects.toBe(
      reason,
    );
    await reader.close();
    expect(leftovers()).toEqual([]);
  });
});
