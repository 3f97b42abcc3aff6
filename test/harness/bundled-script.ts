import { writeFileSync } from 'node:fs';
import { build } from 'esbuild';
import { packagePath } from '../../local/package-root.ts';

/**
 * Writes a script that imports sources of the project by their path, such as './enclave-render/…', bundled for a
 * process of its own.
 */
export async function bundleScript(path: string, contents: string): Promise<void> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: packagePath() },
    bundle: true,
    platform: 'node',
    target: 'node20',
    format: 'esm',
    write: false,
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
  writeFileSync(path, outputFiles[0]?.contents ?? '');
}
