// Bundles dist/lib/token-api/index.js, with all that it imports, into one file that needs nothing but node:crypto: what
// `import … from 'portcullis/token-api'` loads. And its declarations, which name no other module either.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { rollup } from 'rollup';
import { dts } from 'rollup-plugin-dts';

const path = (relative) => fileURLToPath(new URL(`../${relative}`, import.meta.url));

/** Refuses a bundle that would not load, or not type-check, where nothing else is installed. */
function checkImports(name, imports, allowed) {
  const others = imports.filter((module) => !allowed.includes(module));
  if (others.length > 0) throw new Error(`${name} must not import ${others.join(', ')}`);
}

const { metafile } = await build({
  entryPoints: [path('dist/lib/token-api/index.js')],
  outfile: path('dist/token-api/index.js'),
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // Its licence wants to stand in every copy.
  footer: { js: `/*!\nvalibot, bundled above:\n\n${readFileSync(path('node_modules/valibot/LICENSE.md'), 'utf8')}*/` },
  metafile: true,
  logLevel: 'warning',
});
const [{ bytes, imports }] = Object.values(metafile.outputs);
checkImports(
  'dist/token-api/index.js',
  imports.map(({ path: module }) => module),
  ['node:crypto'],
);

const declarations = await rollup({ input: path('dist/lib/token-api/index.d.ts'), plugins: [dts()] });
const { output } = await declarations.generate({ format: 'es' });
await declarations.close();
checkImports('dist/token-api/index.d.ts', output[0].imports, []);
writeFileSync(path('dist/token-api/index.d.ts'), output[0].code);
process.stderr.write(`  token-api/index.js: ${bytes} bytes\n`);
