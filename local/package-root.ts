import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** Where the package lies, from the sources and from `dist/lib` alike. */
const root = dirname(createRequire(import.meta.url).resolve('portcullis/package.json'));

/** Absolute path of something the package ships, `dist/edge/manifest.json`. */
export function packagePath(...parts: string[]): string {
  return join(root, ...parts);
}
