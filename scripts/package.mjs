// npm run package: templates and assets for those without CDK, who deploy them from buckets of theirs.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { cloudAssembly, stacksOf } from './cloud-assembly.mjs';
import { zipFolder } from './zip.mjs';

const USAGE = `npm run package -- --bucket NAME --out FOLDER [--prefix PREFIX] [--config FILE] [--json]

Writes what deploys a configuration without CDK: templates/, a folder of assets for each bucket, the console if it is deployed, and
README.md, which says what to upload and create, in which order. Lambda reads its code from a bucket of its own region, so there is one for each region, named
NAME-<region>. PREFIX (portcullis) is the folder in them. No AWS account is needed.

Example: npm run package -- --bucket acme-artefacts --prefix portcullis/0.1.0 --out /tmp/package

Exit codes: 0 done; 2 the configuration or an option is not right; 70 a fault of ours.`;

const OPTIONS = {
  bucket: { type: 'string' },
  prefix: { type: 'string', default: 'portcullis' },
  out: { type: 'string' },
  config: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
};

function refuse(message) {
  process.stderr.write(`${message}\n\n${USAGE}\n`);
  process.exit(2);
}

function options() {
  try {
    return parseArgs({ options: OPTIONS }).values;
  } catch (error) {
    return refuse(error.message);
  }
}

function isThereAndFull(folder) {
  try {
    return readdirSync(folder).length > 0;
  } catch (error) {
    if (error.code === 'ENOENT') return false;
    return refuse(`--out ${folder}: ${error.code}: name a folder that is empty, or not there yet`);
  }
}

const { bucket, prefix, out, config, json, help } = options();
if (help) {
  process.stdout.write(`${USAGE}\n`);
  process.exit();
}
// With the name of a region 63 characters at most (Amazon S3 User Guide, "Bucket naming rules").
if (!/^[a-z0-9][a-z0-9-]{1,45}[a-z0-9]$/.test(bucket ?? '')) {
  refuse('--bucket: 3 to 47 lower-case letters, digits and dashes, to which the region is added');
}
if (!/^\w[\w.-]*(?:\/\w[\w.-]*)*$/.test(prefix))
  refuse('--prefix: names joined by /, of letters, digits, _, . and -, the last two not first');
if (out === undefined) refuse('--out: the folder to write to');
if (isThereAndFull(out))
  refuse(`--out ${out}: there is something in it: name a folder that is empty, or not there yet`);

const assembly = mkdtempSync(join(tmpdir(), 'portcullis-package-'));
try {
  const environment = { PORTCULLIS_ASSETS_BUCKET: bucket, PORTCULLIS_ASSETS_PREFIX: `${prefix}/` };
  await cloudAssembly({ config, out: assembly, environment });
  const stacks = stacksOf(assembly);
  for (const stack of stacks) {
    write(join(out, 'templates', stack.template), readFileSync(join(assembly, stack.template)));
    writeAssets(stack);
  }
  const page = consoleOf(stacks);
  if (page) cpSync(new URL('../dist/console', import.meta.url), join(out, 'console'), { recursive: true });
  write(join(out, 'README.md'), readme(stacks, page));
  const regions = [...new Set(stacks.map(({ region }) => region))];
  const buckets = regions.map((region) => `${bucket}-${region}`);
  if (json) process.stdout.write(`${JSON.stringify({ out, buckets, stacks: stacks.map(({ name }) => name) })}\n`);
  else process.stderr.write(`package: ${out}/README.md says what to do with it\n`);
} finally {
  rmSync(assembly, { recursive: true });
}

function write(file, content) {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

/** The assets of a stack, in the folder of the bucket that its template names. Templates have a folder of their own. */
function writeAssets({ template, assets }) {
  const { files } = JSON.parse(readFileSync(join(assembly, assets), 'utf8'));
  for (const { source, destinations } of Object.values(files)) {
    if (source.path === template) continue;
    const path = join(assembly, source.path);
    const content = source.packaging === 'zip' ? zipFolder(path) : readFileSync(path);
    for (const { bucketName, objectKey } of Object.values(destinations))
      write(join(out, bucketName, objectKey), content);
  }
}

/** The stacks that give out where the files of the console go, and what it has to know; undefined when it is not deployed. */
function consoleOf(stacks) {
  const giving = (output) =>
    stacks.find(({ template }) => output in (JSON.parse(readFileSync(join(assembly, template), 'utf8')).Outputs ?? {}));
  const bucket = giving('ConsoleBucket');
  const settings = giving('ConsoleSettings');
  return bucket && settings && { bucket, settings };
}

/** The step that puts the console where the distribution takes it from. */
function uploadOfConsole({ bucket, settings }) {
  const output = ({ name, region }, key) =>
    `aws cloudformation describe-stacks --region ${region} --stack-name ${name} --output text \\
  --query "Stacks[0].Outputs[?OutputKey=='${key}'].OutputValue"`;
  return `
4. Put the console there, and what it has to know of the issuer, which is no secret:

\`\`\`sh
BUCKET=$(${output(bucket, 'ConsoleBucket')})
aws s3 sync console "s3://$BUCKET/console" --delete --exclude config.json
${output(settings, 'ConsoleSettings')} \\
  | aws s3 cp - "s3://$BUCKET/console/config.json" --content-type application/json
\`\`\`
`;
}

function readme(stacks, page) {
  const regions = [...new Set(stacks.map(({ region }) => region))];
  const buckets = regions.map((region) => `aws s3 mb s3://${bucket}-${region} --region ${region}`);
  const uploads = regions.map(
    (region) => `aws s3 sync ${bucket}-${region} s3://${bucket}-${region} --region ${region}`,
  );
  const creates = stacks.map(
    ({ name, region, template }) =>
      `aws cloudformation deploy --region ${region} --stack-name ${name} --template-file templates/${template} \\
  --s3-bucket ${bucket}-${region} --s3-prefix ${prefix}/templates --capabilities CAPABILITY_IAM`,
  );
  const rows = stacks.map(({ name, region, template, after }) => {
    const { Parameters = {} } = JSON.parse(readFileSync(join(assembly, template), 'utf8'));
    const parameters = Object.keys(Parameters);
    return `| \`${name}\` | ${region} | ${after.join(', ') || '–'} | ${parameters.join(', ') || 'none'} |`;
  });
  return `# Portcullis, packaged

What one configuration of Portcullis deploys, without CDK. It has not been run on AWS.

1. Make a bucket in each region, which nobody but this account reads. Lambda takes the code of functions from there at every
   deployment.

\`\`\`sh
${buckets.join('\n')}
\`\`\`

2. Upload, in this folder:

\`\`\`sh
${uploads.join('\n')}
\`\`\`

3. Create, and later update, the stacks in this order. Names matter: they find each other by them.

\`\`\`sh
${creates.join('\n')}
\`\`\`

| stack | region | after | parameters |
|---|---|---|---|
${rows.join('\n')}
${page ? uploadOfConsole(page) : ''}
Another configuration is another package. What an update leaves alone, and what is kept when a stack is deleted, is in
docs/deployment.md of Portcullis.
`;
}
