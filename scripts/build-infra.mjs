// Bundles dist/infra/app.mjs, the CDK app with the configuration's schema; the packages stay outside.
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

await build({
  absWorkingDir: fileURLToPath(new URL('..', import.meta.url)),
  entryPoints: ['infra/app.ts'],
  outfile: 'dist/infra/app.mjs',
  bundle: true,
  packages: 'external',
  format: 'esm',
  platform: 'node',
  target: 'node20',
  logLevel: 'warning',
});
process.stderr.write('  infra/app.mjs\n');
