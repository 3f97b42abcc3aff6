import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, expect, test, vi } from 'vitest';
import { makeOutput, type OutputRecipe } from '../../../../enclave-render/mastering/jobs/make-output.ts';
import { presetOf, TRANSCODER_PRESETS } from '../../../../enclave-render/mastering/jobs/presets.ts';
import { openRangeView } from '../../../../enclave-render/mastering/range-view.ts';
import { complaints, describeWithFfmpeg, makeMedia, probe } from '../../../harness/media.ts';
import { removeDirectory, temporaryDirectory } from '../../../harness/stack.ts';

describeWithFfmpeg('an output', () => {
  const scratch = temporaryDirectory();
  afterAll(() => removeDirectory(scratch));

  async function made(source: string, recipe: OutputRecipe): Promise<string> {
    const bytes = readFileSync(source);
    const read = async (offset: number, length: number) => bytes.subarray(offset, offset + length);
    const view = await openRangeView({ size: bytes.length, read, close: async () => {} });
    try {
      const path = join(scratch, 'made');
      writeFileSync(path, await buffer(makeOutput(view, recipe)));
      return path;
    } finally {
      await view.close();
    }
  }

  test('is made by an ffmpeg that gets nothing of our environment', async () => {
    const source = await makeMedia(join(scratch, 'source.mp4'), { seconds: 1 });
    const report = join(scratch, 'report.log');
    vi.stubEnv('FFREPORT', `file=${report}`);
    vi.stubEnv('http_proxy', 'http://127.0.0.1:9');
    try {
      expect(readFileSync(await made(source, { copyInto: 'ts' }))[0]).toBe(0x47);
    } finally {
      vi.unstubAllEnvs();
    }
    expect(existsSync(report)).toBe(false);
  });

  test.each([...TRANSCODER_PRESETS])('of the system preset %s', async (_, preset) => {
    // As cinema has it: no preset has this shape.
    const source = join(scratch, 'wide.mov');
    if (!existsSync(source)) {
      const profile = ['-profile:v', 'high422', '-pix_fmt', 'yuv422p'];
      await makeMedia(source, {
        ...{ seconds: 0.25, size: '2048x858', rate: '24' },
        video: ['libx264', '-preset', 'ultrafast', ...profile],
        more: ['-timecode', '01:00:00:00'],
      });
    }
    const path = await made(source, { preset });
    const { streams = [], format } = await probe(
      path,
      'stream=codec_name,profile,width,height,channels,sample_rate,pix_fmt:format=format_name',
    );
    const [sound] = streams.filter(({ codec_name }) => codec_name === 'aac');
    expect(sound).toMatchObject({ channels: 2, sample_rate: '44100' });
    const [picture] = streams.filter(({ codec_name }) => codec_name === 'h264');
    expect(streams).toHaveLength(preset.video ? 2 : 1);
    expect(JSON.stringify(format)).toContain(preset.container === 'ts' ? 'mpegts' : 'mp4');
    expect(await complaints(path)).toBe('');
    if (!preset.video) return;
    const { width, height } = preset.video;
    expect(picture).toMatchObject({ profile: 'Main', pix_fmt: 'yuv420p' });
    const [w, h] = [Number(picture?.width), Number(picture?.height)];
    expect([w <= width, h <= height, w % 2, h % 2]).toEqual([true, true, 0, 0]);
    // One side fits, the other follows.
    expect(Math.abs(w / h - 2048 / 858)).toBeLessThan(0.02);
    expect(w).toBeGreaterThanOrEqual(width - 1);
  });

  test('is never larger than its input', async () => {
    const source = await makeMedia(join(scratch, 'small.mp4'), { seconds: 1, size: '162x90' });
    const { streams = [] } = await probe(
      await made(source, { preset: presetOf('1351620000001-000001') }),
      'stream=width,height',
    );
    expect(streams[0]).toMatchObject({ width: 162, height: 90 });
  });

  test('of a preset with video is none of sound alone, and the other way about', async () => {
    const sound = await makeMedia(join(scratch, 'sound.mp4'), { seconds: 1, video: 'none' });
    const picture = await makeMedia(join(scratch, 'picture.mp4'), { seconds: 1, audio: 'none' });
    const refusal = { code: 'ERR_MASTER_JOB_TRANSCODE', message: expect.stringContaining('matches no streams') };
    await expect(made(sound, { preset: presetOf('1351620000001-000050') })).rejects.toMatchObject(refusal);
    await expect(made(picture, { preset: presetOf('1351620000001-100130') })).rejects.toMatchObject(refusal);
    expect(
      (await probe(await made(picture, { preset: presetOf('1351620000001-000050') }), 'stream=index')).streams,
    ).toHaveLength(1);
  });

  test('is refused with its name where there is no ffmpeg, and tells no URL of the view when it fails', async () => {
    const noise = join(scratch, 'noise');
    writeFileSync(noise, Buffer.alloc(5000, 7));
    const failure = await made(noise, { copyInto: 'mp4' }).catch((error) => error);
    expect(failure).toMatchObject({ code: 'ERR_MASTER_JOB_TRANSCODE' });
    expect(failure.message).not.toMatch(/127\.0\.0\.1/);
    vi.stubEnv('PATH', scratch);
    try {
      await expect(made(noise, { copyInto: 'mp4' })).rejects.toMatchObject({ code: 'ERR_MASTER_JOB_FFMPEG_MISSING' });
    } finally {
      vi.unstubAllEnvs();
    }
  });
});

test('a preset that is not known is refused with those that are', () => {
  expect(() => presetOf('1351620000001-100250')).toThrow(/1351620000001-000010 \(Generic 720p\).*--copy/);
});
