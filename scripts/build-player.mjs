// Builds dist/player: the renewal plugin as one ESM file for browsers, with its types.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { rollup } from 'rollup';
import { dts } from 'rollup-plugin-dts';

const root = new URL('..', import.meta.url);
const pathOf = (name) => fileURLToPath(new URL(name, root));
const output = pathOf('dist/player/renewal.js');

// Televisions have browsers of 2020.
await build({
  entryPoints: [pathOf('token-api/player/index.ts')],
  bundle: true,
  format: 'esm',
  minify: true,
  target: 'es2020',
  outfile: output,
});
const types = await rollup({ input: pathOf('dist/lib/token-api/player/index.d.ts'), plugins: [dts()] });
await types.write({ file: pathOf('dist/player/renewal.d.ts') });

const code = readFileSync(output);
process.stderr.write(`  renewal.js: ${code.length} bytes, ${gzipSync(code, { level: 9 }).length} with gzip\n`);
