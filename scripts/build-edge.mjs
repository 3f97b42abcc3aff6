// Builds dist/edge from the compiled sources: the functions with the default settings, and the manifest.
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { buildEdgeFunction } from '../dist/lib/edge-functions/build/bundle.js';
import { edgeManifest } from '../dist/lib/edge-functions/build/manifest.js';
import { EdgeSettingsSchema } from '../dist/lib/edge-functions/build/settings.js';

const sources = fileURLToPath(new URL('../dist/lib/edge-functions/viewer-request', import.meta.url));
const output = new URL('../dist/edge/', import.meta.url);
const settings = v.parse(EdgeSettingsSchema, {});

const functions = {
  'viewer-request.js': await buildEdgeFunction(sources, 'store', settings),
  'viewer-request.embedded.js': await buildEdgeFunction(sources, 'embedded', settings),
  'viewer-request.compat.js': await buildEdgeFunction(sources, 'compat', settings),
};
mkdirSync(output, { recursive: true });
for (const [name, { code, bytes }] of Object.entries(functions)) {
  writeFileSync(new URL(name, output), code);
  process.stderr.write(`  ${name}: ${bytes} bytes\n`);
}
writeFileSync(new URL('manifest.json', output), `${JSON.stringify(edgeManifest(functions, settings), null, 2)}\n`);
