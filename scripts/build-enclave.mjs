// Bundles what runs in an enclave and around it, each into one file with all that it imports; the same sources make the same bytes:
//   dist/enclave/agent/agent.mjs      in the enclave, measured
//   dist/enclave/parent/parent.mjs    on the instance that starts it, with its unit of systemd
//   dist/enclave/aws/user-data.mjs    for CDK: what makes a parent of an instance, and what its role may do
import { cpSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
// Parts of the AWS SDK are CommonJS, and require what Node has.
const REQUIRE = "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
const BUNDLES = [
  { from: 'enclave-render/host/agent-main.ts', to: 'enclave/agent/agent.mjs' },
  { from: 'enclave-render/host/parent-main.ts', to: 'enclave/parent/parent.mjs', banner: { js: REQUIRE } },
  { from: 'enclave-render/host/aws/user-data.ts', to: 'enclave/aws/user-data.mjs' },
];

for (const { from, to, banner = {} } of BUNDLES) {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [from],
    outfile: `dist/${to}`,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    legalComments: 'inline',
    metafile: true,
    logLevel: 'warning',
    banner,
  });
  const [{ bytes, imports }] = Object.values(metafile.outputs);
  const others = imports.map(({ path }) => path).filter((name) => !isBuiltin(name));
  if (others.length > 0) throw new Error(`${to} must not import ${others.join(', ')}`);
  process.stderr.write(`  ${to}: ${bytes} bytes\n`);
}
const unit = 'portcullis-parent.service';
cpSync(`${root}enclave-render/host/aws/${unit}`, `${root}dist/enclave/parent/${unit}`);
