import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { contentKeysFrom } from '../../../enclave-render/packaging/content-keys.ts';
import { openFile } from '../../../enclave-render/packaging/file-reader.ts';
import { packageTitle, type TitleRequest } from '../../../enclave-render/packaging/package-title.ts';
import { type PackagedTitle, readTitle } from '../../../enclave-render/packaging/title.ts';
import { temporaryDataKeys } from '../../harness/data-keys.ts';
import {
  clearRendition,
  clearSegment,
  complaints,
  contentKeys,
  describeWithFfmpeg,
  ffmpeg,
  frames,
  isThere,
  makeMedia,
  probe,
} from '../../harness/media.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

describeWithFfmpeg('a title is packaged', () => {
  const scratch = temporaryDirectory();
  const dataKeys = temporaryDataKeys();
  const newContentKey = contentKeysFrom(dataKeys, 'alias/test');
  const source = join(scratch, 'source.mp4');
  let titles = 0;
  beforeAll(async () => {
    await makeMedia(source);
  });
  afterAll(() => removeDirectory(scratch));

  type Changes = Partial<Omit<TitleRequest, 'encryption'>> & {
    encryption?: Partial<Exclude<TitleRequest['encryption'], 'none'>> | 'none';
  };

  async function pack(
    files: string[],
    { encryption = {}, ...changes }: Changes = {},
    out = join(scratch, `t${++titles}`),
  ) {
    const readers = await Promise.all(files.map((path) => openFile(path)));
    const sources = readers.map((reader, index) => ({ reader, name: basename(files[index] ?? '') }));
    const full = { newContentKey, rotateEvery: undefined, perRendition: false, iv: 'sequence' as const };
    const request: TitleRequest = {
      container: 'cmaf',
      segmentSeconds: 4,
      encryption: encryption === 'none' ? 'none' : { ...full, ...encryption },
      ...changes,
    };
    try {
      return { out, title: await packageTitle(out, sources, request) };
    } finally {
      await Promise.all(readers.map((reader) => reader.close()));
    }
  }

  /** Code of the failure, and that nothing is left of what was begun. */
  async function refusal(files: string[], changes: Changes = {}): Promise<string> {
    const before = readdirSync(scratch).sort();
    const error = await pack(files, changes).then(
      () => new Error('it was packaged'),
      (reason) => reason,
    );
    expect(readdirSync(scratch).sort()).toEqual(before);
    return error.code ?? error.message;
  }

  const read = (...path: string[]) => readFileSync(join(...path), 'utf8');
  const keyTags = (playlist: string) => playlist.match(/#EXT-X-KEY:.*/g) ?? [];

  test('as CMAF: every packet of picture and sound comes out again, at its time', async () => {
    const { out, title } = await pack([source], { encryption: { rotateEvery: 2 } });
    const keys = await contentKeys(join(out, 'keys.json'), dataKeys);
    const [video, audio] = title.renditions;
    if (!video || !audio) throw new Error('two renditions are missing');
    expect(title.renditions.map(({ name }) => name)).toEqual(['180p', 'audio']);
    for (const [rendition, stream] of [
      [video, 'v'],
      [audio, 'a'],
    ] as const) {
      const file = join(scratch, `${rendition.name}.mp4`);
      writeFileSync(file, clearRendition(out, rendition, keys));
      const expected = (await frames(source, stream, true)).filter(({ pts }) => pts >= 0);
      const packaged = await frames(file, stream, true);
      expect(packaged.map(({ hash }) => hash)).toEqual(expected.map(({ hash }) => hash));
      // One tick of the coarser clock of the two.
      const late = packaged.filter(({ pts }, index) => Math.abs(pts - (expected[index]?.pts ?? 0)) > 100);
      expect(late).toEqual([]);
      expect(rendition.segments.map(({ seconds }) => Math.round(seconds * 10) / 10)).toEqual([4, 4, 4]);
    }
    const decoded = await frames(join(scratch, '180p.mp4'), 'v', false);
    expect(decoded).toEqual(await frames(source, 'v', false));
  });

  test('as TS: every frame comes out again, and counters go on from segment to segment', async () => {
    const { out, title } = await pack([source], { container: 'ts', encryption: { rotateEvery: 1, iv: 'random' } });
    const keys = await contentKeys(join(out, 'keys.json'), dataKeys);
    const [rendition] = title.renditions;
    if (!rendition) throw new Error('the rendition is missing');
    const file = join(scratch, 'rendition.ts');
    const bytes = clearRendition(out, rendition, keys);
    writeFileSync(file, bytes);
    const pictures = async (path: string) => (await frames(path, 'v', false)).map(({ hash }) => hash);
    expect(await pictures(file)).toEqual(await pictures(source));
    const packets = async (path: string) => (await probe(path, 'packet=pts_time,stream_index')).packets?.length;
    // Without the one that primes.
    expect(await packets(file)).toBe(((await packets(source)) ?? 0) - 1);

    const last = new Map<number, number>();
    for (let at = 0; at < bytes.length; at += 188) {
      expect(bytes[at]).toBe(0x47);
      const pid = bytes.readUInt16BE(at + 1) & 0x1fff;
      const counter = (bytes[at + 3] ?? 0) & 15;
      const before = last.get(pid);
      if (before !== undefined && counter !== ((before + 1) & 15)) expect([pid, at, counter]).toEqual([]);
      last.set(pid, counter);
    }
  });

  test.each([
    ['H.264 and AAC', [], []],
    ['H.265 and AC-3', ['libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=none:open-gop=0'], ['ac3']],
    ['H.264 and E-AC-3', [], ['eac3']],
  ])(
    'a transport stream of %s has times as they should be, and ffmpeg nothing to complain of',
    async (_name, video, audio) => {
      const file = await makeMedia(join(scratch, 'codecs.mp4'), {
        seconds: 6,
        ...(video.length > 0 ? { video } : {}),
        ...(audio.length > 0 ? { audio } : {}),
      });
      const { out, title } = await pack([file], { container: 'ts' });
      const keys = await contentKeys(join(out, 'keys.json'), dataKeys);
      const stream = join(scratch, 'codecs.ts');
      for (const rendition of title.renditions) writeFileSync(stream, clearRendition(out, rendition, keys));
      expect(await complaints(stream)).toBe('');
      const { packets = [] } = await probe(stream, 'packet=pts,dts,stream_index');
      for (const [index, of] of ['0', '1']
        .map((each) => packets.filter(({ stream_index }) => `${stream_index}` === each))
        .entries()) {
        const decoded = of.map(({ dts }) => Number(dts));
        expect({ index, of: of.filter(({ pts, dts }) => Number(pts) < Number(dts)) }).toEqual({ index, of: [] });
        expect(decoded).toEqual([...new Set(decoded)].sort((a, b) => a - b));
      }
      const first = async (path: string, kind: 'v' | 'a') =>
        (await frames(path, kind, false)).find(({ pts }) => pts >= 0)?.pts ?? 0;
      const apart = async (path: string) => (await first(path, 'a')) - (await first(path, 'v'));
      // A packet of sound, of which a priming one is left out.
      expect(Math.abs((await apart(stream)) - (await apart(file)))).toBeLessThan(35_000);
      expect((await frames(stream, 'v', false)).map(({ hash }) => hash)).toEqual(
        (await frames(file, 'v', false)).map(({ hash }) => hash),
      );
    },
  );

  test('its playlists name everything relative to themselves, keys below the title', async () => {
    const { out, title } = await pack([source], { encryption: { rotateEvery: 2 } });
    const [table] = [JSON.parse(read(out, 'keys.json'))];
    const names = table.keys.map(({ name }: { name: string }) => name);
    expect(names).toHaveLength(2);
    expect(names.every((name: string) => /^[0-9a-f]{8}-[12]$/.test(name))).toBe(true);
    expect(read(out, '180p', 'index.m3u8').split('\n')).toEqual([
      '#EXTM3U',
      '#EXT-X-VERSION:7',
      '#EXT-X-TARGETDURATION:4',
      '#EXT-X-MEDIA-SEQUENCE:0',
      '#EXT-X-PLAYLIST-TYPE:VOD',
      '#EXT-X-INDEPENDENT-SEGMENTS',
      '#EXT-X-MAP:URI="init.mp4"',
      `#EXT-X-KEY:METHOD=AES-128,URI="../keys/${names[0]}.key"`,
      '#EXTINF:4,',
      'segment-00001.m4s',
      '#EXTINF:4,',
      'segment-00002.m4s',
      `#EXT-X-KEY:METHOD=AES-128,URI="../keys/${names[1]}.key"`,
      '#EXTINF:4,',
      'segment-00003.m4s',
      '#EXT-X-ENDLIST',
      '',
    ]);
    const [video, audio] = title.renditions;
    expect(read(out, 'master.m3u8').split('\n')).toEqual([
      '#EXTM3U',
      '#EXT-X-VERSION:7',
      '#EXT-X-INDEPENDENT-SEGMENTS',
      '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="audio",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="1",URI="audio/index.m3u8"',
      `#EXT-X-STREAM-INF:BANDWIDTH=${(video?.bandwidth ?? 0) + (audio?.bandwidth ?? 0)},` +
        `AVERAGE-BANDWIDTH=${(video?.averageBandwidth ?? 0) + (audio?.averageBandwidth ?? 0)},` +
        'CODECS="avc1.64000c,mp4a.40.2",RESOLUTION=320x180,FRAME-RATE=25.000,AUDIO="audio"',
      '180p/index.m3u8',
      '',
    ]);
    expect(await readTitle(out)).toEqual(title);
  });

  test('each key is of its segments: exact rotation, one for all renditions or one for each', async () => {
    const shared = await pack([source], { segmentSeconds: 2, encryption: { rotateEvery: 4 } });
    const keysOf = (title: typeof shared.title) =>
      title.renditions.map(({ segments }) => segments.map(({ encryption }) => encryption?.key.replace(/^\w{8}-/, '')));
    expect(keysOf(shared.title)).toEqual([
      ['1', '1', '1', '1', '2', '2'],
      ['1', '1', '1', '1', '2', '2'],
    ]);
    const each = await pack([source], { encryption: { perRendition: true } });
    expect(keysOf(each.title)).toEqual([
      ['180p-1', '180p-1', '180p-1'],
      ['audio-1', 'audio-1', 'audio-1'],
    ]);
    const keys = await contentKeys(join(each.out, 'keys.json'), dataKeys);
    const [video] = each.title.renditions;
    const swapped = new Map([...keys.keys()].map((name, index) => [name, [...keys.values()].reverse()[index]]));
    if (!video?.segments[0]) throw new Error('no segment');
    const [first] = video.segments;
    let opened: Buffer | undefined;
    try {
      opened = clearSegment(join(each.out, video.name), first, swapped as Map<string, Uint8Array>);
    } catch {}
    expect(opened?.includes('mdat') ?? false).toBe(false);
  });

  test('random vectors stand in the playlist, one a segment, and none comes twice', async () => {
    const { out, title } = await pack([source], { segmentSeconds: 2, encryption: { iv: 'random' } });
    const vectors = title.renditions.flatMap(({ segments }) => segments.map(({ encryption }) => encryption?.iv));
    expect(new Set(vectors).size).toBe(12);
    expect(keyTags(read(out, '180p', 'index.m3u8'))).toEqual(
      title.renditions[0]?.segments.map(
        ({ encryption }) => `#EXT-X-KEY:METHOD=AES-128,URI="../keys/${encryption?.key}.key",IV=0x${encryption?.iv}`,
      ),
    );
  });

  test('no key is in its folder in any form but under KMS, and no segment in clear', async () => {
    const { out } = await pack([source], { encryption: { rotateEvery: 1 } });
    const keys = [...(await contentKeys(join(out, 'keys.json'), dataKeys)).values()].map((key) => Buffer.from(key));
    expect(keys).toHaveLength(3);
    for (const file of readdirSync(out, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.'))) {
      const bytes = readFileSync(join(out, file));
      for (const key of keys) {
        const forms = [key, ...(['hex', 'base64', 'base64url'] as const).map((form) => key.toString(form))];
        expect(forms.some((form) => bytes.includes(form))).toBe(false);
      }
      if (file.endsWith('.m4s')) expect(bytes.includes('moof') || bytes.length % 16 !== 0).toBe(false);
    }
  });

  test('the key table may be kept outside, and not inside under another name', async () => {
    const keyTableFile = join(scratch, 'table.json');
    const { out } = await pack([source], { encryption: { keyTableFile } });
    expect(isThere(out, 'keys.json')).toBe(false);
    expect((await contentKeys(keyTableFile, dataKeys)).size).toBe(1);
    expect(await refusal([source], { encryption: { keyTableFile } })).toBe('ERR_PACKAGE_EXISTS');
    const [old] = (await contentKeys(keyTableFile, dataKeys)).keys();
    await pack([source], { force: true, encryption: { keyTableFile } }, out);
    const kept = [...(await contentKeys(keyTableFile, dataKeys)).keys()];
    expect(kept).toHaveLength(2);
    expect(kept[0]).toBe(old);
    const precious = join(scratch, 'precious.json');
    writeFileSync(precious, '{"keys":"of somebody"}');
    const over = { force: true, encryption: { keyTableFile: precious } };
    expect(await refusal([source], over)).toBe('ERR_PACKAGE_EXISTS');
    expect(read(precious)).toBe('{"keys":"of somebody"}');
    const folder = join(scratch, 'inside');
    const inside = pack([source], { encryption: { keyTableFile: join(folder, 'table.json') } }, folder);
    await expect(inside).rejects.toMatchObject({ code: 'ERR_PACKAGE_OPTIONS' });
    expect(isThere(folder)).toBe(false);
  });

  test('several sources are renditions, with one sound; one that is cut elsewhere is refused', async () => {
    const small = await makeMedia(join(scratch, 'small.mp4'), { size: '160x90' });
    const { title, out } = await pack([source, small], { encryption: { rotateEvery: 2 } });
    expect(title.renditions.map(({ name }) => name)).toEqual(['180p', '90p', 'audio']);
    expect(title.notes).toHaveLength(1);
    expect(read(out, 'master.m3u8').match(/^\d+p\/index.m3u8$/gm)).toEqual(['180p/index.m3u8', '90p/index.m3u8']);
    expect(read(out, '90p', 'index.m3u8')).toBe(read(out, '180p', 'index.m3u8'));
    const muxed = await pack([source, small], { container: 'ts' });
    expect(muxed.title.renditions.map(({ name, codecs }) => [name, codecs.length])).toEqual([
      ['180p', 2],
      ['90p', 2],
    ]);
    const other = await makeMedia(join(scratch, 'other.mp4'), { size: '160x90', gop: 75 });
    const short = await makeMedia(join(scratch, 'short.mp4'), { size: '160x90', seconds: 8 });
    expect(await refusal([source, other])).toBe('ERR_PACKAGE_RENDITIONS');
    expect(await refusal([source, short])).toBe('ERR_PACKAGE_RENDITIONS');
  });

  test('sound alone is a title too, and so is a picture alone', async () => {
    const sound = await makeMedia(join(scratch, 'sound.m4a'), { video: 'none' });
    const { title, out } = await pack([sound]);
    expect(title.renditions.map(({ type, segments }) => [type, segments.length])).toEqual([['audio', 3]]);
    expect(read(out, 'master.m3u8')).toContain('CODECS="mp4a.40.2"\naudio/index.m3u8');
    const silent = await makeMedia(join(scratch, 'silent.mp4'), { audio: 'none' });
    expect((await pack([silent])).title.renditions.map(({ type }) => type)).toEqual(['video']);
  });

  /** A picture and a sound of so many seconds, that begin at other times. */
  async function shifted(name: string, [from, seconds]: [number, number], [soundFrom, soundSeconds]: [number, number]) {
    const [picture, sound] = [join(scratch, `v-${name}`), join(scratch, `a-${name}`)];
    await makeMedia(picture, { audio: 'none', seconds });
    await makeMedia(sound, { video: 'none', seconds: soundSeconds });
    const file = join(scratch, name);
    const inputs = ['-itsoffset', `${from}`, '-i', picture, '-itsoffset', `${soundFrom}`, '-i', sound];
    await ffmpeg(...inputs, '-map', '0', '-map', '1', '-c', 'copy', file);
    return file;
  }

  test('sound that rounding put after the first picture begins with it: players see no hole', async () => {
    const rounded = await shifted('rounded.mp4', [0, 4], [0.0004, 4]);
    const { out, title } = await pack([rounded]);
    const keys = await contentKeys(join(out, 'keys.json'), dataKeys);
    const sounds = title.renditions.filter(({ type }) => type === 'audio');
    // Field baseMediaDecodeTime of tfdt (ISO/IEC 14496-12 §8.8.12).
    const begins = sounds.map((rendition) => {
      const file = clearRendition(out, rendition, keys);
      return file.readBigUInt64BE(file.indexOf('tfdt') + 8);
    });
    expect(begins).toEqual([0n]);
  });

  const lasts = (title: PackagedTitle) =>
    title.renditions.map(({ segments }) => segments.map(({ seconds }) => Math.round(seconds * 2) / 2));

  test('sound before the first picture is never dropped without a word', async () => {
    const early = await shifted('early.mp4', [5, 8], [0, 13]);
    for (const container of ['cmaf', 'ts'] as const) {
      expect(await refusal([early], { container })).toBe('ERR_PACKAGE_TRACK');
    }
    const late = await makeMedia(join(scratch, 'late.m4a'), {
      video: 'none',
      seconds: 8,
      more: ['-output_ts_offset', '10'],
    });
    const { title } = await pack([late]);
    expect(lasts(title)[0]?.slice(0, 2)).toEqual([4, 4]);
    expect(title.duration).toBeCloseTo(8, 1);
  });

  test('sound that goes on after the last picture is cut on, or refused where it has no stream of its own', async () => {
    const long = await shifted('long.mp4', [0, 4], [0, 14]);
    const { title, out } = await pack([long]);
    expect(lasts(title)).toEqual([[4], [4.5, 4, 4, 1.5]]);
    expect(title.targetDuration).toBe(4);
    const keys = await contentKeys(join(out, 'keys.json'), dataKeys);
    const file = join(scratch, 'long-sound.mp4');
    for (const rendition of title.renditions) writeFileSync(file, clearRendition(out, rendition, keys));
    const expected = (await frames(long, 'a', true)).filter(({ pts }) => pts >= 0);
    expect((await frames(file, 'a', true)).map(({ hash }) => hash)).toEqual(expected.map(({ hash }) => hash));
    expect(await refusal([long], { container: 'ts' })).toBe('ERR_PACKAGE_TRACK');
    const little = await shifted('little.mp4', [0, 2], [0, 4]);
    expect(lasts((await pack([little], { container: 'ts' })).title)).toEqual([[4]]);
  });

  test('a pause of sound is in its durations; one as long as a segment is refused', async () => {
    const pause = await shifted('pause.mp4', [0, 12], [2, 10]);
    expect(lasts((await pack([pause])).title)).toEqual([
      [4, 4, 4],
      [4, 4, 4],
    ]);
    const late = await shifted('late.mp4', [0, 14], [10, 4]);
    expect(await refusal([late])).toBe('ERR_PACKAGE_TRACK');
    const { out, title } = await pack([late], { container: 'ts' });
    const keys = await contentKeys(join(out, 'keys.json'), dataKeys);
    const tables = new Set<string>();
    for (const rendition of title.renditions) {
      const bytes = clearRendition(out, rendition, keys);
      for (let at = 0; at < bytes.length; at += 188) {
        const isTable = (bytes.readUInt16BE(at + 1) & 0x1fff) === 0x1000;
        if (isTable) tables.add(bytes.toString('hex', at + 4, at + 188));
      }
    }
    // The sound is announced from the first segment on.
    expect(tables.size).toBe(1);
  });

  test('film at 23.976 frames a second has segments of 4.004 s under a target of 4', async () => {
    const film = await makeMedia(join(scratch, 'film.mp4'), { rate: '24000/1001', gop: 48 });
    const { out, title } = await pack([film]);
    expect(
      read(out, '180p', 'index.m3u8')
        .match(/#EXTINF:(.*),/g)
        ?.slice(0, 2),
    ).toEqual(['#EXTINF:4.004,', '#EXTINF:4.004,']);
    expect(title.targetDuration).toBe(4);
    expect(title.renditions[0]?.frameRate).toBeCloseTo(23.976, 2);
  });

  test.each([
    ['half a second, of a source with B-frames', ['libx264', '-bf', '3'], 0.5],
    ['a single frame', ['libx264', '-bf', '0'], 0.04],
  ])('parts for low latency hold what their segment holds: %s', async (_name, codec, partSeconds) => {
    const video = [...codec, '-preset', 'ultrafast', '-pix_fmt', 'yuv420p'];
    const file = await makeMedia(join(scratch, 'parts.mp4'), { video, seconds: 8 });
    const { out, title } = await pack([file], { partSeconds });
    expect(await readTitle(out)).toEqual(title);
    const parts = title.renditions.flatMap(({ segments }) => segments.flatMap((segment) => segment.parts ?? []));
    const longest = Math.max(...parts.map(({ seconds }) => seconds));
    expect(title.partTarget).toBeGreaterThanOrEqual(longest);
    expect(title.partTarget).toBeLessThan(longest + 0.0011);
    const keys = await contentKeys(join(out, 'keys.json'), dataKeys);
    for (const rendition of title.renditions) {
      const folder = join(out, rendition.name);
      const [whole, pieces] = [join(scratch, 'whole.mp4'), join(scratch, 'pieces.mp4')];
      const init = readFileSync(join(folder, rendition.init ?? ''));
      const parts = rendition.segments.flatMap((segment) =>
        (segment.parts ?? []).map(({ file }) => clearSegment(folder, segment, keys, file)),
      );
      writeFileSync(pieces, Buffer.concat([init, ...parts]));
      writeFileSync(whole, clearRendition(out, rendition, keys));
      const stream = rendition.type === 'video' ? 'v' : 'a';
      expect(await frames(pieces, stream, true)).toEqual(await frames(whole, stream, true));
      const keyFrames = async (file: string) =>
        (await probe(file, 'packet=flags,pts')).packets?.map(({ flags, pts }) => [pts, flags?.startsWith('K')]);
      expect(await keyFrames(pieces)).toEqual(await keyFrames(whole));
      for (const segment of rendition.segments) {
        expect(segment.parts?.length).toBeGreaterThanOrEqual(8);
        // At most four frames, or one packet of sound, are missing from what a part could hold.
        expect(segment.parts?.length).toBeLessThanOrEqual(Math.ceil(4 / Math.max(partSeconds - 0.16, 0.02)));
        expect(segment.parts?.[0]?.isIndependent).toBe(true);
        expect(segment.parts?.reduce((sum, { seconds }) => sum + seconds, 0)).toBeCloseTo(segment.seconds, 5);
        for (const { seconds } of segment.parts ?? []) expect(seconds).toBeLessThan(partSeconds + 0.001);
      }
    }
  });

  test('what a viewer would miss, and what players do not take, is refused, and nothing is left', async () => {
    const subtitles = join(scratch, 'subtitles.srt');
    writeFileSync(subtitles, '1\n00:00:00,000 --> 00:00:02,000\nWords\n');
    const withText = join(scratch, 'text.mp4');
    await ffmpeg('-i', source, '-i', subtitles, '-map', '0', '-map', '1', '-c', 'copy', '-c:s', 'mov_text', withText);
    expect(await refusal([withText])).toBe('ERR_PACKAGE_TRACK');
    const twoPictures = join(scratch, 'two.mp4');
    await ffmpeg('-i', source, '-map', '0:v', '-map', '0:v', '-c', 'copy', twoPictures);
    expect(await refusal([twoPictures])).toBe('ERR_PACKAGE_TRACK');
    const twoSounds = join(scratch, 'sounds.mp4');
    await ffmpeg('-i', source, '-map', '0', '-map', '0:a', '-c', 'copy', twoSounds);
    expect(await refusal([twoSounds], { container: 'ts' })).toBe('ERR_PACKAGE_TRACK');
    expect((await pack([twoSounds])).title.renditions.map(({ name }) => name)).toEqual(['180p', 'audio', 'audio-2']);
    const old = await makeMedia(join(scratch, 'old.mp4'), { seconds: 2, video: ['mpeg4'] });
    expect(await refusal([old])).toMatch(/^ERR_PACKAGE_(?:CODEC|TRACK)$/);
    const pcm = await makeMedia(join(scratch, 'pcm.mov'), { seconds: 2, audio: ['pcm_s16le'] });
    expect(await refusal([pcm])).toBe('ERR_PACKAGE_CODEC');
    const sparse = await makeMedia(join(scratch, 'sparse.mp4'), { seconds: 8, gop: 250 });
    expect(await refusal([sparse])).toBe('ERR_PACKAGE_KEY_FRAMES');
    writeFileSync(join(scratch, 'noise.mp4'), Buffer.alloc(4096, 'noise'));
    expect(await refusal([join(scratch, 'noise.mp4')])).toBe('ERR_PACKAGE_SOURCE');
    writeFileSync(join(scratch, 'empty.mp4'), '');
    expect(await refusal([join(scratch, 'empty.mp4')])).toBe('ERR_PACKAGE_SOURCE');
    writeFileSync(join(scratch, 'cut.mp4'), readFileSync(source).subarray(0, 40_000));
    expect(await refusal([join(scratch, 'cut.mp4')])).toBe('ERR_PACKAGE_SOURCE');
    expect(await refusal([join(scratch, 'not-there.mp4')])).toBe('ERR_PACKAGE_SOURCE');
    expect(await refusal([source], { container: 'ts', partSeconds: 1 })).toBe('ERR_PACKAGE_OPTIONS');
  });

  test('what is there is replaced only when told so, and stays when packaging fails', async () => {
    const { out } = await pack([source]);
    const before = read(out, 'keys.json');
    await expect(pack([source], {}, out)).rejects.toMatchObject({ code: 'ERR_PACKAGE_EXISTS' });
    const failing = async () => {
      throw new Error('no key today');
    };
    const attempt = pack([source], { force: true, encryption: { newContentKey: failing } }, out);
    await expect(attempt).rejects.toThrow('no key today');
    expect(read(out, 'keys.json')).toBe(before);
    await pack([source], { force: true }, out);
    expect(read(out, 'keys.json')).not.toBe(before);
    expect(readdirSync(scratch).filter((name) => name.startsWith('.'))).toEqual([]);
    writeFileSync(join(scratch, 'file'), '');
    await expect(pack([source], { force: true }, join(scratch, 'file'))).rejects.toMatchObject({
      code: 'ERR_PACKAGE_EXISTS',
    });
    const precious = join(scratch, 'masters');
    mkdirSync(precious);
    writeFileSync(join(precious, 'mezzanine.mp4'), '');
    for (const content of [undefined, '{"format":"something else"}']) {
      if (content) writeFileSync(join(precious, 'packaging.json'), content);
      const over = pack([source], { force: true }, precious);
      await expect(over).rejects.toMatchObject({ code: 'ERR_PACKAGE_EXISTS' });
      expect(isThere(precious, 'mezzanine.mp4')).toBe(true);
    }
    const underFile = pack([source], {}, join(scratch, 'file', 'title'));
    await expect(underFile).rejects.toMatchObject({ code: 'ERR_PACKAGE_OUTPUT' });
  });

  test('folders above the title are made', async () => {
    const below = join(scratch, 'no', 'such', 'folder');
    await pack([source], {}, below);
    expect(isThere(below, 'master.m3u8')).toBe(true);
  });

  test('it tells how far it is, and stops when told so', async () => {
    const told: number[] = [];
    await pack([source], { onProgress: (done, total) => told.push(done / total) });
    expect(told.length).toBe(3);
    expect(told).toEqual([...told].sort((a, b) => a - b));
    expect(told.at(-1)).toBeCloseTo(1, 1);
    const controller = new AbortController();
    const stopped = pack([source], { signal: controller.signal, onProgress: () => controller.abort() });
    await expect(stopped).rejects.toThrow();
    expect(readdirSync(scratch).filter((name) => name.startsWith('.'))).toEqual([]);
  });
});
