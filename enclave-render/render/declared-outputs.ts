import { RenderError } from './render-manifest.ts';
import type { RenderTask } from './render-task.ts';
import type { SandboxOutput } from './sandbox.ts';

const OUT = '/out/';
/** Digits in a name: `%d`, `%04d` (ffmpeg), `####` (Blender, which adds an extension). */
const NUMBER = /%(?:0\d{1,2})?d|#+/;

/**
 * Holds what a renderer left to what the owner's template says: files that its arguments name, and of numbered ones a row without gaps.
 * Names go to the parent in clear, so that a renderer which was taken over by its media could otherwise write plaintext into them.
 * Throws `ERR_RENDER_TASK`.
 */
export function requireDeclared(
  { renderer, args }: Pick<RenderTask, 'renderer' | 'args'>,
  outputs: readonly SandboxOutput[],
): void {
  // Packaging is part of the agent, which makes the names.
  if (renderer === 'package-hls') return;
  const rest = new Set(outputs.map(({ name }) => name));
  for (const name of args.filter((arg) => arg.startsWith(OUT)).map((arg) => arg.slice(OUT.length))) {
    const number = NUMBER.exec(name)?.[0];
    if (number === undefined) {
      rest.delete(name);
      continue;
    }
    const [before = '', after = ''] = name.split(number);
    const extension = renderer === 'blender' ? '\\.(?:png|jpg|bmp|tga|tif|exr)' : '';
    const pattern = new RegExp(`^${literal(before)}(\\d{1,9})${literal(after)}${extension}$`);
    const numbered = [...rest].filter((one) => pattern.test(one));
    const numbers = numbered.map((one) => Number(pattern.exec(one)?.[1])).sort((a, b) => a - b);
    if (numbers.some((value, index) => value !== (numbers[0] ?? 0) + index)) {
      throw new RenderError('ERR_RENDER_TASK', 'numbered outputs have gaps');
    }
    for (const one of numbered) rest.delete(one);
  }
  if (rest.size > 0) throw new RenderError('ERR_RENDER_TASK', 'the renderer left a file that no argument names');
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
