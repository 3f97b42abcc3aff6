import type { Renderer } from '../render-task.ts';
import { BLENDER } from './blender.ts';
import { FFMPEG } from './ffmpeg.ts';
import { PACKAGE_HLS } from './package-hls.ts';
import type { RendererRules } from './renderer-rules.ts';

/** Commands that a step may run. */
export const RENDERERS: Readonly<Record<Renderer, RendererRules>> = {
  ffmpeg: FFMPEG,
  blender: BLENDER,
  'package-hls': PACKAGE_HLS,
};
