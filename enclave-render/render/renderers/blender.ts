import { templateError } from '../template-schema.ts';
import type { RendererRules } from './renderer-rules.ts';

/** Options that templates may use (blender --help), and what their values are. None runs Python or loads an add-on. */
const VALUES: Readonly<Record<string, RegExp>> = {
  /** Where frames go: `#` stands for digits of the frame's number. */
  '-o': /^\/out\/[A-Za-z0-9][\w.#-]*$/,
  '-F': /^(?:PNG|JPEG|BMP|TGA|TIFF|OPEN_EXR|OPEN_EXR_MULTILAYER)$/,
  '-x': /^[01]$/,
  '-E': /^(?:CYCLES|BLENDER_EEVEE|BLENDER_EEVEE_NEXT|BLENDER_WORKBENCH)$/,
  '-S': /^[\w .]{1,63}$/,
  '-t': /^\d{1,3}$/,
  /** Frames, one, several or a range. */
  '-f': /^\d{1,6}(?:\.\.\d{1,6})?(?:,\d{1,6}(?:\.\.\d{1,6})?)*$/,
};

/** No window, no sound, no settings of a user, and no Python that a scene brings along. */
const ALWAYS = ['--background', '--factory-startup', '--disable-autoexec', '-noaudio'];
const SCENE = /^\/in\/[A-Za-z0-9][\w./-]*\.blend$/;

/** Blender: a scene, then options, of which the last is the frames. Blender takes them in their order. */
export const BLENDER: RendererRules = {
  embed: (text) => text,
  prepare(args, path) {
    const [scene, ...options] = args;
    if (!scene || !SCENE.test(scene)) throw templateError(`${path}.0`, 'is no scene in /in: name a .blend file first');
    for (let at = 0; at < options.length; at += 2) {
      const [name = '', value] = options.slice(at, at + 2);
      const allowed = Object.hasOwn(VALUES, name) ? VALUES[name] : undefined;
      if (!allowed)
        throw templateError(`${path}.${at + 1}`, `is none of the options: ${Object.keys(VALUES).join(' ')}`);
      if (value === undefined || !allowed.test(value)) {
        throw templateError(`${path}.${at + 2}`, `is no value of ${name}: see docs/render-jobs.md`);
      }
    }
    if (!options.includes('-o') || options.at(-2) !== '-f') {
      throw templateError(path, 'say where frames go with -o /out/NAME-####, and which with -f FRAMES, last');
    }
    return [...ALWAYS, scene, ...options];
  },
};
