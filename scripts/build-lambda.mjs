// Bundles dist/lambda/<name>/index.mjs, each handler with all that it imports, the AWS SDK too: what runs is what was tested. And
// dist/lambda/manifest.json, which is all that infra/ knows of them.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { HANDLERS } from '../dist/lib/lambda/handlers.js';
import { STATE_MACHINES } from '../dist/lib/lambda/state-machines.js';
import { TABLES, TIME_TO_LIVE } from '../dist/lib/lambda/tables.js';
import { ACCESS_LOGS } from '../dist/lib/revocation/detect/log-delivery.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const names = Object.keys(HANDLERS);

await build({
  absWorkingDir: root,
  entryPoints: names.map((name) => ({ in: `lambda/${name}/index.ts`, out: `${name}/index` })),
  outdir: 'dist/lambda',
  outExtension: { '.js': '.mjs' },
  bundle: true,
  minify: true,
  keepNames: true,
  format: 'esm',
  platform: 'node',
  target: 'node22',
  mainFields: ['module', 'main'],
  // What CommonJS modules within may ask for.
  banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  legalComments: 'linked',
  logLevel: 'warning',
});
const handlers = Object.fromEntries(
  names.map((name) => {
    const code = readFileSync(`${root}dist/lambda/${name}/index.mjs`);
    return [name, { ...HANDLERS[name], bytes: code.length, sha256: createHash('sha256').update(code).digest('hex') }];
  }),
);
writeFileSync(
  `${root}dist/lambda/manifest.json`,
  `${JSON.stringify(
    { handlers, stateMachines: STATE_MACHINES, tables: TABLES, timeToLive: TIME_TO_LIVE, accessLogs: ACCESS_LOGS },
    null,
    2,
  )}\n`,
);
process.stderr.write(`  lambda: ${names.length} handlers\n`);
