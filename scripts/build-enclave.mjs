// Bundles dist/enclave/agent/agent.mjs, what runs in an enclave, with all that it imports: it is measured, and the same sources make
// the same bytes.
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: ['enclave-render/host/agent-main.ts'],
  outfile: 'dist/enclave/agent/agent.mjs',
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  legalComments: 'inline',
  metafile: true,
  logLevel: 'warning',
});
const [{ bytes, imports }] = Object.values(metafile.outputs);
const others = imports.map(({ path }) => path).filter((name) => !name.startsWith('node:'));
if (others.length > 0) throw new Error(`the agent must not import ${others.join(', ')}`);
process.stderr.write(`  enclave/agent/agent.mjs: ${bytes} bytes\n`);
