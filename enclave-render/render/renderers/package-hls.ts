import { templateError } from '../template-schema.ts';
import type { RendererRules } from './renderer-rules.ts';

/** What a task packages, and how. */
export interface PackageArguments {
  /** Files in `/in`, one a rendition. */
  sources: string[];
  container: 'cmaf' | 'ts';
  /** Whole seconds. */
  segmentSeconds: number;
  /** Segments of a content key; all without it. */
  rotateEvery: number | undefined;
}

const SOURCE = /^\/in\/[A-Za-z0-9][\w.-]*(?:\/[A-Za-z0-9][\w.-]*)*$/;

/** Packaging into encrypted HLS, which is part of the agent and needs no program: options, then sources. */
export const PACKAGE_HLS: RendererRules = {
  embed: (text) => text,
  prepare(args, path) {
    packageArguments(args, path);
    return [...args];
  },
};

/** Reads the arguments of `package-hls`. Throws `ERR_RENDER_TEMPLATE` with the path of the offending one. */
export function packageArguments(args: readonly string[], path = 'args'): PackageArguments {
  const read: PackageArguments = { sources: [], container: 'cmaf', segmentSeconds: 6, rotateEvery: undefined };
  for (let at = 0; at < args.length; at++) {
    const text = args[at] ?? '';
    const refuse = (why: string) => {
      throw templateError(`${path}.${at}`, why);
    };
    const whole = (most: number): number => {
      const value = args[++at] ?? '';
      if (!/^[1-9]\d{0,5}$/.test(value) || Number(value) > most) refuse(`has to be a number from 1 to ${most}`);
      return Number(value);
    };
    if (text === '--segment-seconds') read.segmentSeconds = whole(60);
    else if (text === '--rotate-every') read.rotateEvery = whole(100_000);
    else if (text === '--container') {
      const value = args[++at];
      if (value !== 'cmaf' && value !== 'ts') return refuse('has to be cmaf or ts');
      read.container = value;
    } else if (SOURCE.test(text)) read.sources.push(text);
    else refuse('is none of --segment-seconds, --rotate-every, --container, and no file in /in');
  }
  if (read.sources.length === 0) throw templateError(path, 'have no source: name a file in /in');
  return read;
}
