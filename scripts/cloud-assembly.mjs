// The cloud assembly of a configuration: templates and assets as the CDK app makes them, without an AWS account.
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { ensureBuild, ensurePackages } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Ends the process: 2 for what the user has to change, 70 for a fault of ours. */
function fail(line, code) {
  process.stderr.write(`${line}\n`);
  process.exit(code);
}

/** The file that is meant: the one named, the one in the environment, or portcullis.json if there is one. */
function configurationFile(named = process.env.PORTCULLIS_CONFIG) {
  if (named !== undefined) return named;
  return existsSync(`${root}portcullis.json`) ? `${root}portcullis.json` : undefined;
}

/**
 * Builds what is missing and synthesises into `out`; edge functions are built anew when their settings are not the default.
 * `environment`: of the app, beside what says where things are. Ends the process when the configuration is not right.
 */
export async function cloudAssembly({ config, out, environment = {} }) {
  ensurePackages();
  await ensureBuild();
  const { readConfiguration } = await import('../dist/lib/config/configuration.js');
  const file = configurationFile(config);
  const isOurs = ({ code = '' }) => code === 'ERR_CONFIGURATION' || code.startsWith('ERR_EDGE_');
  const refuse = (error) => {
    if (isOurs(error)) fail(error.message, 2);
    throw error;
  };
  const { edge: settings } = await readConfiguration(file).catch(refuse);
  const edge = await edgeFunctions(settings).catch(refuse);
  const { status } = spawnSync(process.execPath, ['dist/infra/app.mjs'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: {
      ...process.env,
      ...(file && { PORTCULLIS_CONFIG: file }),
      PORTCULLIS_EDGE: edge,
      CDK_OUTDIR: out,
      ...environment,
    },
  });
  if (status !== 0) fail('the templates were not made; see above', 70);
}

/** The stacks of a cloud assembly in the order of their deployment: name, region, template file, assets, what it waits for. */
export function stacksOf(out) {
  const { artifacts } = JSON.parse(readFileSync(`${out}/manifest.json`, 'utf8'));
  const stacks = Object.entries(artifacts).filter(([, { type }]) => type === 'aws:cloudformation:stack');
  const names = new Set(stacks.map(([name]) => name));
  const ordered = new Map();
  const visit = (name) => {
    if (ordered.has(name)) return;
    const { environment, properties, dependencies = [] } = artifacts[name];
    const after = dependencies.filter((dependency) => names.has(dependency));
    after.forEach(visit);
    const region = environment.split('/').at(-1);
    ordered.set(name, { name, region, template: properties.templateFile, assets: `${name}.assets.json`, after });
  };
  for (const [name] of stacks) visit(name);
  return [...ordered.values()];
}

/** The folder of the edge functions of these settings. */
async function edgeFunctions(settings) {
  const built = JSON.parse(readFileSync(`${root}dist/edge/manifest.json`, 'utf8'));
  if (isDeepStrictEqual(built.settings, settings)) return `${root}dist/edge`;
  process.stderr.write('synth: building the edge functions of this configuration\n');
  const { buildEdge } = await import('./build-edge.mjs');
  const output = new URL('../dist/deployment/edge/', import.meta.url);
  rmSync(output, { recursive: true, force: true });
  await buildEdge(settings, output);
  return fileURLToPath(output);
}
