// npm run synth: builds what is deployed, for the configuration in portcullis.json or the one named by --config, and synthesises
// the templates of all its modules into cdk.out. No AWS account is needed. With --cdk: for the CDK CLI, which says where to.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ensureBuild, ensurePackages } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const { values } = parseArgs({ options: { config: { type: 'string' }, cdk: { type: 'boolean' } } });
const named = values.config ?? process.env.PORTCULLIS_CONFIG;
const config = named ?? (existsSync(`${root}portcullis.json`) ? `${root}portcullis.json` : undefined);

ensurePackages();
await ensureBuild();
const { status } = spawnSync(process.execPath, ['dist/infra/app.mjs'], {
  cwd: root,
  stdio: ['ignore', 2, 2],
  env: {
    ...process.env,
    ...(config !== undefined && { PORTCULLIS_CONFIG: config }),
    CDK_OUTDIR: process.env.CDK_OUTDIR ?? 'cdk.out',
  },
});
if (status === 0 && !values.cdk) process.stderr.write('synth: the templates are in cdk.out\n');
process.exitCode = status ?? 1;
