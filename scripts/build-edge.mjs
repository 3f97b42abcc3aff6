// Builds dist/edge from the compiled sources: the functions with the default settings, and the manifest.
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { buildEdgeFunction } from '../dist/lib/edge-functions/build/bundle.js';
import { edgeManifest } from '../dist/lib/edge-functions/build/manifest.js';
import { EdgeSettingsSchema } from '../dist/lib/edge-functions/build/settings.js';

const sources = fileURLToPath(new URL('../dist/lib/edge-functions/viewer-request', import.meta.url));

/** Builds the functions of these settings, and their manifest, into a folder (a URL). Rejects with `EdgeBuildError`. */
export async function buildEdge(settings, output) {
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
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await buildEdge(v.parse(EdgeSettingsSchema, {}), new URL('../dist/edge/', import.meta.url));
}
