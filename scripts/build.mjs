// Builds everything that ships: dist/lib (tsc), dist/portcullis.schema.json, dist/token-api (the minting library in one file),
// dist/edge (functions and manifest), dist/player, dist/console, dist/enclave (the agent and its parent), dist/lambda (handlers),
// dist/infra (the CDK app), dist/render-templates, dist/title.
import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';

const root = new URL('..', import.meta.url);

function run(title, command, ...args) {
  process.stderr.write(`build: ${title}\n`);
  // Everything to stderr: what this prints must not mix with the answer of the command that needed the build.
  const { status } = spawnSync(process.execPath, [command, ...args], { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    process.stderr.write(`build: ${title} failed\n`);
    process.exit(1);
  }
}

rmSync(new URL('dist/', root), { recursive: true, force: true });
run('library', 'node_modules/typescript/bin/tsc', '-p', 'tsconfig.lib.json');
run('schema of the configuration', 'scripts/build-schema.mjs');
run('minting library', 'scripts/build-minting.mjs');
run('edge functions', 'scripts/build-edge.mjs');
run('player', 'scripts/build-player.mjs');
run(
  'console',
  'node_modules/vite/bin/vite.js',
  'build',
  '--config',
  'local/console/vite.config.ts',
  '--logLevel',
  'warn',
);
run('enclave agent', 'scripts/build-enclave.mjs');
run('Lambda functions', 'scripts/build-lambda.mjs');
run('CDK app', 'scripts/build-infra.mjs');
cpSync(new URL('enclave-render/render/templates/', root), new URL('dist/render-templates/', root), { recursive: true });
cpSync(new URL('local/titles/', root), new URL('dist/title/', root), { recursive: true });
