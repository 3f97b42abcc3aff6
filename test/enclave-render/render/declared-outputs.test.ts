import { expect, test } from 'vitest';
import { requireDeclared } from '../../../enclave-render/render/declared-outputs.ts';
import type { Renderer } from '../../../enclave-render/render/render-task.ts';

const check = (renderer: Renderer, args: string[], names: string[]) =>
  requireDeclared(
    { renderer, args },
    names.map((name) => ({ name, fd: 0, bytes: 1 })),
  );
const refused = expect.objectContaining({ name: 'RenderError', code: 'ERR_RENDER_TASK' });

test('what the arguments name may be left, in any number, and may be missing', () => {
  check('ffmpeg', ['-i', '/in/a.mp4', '/out/title.mp4'], ['title.mp4']);
  check('ffmpeg', ['-i', '/in/a.mp4', '/out/title.mp4'], []);
  check(
    'ffmpeg',
    ['/out/frames/f-%04d.png', '/out/sound.wav'],
    ['frames/f-0007.png', 'frames/f-0008.png', 'sound.wav'],
  );
  check('blender', ['-o', '/out/frame-####', '-f', '1..2'], ['frame-0001.png', 'frame-0002.png']);
  check('package-hls', [], ['master.m3u8', 'anything.m4s']);
});

test.each<[string, Renderer, string[], string[]]>([
  ['plaintext in a name', 'ffmpeg', ['/out/title.mp4'], ['title.mp4', 'c2VjcmV0.txt']],
  ['a manifest in the place of ours', 'ffmpeg', ['/out/title.mp4'], ['title.mp4', 'title.mp4.manifest.json']],
  ['a dot that stands for anything', 'ffmpeg', ['/out/title.mp4'], ['titleXmp4']],
  ['numbers that are a message', 'ffmpeg', ['/out/%d.png'], ['1.png', '83.png', '101.png']],
  ['the same number in two ways', 'ffmpeg', ['/out/%d.png'], ['1.png', '01.png']],
  ['a number that is none', 'ffmpeg', ['/out/%04d.png'], ['secret.png']],
  ['another extension', 'blender', ['-o', '/out/f-##'], ['f-01.blend']],
  ['a file where no argument names any', 'ffmpeg', ['-f', 'null', '-'], ['a']],
])('refuses %s', (_what, renderer, args, names) => {
  expect(() => check(renderer, args, names)).toThrow(refused);
});
