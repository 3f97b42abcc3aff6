// npm run synth: builds what is deployed, for the configuration in portcullis.json or the one named by --config, and synthesises
// the templates of all its modules into cdk.out. No AWS account is needed. With --cdk: for the CDK CLI, which says where to.
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cloudAssembly, stacksOf } from './cloud-assembly.mjs';

const USAGE = `npm run synth -- [--config FILE] [--json]

Writes the CloudFormation templates of a configuration to cdk.out, without an AWS account. Without --config it is that in
PORTCULLIS_CONFIG, portcullis.json, or the defaults. Then: npx cdk deploy --all (docs/deployment.md).

Exit codes: 0 done; 2 the configuration or an option is not right; 70 a fault of ours.`;

const root = fileURLToPath(new URL('..', import.meta.url));
const OPTIONS = {
  config: { type: 'string' },
  cdk: { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
};

function options() {
  try {
    return parseArgs({ options: OPTIONS }).values;
  } catch (error) {
    process.stderr.write(`${error.message}\n${USAGE}\n`);
    process.exit(2);
  }
}

const { config, cdk, json, help } = options();
if (help) {
  process.stdout.write(`${USAGE}\n`);
} else {
  const out = (cdk && process.env.CDK_OUTDIR) || `${root}cdk.out`;
  if (!cdk) rmSync(out, { recursive: true, force: true });
  await cloudAssembly({ config, out });
  const stacks = stacksOf(out);
  if (json) process.stdout.write(`${JSON.stringify({ out, stacks })}\n`);
  else if (!cdk) {
    for (const { name, region, template } of stacks) process.stderr.write(`  ${name} (${region}): ${template}\n`);
    const named = config === undefined ? '' : `PORTCULLIS_CONFIG='${config.replaceAll("'", "'\\''")}' `;
    process.stderr.write(
      'synth: the templates are in cdk.out; with credentials, and after cdk bootstrap (docs/deployment.md):\n',
    );
    process.stderr.write(`  ${named}npx cdk deploy --all\n`);
  }
}
