// Bundles dist/infra/app.mjs, the CDK app with the configuration's schema; the packages stay outside. And dist/infra/documents.cjs,
// the policies and scripts that capabilities have for AWS, for the app to take as they were built.
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const common = {
  absWorkingDir: fileURLToPath(new URL('..', import.meta.url)),
  bundle: true,
  platform: 'node',
  target: 'node20',
  logLevel: 'warning',
};
await build({
  ...common,
  entryPoints: ['infra/app.ts'],
  outfile: 'dist/infra/app.mjs',
  packages: 'external',
  format: 'esm',
});
await build({
  ...common,
  entryPoints: ['enclave-render/aws-documents.ts'],
  outfile: 'dist/infra/documents.cjs',
  format: 'cjs',
});
process.stderr.write('  infra/app.mjs, infra/documents.cjs\n');
