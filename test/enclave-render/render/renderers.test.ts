import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { KeyTable } from '../../../enclave-render/packaging/key-table.ts';
import { movieSeconds } from '../../../enclave-render/packaging/mp4-movie.ts';
import { readTitle } from '../../../enclave-render/packaging/title.ts';
import { expandTemplate } from '../../../enclave-render/render/job-template.ts';
import { contentKeysForOwner, contentKeysToKms } from '../../../enclave-render/render/owner-content-keys.ts';
import { ffmpegProgress, ffmpegSeconds } from '../../../enclave-render/render/renderers/ffmpeg.ts';
import { splitTemplate } from '../../../enclave-render/render/split-template.ts';
import { AWS_KEY, awsLikeDataKeys } from '../../harness/data-keys.ts';
import {
  clearRendition,
  complaints,
  contentKeys,
  describeWithFfmpeg,
  ffmpeg,
  frames,
  makeMedia,
  probe,
} from '../../harness/media.ts';
import { isOnPath, LONG } from '../../harness/programs.ts';
import { readTemplate, runTasks } from '../../harness/render-job.ts';
import { removeDirectory, temporaryDirectory } from '../../harness/stack.ts';

let folder: string;
let source: string;
beforeAll(async () => {
  folder = temporaryDirectory();
  if (isOnPath('ffmpeg')) source = await makeMedia(join(folder, 'source.mov'), { seconds: 5, gop: 250 });
});
afterAll(() => removeDirectory(folder));

const made = (name: string) => {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  return path;
};
const FFMPEG_JOB = (args: string[]) => ({
  specificationVersion: 'jobtemplate-2023-09',
  name: 'One',
  parameterDefinitions: [
    { name: 'Source', type: 'PATH', objectType: 'FILE', dataFlow: 'IN' },
    { name: 'Text', type: 'STRING', default: 'a' },
  ],
  steps: [{ name: 'one', script: { actions: { onRun: { command: 'ffmpeg', args } } } }],
});

describeWithFfmpeg('templates of ffmpeg', () => {
  const inputs = () => [{ name: 'Source', fileName: 'source.mov', path: source }];

  test('compose, grade and burn in, the same bytes every time', async () => {
    const overlay = join(folder, 'overlay.png');
    await ffmpeg('-f', 'lavfi', '-i', 'color=red:size=64x32', '-frames:v', '1', overlay);
    // A look that swaps red and blue: its two points an axis are the corners of the cube.
    const look = join(folder, 'look.cube');
    const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => `${n >> 2} ${(n >> 1) & 1} ${n & 1}`);
    writeFileSync(look, `LUT_3D_SIZE 2\n${corners.join('\n')}\n`);
    const files = [
      { name: 'Plate', fileName: 'plate.mov', path: source },
      { name: 'Overlay', fileName: 'overlay.png', path: overlay },
      { name: 'Look', fileName: 'look.cube', path: look },
    ];
    const parameters = { Text: "Ann O'Hara: 50 % [x], {1}", OverlayX: 8, OverlayY: 16, Saturation: 0.9 };
    const tasks = expandTemplate(readTemplate('finish'), parameters, files);
    for (const run of ['finish-1', 'finish-2']) await runTasks(made(run), tasks, files);
    const [one, other] = ['finish-1', 'finish-2'].map((run) => readFileSync(join(folder, run, 'finish', 'title.mp4')));
    expect(one?.equals(other ?? Buffer.alloc(0))).toBe(true);
    expect(one?.includes('Lavf')).toBe(false);
    const file = join(folder, 'finish-1', 'finish', 'title.mp4');
    const { streams } = await probe(file, 'stream=codec_name,width,height,nb_frames');
    expect(streams).toMatchObject([
      { codec_name: 'h264', width: 320, height: 180, nb_frames: '125' },
      { codec_name: 'aac' },
    ]);
    // The red still is blue by the look.
    const raw = join(folder, 'pixel.rgb');
    await ffmpeg('-i', file, '-vf', 'crop=2:2:40:30', '-frames:v', '1', '-pix_fmt', 'rgb24', '-f', 'rawvideo', raw);
    const [red = 0, , blue = 0] = readFileSync(raw);
    expect(blue).toBeGreaterThan(150);
    expect(red).toBeLessThan(80);
  });

  test('transcode a mezzanine, with key frames where they were asked for', async () => {
    const tasks = expandTemplate(readTemplate('transcode'), { Height: 90, KeyFrames: 25 }, inputs());
    await runTasks(made('transcode'), tasks, inputs());
    const file = join(folder, 'transcode', 'transcode', 'title.mp4');
    const { packets = [] } = await probe(file, 'packet=flags,stream_index');
    const pictures = packets.filter(({ stream_index }) => Number(stream_index) === 0);
    expect(
      pictures.map(({ flags }, index) => (flags?.includes('K') ? index : -1)).filter((index) => index >= 0),
    ).toEqual([0, 25, 50, 75, 100]);
  });

  test('draw any text as it is', async () => {
    const special = [...`:'"\\,;[]{}%=@|$\`()#~!?*&^<>/-_+. `];
    const unit = fc.oneof(
      fc.constantFrom(...special),
      fc.constantFrom('a', 'n', 'é', '日', 'ß', '🜁', '\u0301'),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    );
    const hostile = fc.string({ unit, minLength: 1, maxLength: 40 }).filter((text) => /^[^\p{Cc}\p{Cs}]+$/u.test(text));
    const known = [
      '%{localtime}',
      '%{eif:1:d}',
      "'",
      "\\'",
      '\\',
      ' a ',
      ':x=9',
      ',movie=a',
      '];[',
      'expansion=normal',
      '\\n',
      '%%',
    ];
    const drawn = made('drawn');
    const check = async (texts: string[]) => {
      const [escaped, plain] = await Promise.all(
        [true, false].map(async (isEscaped) => {
          const filters = texts.map((text, index) => {
            const place = `fontfile=/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf:fontcolor=white:fontsize=16:y=${20 * index}`;
            if (isEscaped) {
              const graph = `drawtext=expansion=none:text={{Param.Text}}:${place}`;
              const job = FFMPEG_JOB(['-i', '{{Param.Source}}', '-vf', graph, '/out/a.mov']);
              const [task] = expandTemplate(job, { Text: text }, inputs());
              return task?.args[task.args.indexOf('-vf') + 1] ?? '';
            }
            writeFileSync(join(drawn, `${index}.txt`), text);
            return `drawtext=expansion=none:textfile=${join(drawn, `${index}.txt`)}:${place}`;
          });
          return ffmpeg(
            '-f',
            'lavfi',
            '-i',
            'color=black:size=640x240',
            '-vf',
            filters.join(','),
            '-frames:v',
            '1',
            '-f',
            'framemd5',
            '-',
          );
        }),
      );
      expect(escaped).toBe(plain);
    };
    await check(known);
    const nothing = await ffmpeg(
      '-f',
      'lavfi',
      '-i',
      'color=black:size=640x240',
      '-frames:v',
      '1',
      '-f',
      'framemd5',
      '-',
    );
    expect(
      await ffmpeg(
        '-f',
        'lavfi',
        '-i',
        'color=black:size=640x240',
        '-vf',
        'drawtext=text=a:fontcolor=white',
        '-frames:v',
        '1',
        '-f',
        'framemd5',
        '-',
      ),
    ).not.toBe(nothing);
    await fc.assert(fc.asyncProperty(fc.array(hostile, { minLength: 8, maxLength: 8 }), check), {
      numRuns: LONG ? 200 : 4,
    });
  });

  test('split a long source into tasks, and join the parts to what one pass would have shown', async () => {
    const template = splitTemplate({ seconds: 5, partSeconds: 2, sound: true });
    const tasks = expandTemplate(template, { Crf: 10, Height: 180 }, inputs());
    expect(tasks.map(({ id, delivered }) => `${id} ${delivered}`)).toEqual([
      'part.1 false',
      'part.2 false',
      'part.3 false',
      'sound false',
      'join true',
    ]);
    await runTasks(made('split'), tasks, inputs());
    const file = join(folder, 'split', 'join', 'title.mp4');
    const [joined, original] = [await frames(file, 'v', false), await frames(source, 'v', false)];
    const first = joined[0]?.pts ?? Number.NaN;
    expect(joined.map(({ pts }) => pts - first)).toEqual(original.map(({ pts }) => pts - (original[0]?.pts ?? 0)));
    expect(await complaints(file)).toBe('');
    // No frame twice, none left out: each is closest to its own.
    const log = join(folder, 'psnr.log');
    await ffmpeg('-i', file, '-i', source, '-lavfi', `[0:v][1:v]psnr=stats_file=${log}`, '-f', 'null', '-');
    const quality = [...readFileSync(log, 'utf8').matchAll(/psnr_avg:(\S+)/g)].map(([, value]) => Number(value));
    expect(quality).toHaveLength(125);
    expect(Math.min(...quality)).toBeGreaterThan(35);
    const { streams = [] } = await probe(file, 'stream=codec_name,duration');
    expect(streams.map(({ codec_name }) => codec_name)).toEqual(['h264', 'aac']);
  });

  test('package what was encoded into HLS whose keys only its owner can put under a key of KMS', async () => {
    const newOwner = () => generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const owner = newOwner();
    const parameters = { Text: 'Ann Example', SegmentSeconds: 2, RotateEvery: 1 };
    const tasks = expandTemplate(readTemplate('screener'), parameters, inputs());
    const out = made('screener');
    await runTasks(out, tasks, inputs(), contentKeysForOwner(owner.publicKey));
    const title = join(out, 'package');
    expect(readdirSync(out).sort()).toEqual(['encode.1', 'encode.2', 'package']);
    const packaged = await readTitle(title);
    expect(packaged.encryption).toBe('aes-128');
    expect(packaged.renditions.filter(({ type }) => type === 'video').map(({ height }) => height)).toEqual([360, 180]);

    const table: KeyTable = JSON.parse(readFileSync(join(title, 'keys.json'), 'utf8'));
    expect(table.keys.length).toBeGreaterThan(1);
    const kms = awsLikeDataKeys();
    const [first, second] = table.keys;
    if (!first || !second) throw new Error('no keys');
    const changed = { ...first, encryptedKey: `A${first.encryptedKey.slice(1)}` };
    for (const [keys, key] of [
      [[first], newOwner().privateKey],
      [[{ ...first, keyId: AWS_KEY }], owner.privateKey],
      [[second, changed], owner.privateKey],
    ] as const) {
      await expect(contentKeysToKms({ ...table, keys: [...keys] }, key, kms, AWS_KEY)).rejects.toMatchObject({
        code: 'ERR_RENDER_KEY',
      });
    }

    writeFileSync(
      join(title, 'keys.json'),
      JSON.stringify(await contentKeysToKms(table, owner.privateKey, kms, AWS_KEY)),
    );
    const keys = await contentKeys(join(title, 'keys.json'), kms);
    const [rendition] = packaged.renditions;
    if (!rendition) throw new Error('no rendition');
    const clear = join(folder, 'clear.mp4');
    writeFileSync(clear, clearRendition(title, rendition, keys));
    expect(await complaints(clear)).toBe('');
    expect(await frames(clear, 'v', false)).toHaveLength(125);
  });

  test('a task of packaging fails when what it packages was not left, and leaves nothing', async () => {
    const tasks = expandTemplate(readTemplate('screener'), { Text: 'a' }, inputs()).slice(-1);
    const out = made('nothing');
    const { publicKey } = generateKeyPairSync('x25519');
    await expect(runTasks(out, tasks, [], contentKeysForOwner(publicKey))).rejects.toMatchObject({
      code: 'ERR_RENDER_TASK',
    });
    expect(readdirSync(out)).toEqual([]);
  });
});

describeWithFfmpeg('media that is not what its name says', () => {
  let requests = 0;
  const server = createServer((_, response) => {
    requests++;
    response.end();
  });
  let url: string;
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => server.close());

  test.each<[string, () => string]>([
    ['a playlist of an address', () => `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n${url}/a.ts\n#EXT-X-ENDLIST\n`],
    ['a playlist of a file', () => `#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://${source}\n#EXT-X-ENDLIST\n`],
    ['a list to join', () => `ffconcat version 1.0\nfile '${source}'\n`],
    [
      'a manifest of DASH',
      () =>
        `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation><BaseURL>${url}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>`,
    ],
    [
      'a description of a session',
      () => 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n',
    ],
    ['nothing', () => ''],
  ])('leads nowhere: %s', async (name, content) => {
    const path = join(folder, `hostile-${name.replaceAll(' ', '-')}`);
    writeFileSync(path, content());
    const files = [{ name: 'Source', fileName: 'title.mp4', path }];
    const tasks = expandTemplate(FFMPEG_JOB(['-i', '{{Param.Source}}', '-c', 'copy', '/out/a.mov']), {}, files);
    await expect(runTasks(made('hostile'), tasks, files)).rejects.toMatchObject({ code: 'ERR_RENDER_TASK' });
    expect(requests).toBe(0);
  });
});

const hasBlender = isOnPath('blender');
describe.skipIf(!hasBlender)(hasBlender ? 'Blender' : 'Blender (needs blender, which is not installed)', () => {
  test('renders frames of a scene, a task each', async () => {
    // The scene of its factory settings, saved by itself.
    const { execFileSync } = await import('node:child_process');
    const scene = join(folder, 'scene.blend');
    const save = `import bpy; bpy.context.scene.render.resolution_percentage = 5; bpy.ops.wm.save_as_mainfile(filepath=${JSON.stringify(scene)})`;
    execFileSync('blender', ['--background', '--factory-startup', '--python-expr', save]);
    const files = [{ name: 'Scene', fileName: 'scene.blend', path: scene }];
    const tasks = expandTemplate(readTemplate('frames'), { Last: 2 }, files);
    await runTasks(made('frames'), tasks, files);
    expect(readdirSync(join(folder, 'frames', 'frames.2'))).toEqual(['frame-0002.png']);
  });
});

describe('progress of ffmpeg', () => {
  test.each([
    ['frame=3\nout_time_us=1500000\nprogress=continue\n', 1.5],
    ['out_time_us=1000000\nout_time_us=2000000\n', 2],
    ['out_time_us=N/A\n', undefined],
    ['', undefined],
  ])('%j', (text, seconds) => {
    expect(ffmpegProgress(text)).toBe(seconds);
  });
});

test.each([
  [['-i', '/in/a.mov', '/out/a.mp4'], 12.5, 12.5],
  [['-i', '/in/a.mov', '/out/a.mp4'], undefined, undefined],
  [['-ss', '10', '-t', '5', '-i', '/in/a.mov', '/out/a.mp4'], undefined, 5],
  [['-ss', '10', '-t', '5', '-i', '/in/a.mov', '/out/a.mp4'], 12, 2],
  [['-ss', '10', '-i', '/in/a.mov', '/out/a.mp4'], 10, undefined],
  [['-i', '/in/a.mov', '-t', '00:00:05', '/out/a.mp4'], 12, undefined],
])('ffmpeg %j of %s seconds is about %s', (args, input, seconds) => {
  expect(ffmpegSeconds(args, input)).toBe(seconds);
});

describe('the length of a movie', () => {
  const box = (type: string, ...content: Buffer[]) => {
    const header = Buffer.alloc(8);
    header.writeUInt32BE(8 + Buffer.concat(content).length);
    return Buffer.concat(
      [header, Buffer.from(type), ...content].map((part, at) => (at === 0 ? part.subarray(0, 4) : part)),
    );
  };
  const numbers = (...values: number[]) =>
    Buffer.concat(
      values.map((value) => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32BE(value);
        return bytes;
      }),
    );
  const secondsOf = (bytes: Buffer) => {
    let reads = 0;
    const read = async (offset: number, length: number) => {
      if (++reads > 1e5) throw new Error('reads for ever');
      return bytes.subarray(offset, offset + length);
    };
    return movieSeconds({ size: bytes.length, read });
  };

  test.each<[string, Buffer, number | undefined]>([
    ['32 bits', box('moov', box('mvhd', numbers(0, 1, 2, 1000, 2500))), 2.5],
    ['64 bits', box('moov', box('free'), box('mvhd', numbers(1 << 24, 0, 1, 0, 2, 1000, 1, 0))), 2 ** 32 / 1000],
    [
      'behind the media',
      Buffer.concat([
        box('ftyp', numbers(1)),
        box('mdat', numbers(2)),
        box('moov', box('mvhd', numbers(0, 1, 2, 10, 25))),
      ]),
      2.5,
    ],
    ['no scale', box('moov', box('mvhd', numbers(0, 1, 2, 0, 2500))), undefined],
    ['no length', box('moov', box('mvhd', numbers(0, 1, 2, 1000, 0))), undefined],
    ['an unknown length', box('moov', box('mvhd', numbers(0, 1, 2, 1000, 0xffff_ffff))), undefined],
    ['half a header', box('moov', box('mvhd', numbers(0, 1))), undefined],
    ['a box that is longer than the file', numbers(100, 0x6d6f6f76), undefined],
    ['empty boxes without end', Buffer.concat(Array<Buffer>(100_000).fill(box('free'))), undefined],
    ['nothing', Buffer.alloc(0), undefined],
  ])('%s', async (_, bytes, seconds) => {
    expect(await secondsOf(bytes)).toBe(seconds);
  });
});

describe('a template that splits', () => {
  test.each([
    { seconds: 0, partSeconds: 1 },
    { seconds: 10, partSeconds: 0 },
    { seconds: 1.5, partSeconds: 1 },
    { seconds: 10_000, partSeconds: 1 },
    { seconds: Number.NaN, partSeconds: 1 },
  ])('is not made of %j', (request) => {
    expect(() => splitTemplate({ ...request, sound: false })).toThrow(
      expect.objectContaining({ code: 'ERR_RENDER_TEMPLATE' }),
    );
  });

  test('has one part for a short source', () => {
    const tasks = expandTemplate(splitTemplate({ seconds: 1, partSeconds: 60, sound: false }), {}, [
      { name: 'Source', fileName: 'a.mov' },
    ]);
    expect(tasks.map(({ id }) => id)).toEqual(['part.1', 'join']);
  });
});
