import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { packagePath } from '../../local/package-root.ts';
// @ts-expect-error: a script, without types.
import { zipFolder } from '../../scripts/zip.mjs';
import { isOnPath, LONG } from '../harness/programs.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const scratch = temporaryDirectory();
afterAll(() => removeDirectory(scratch));

const config = join(scratch, 'portcullis.json');
writeFileSync(
  config,
  JSON.stringify({
    edge: { leewaySeconds: 7 },
    aws: { region: 'eu-west-1', modules: ['base', 'api', 'console'], delivery: { origin: 'media.example.com' } },
  }),
);

function run(script: string, ...options: string[]) {
  const command = [packagePath('scripts', script), ...options];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: 'utf8' });
  return { status, stdout, stderr };
}

const filesOf = (folder: string) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();

describe('a package for those without CDK', () => {
  const out = join(scratch, 'out');
  const options = ['--bucket', 'acme-artefacts', '--prefix', 'portcullis/1', '--config', config];
  const made = run('package.mjs', ...options, '--out', out, '--json');
  const templates = made.status === 0 ? readdirSync(join(out, 'templates')).sort() : [];
  const contents = templates.map((name) => readFileSync(join(out, 'templates', name), 'utf8'));

  test('has a template for each stack', () => {
    expect(made.stderr).not.toMatch(/error/i);
    expect(JSON.parse(made.stdout)).toMatchObject({
      buckets: ['acme-artefacts-us-east-1', 'acme-artefacts-eu-west-1'],
    });
    const stacks = ['api', 'base', 'delivery', 'edge-monitoring', 'edge', 'monitoring'];
    expect(templates).toEqual(stacks.map((name) => `portcullis-${name}.template.json`));
  });

  test('asks for no bootstrapped account, and for nothing of the machine that made it', () => {
    for (const content of contents) {
      expect(content).not.toMatch(/cdk-hnb659fds|BootstrapVersion|CheckBootstrapVersion/);
      expect(content).not.toContain(packagePath());
      expect(content).not.toContain(scratch);
    }
  });

  test('has every asset that a template names, in the folder of the bucket that it is read from', () => {
    const code = contents.flatMap((content, index) =>
      Object.values<{ Type: string; Properties: { Code: { S3Bucket: string; S3Key: string } } }>(
        JSON.parse(content).Resources,
      )
        .filter(({ Type }) => Type === 'AWS::Lambda::Function')
        .map(({ Properties }) => ({ ...Properties.Code, template: templates[index] ?? '' })),
    );
    expect(code.length).toBeGreaterThan(4);
    for (const { S3Bucket, S3Key, template } of code) {
      const region = /edge|delivery/.test(template) ? 'us-east-1' : 'eu-west-1';
      expect(S3Bucket).toBe(`acme-artefacts-${region}`);
      expect(S3Key).toMatch(/^portcullis\/1\/[0-9a-f]{64}\.zip$/);
      expect(filesOf(join(out, `acme-artefacts-${region}`))).toContain(S3Key);
    }
  });

  test('has the function of the configuration, not the one of the defaults', () => {
    const [edge = ''] = contents.filter((_, index) => templates[index]?.includes('edge.'));
    const built = readFileSync(packagePath('dist', 'deployment', 'edge', 'viewer-request.js'), 'utf8');
    const functions = Object.values<{ Type: string; Properties: { FunctionCode: string } }>(JSON.parse(edge).Resources);
    expect(functions.find(({ Type }) => Type === 'AWS::CloudFront::Function')?.Properties.FunctionCode).toBe(built);
    expect(built).not.toBe(readFileSync(packagePath('dist', 'edge', 'viewer-request.js'), 'utf8'));
  });

  test('says in which order what is created, and with which parameters', () => {
    const text = readFileSync(join(out, 'README.md'), 'utf8');
    const order = [...text.matchAll(/deploy .*--stack-name (\S+)/g)].map(([, name]) => name);
    const stacks = ['edge', 'base', 'delivery', 'api', 'monitoring', 'edge-monitoring'];
    expect(order).toEqual(stacks.map((name) => `portcullis-${name}`));
    expect(text).toContain('aws s3 mb s3://acme-artefacts-eu-west-1 --region eu-west-1');
    expect(text).toContain('aws s3 sync acme-artefacts-eu-west-1 s3://acme-artefacts-eu-west-1 --region eu-west-1');
    expect(text.match(/\| none \|/g)).toHaveLength(stacks.length);
  });

  test('has the console as built, and says where it goes after the stacks', () => {
    expect(filesOf(join(out, 'console'))).toEqual(filesOf(packagePath('dist', 'console')));
    const [, text = ''] = readFileSync(join(out, 'README.md'), 'utf8').split('\n4. ');
    expect(text).toContain('--region us-east-1 --stack-name portcullis-delivery --output text');
    expect(text).toContain('--region eu-west-1 --stack-name portcullis-api --output text');
    expect(text).toContain('aws s3 sync console "s3://$BUCKET/console" --delete --exclude config.json');
  });

  test('does not write over what is there', () => {
    const again = run('package.mjs', ...options, '--out', out);
    expect(again.status).toBe(2);
    expect(again.stderr).toContain('there is something in it');
  });

  test.runIf(LONG)('is the same again, byte for byte', () => {
    const other = join(scratch, 'again');
    expect(run('package.mjs', ...options, '--out', other).status).toBe(0);
    const digests = (folder: string) =>
      filesOf(folder).map((name) => [
        name,
        createHash('sha256')
          .update(readFileSync(join(folder, name)))
          .digest('hex'),
      ]);
    expect(digests(other)).toEqual(digests(out));
  });
});

describe('an archive', () => {
  const folder = join(scratch, 'folder');
  mkdirSync(join(folder, 'below'), { recursive: true });
  writeFileSync(join(folder, 'index.mjs'), 'export const handler = 1;\n'.repeat(1000));
  writeFileSync(join(folder, 'below', 'größe.txt'), '');

  test('depends on names and contents alone', () => {
    const before = zipFolder(folder);
    utimesSync(join(folder, 'index.mjs'), 1, 1);
    expect(zipFolder(folder)).toEqual(before);
    const copy = join(scratch, 'copy');
    cpSync(folder, copy, { recursive: true });
    expect(zipFolder(copy)).toEqual(before);
    writeFileSync(join(copy, 'index.mjs'), 'other');
    expect(zipFolder(copy)).not.toEqual(before);
  });

  const hasUnzip = isOnPath('unzip');
  test.skipIf(!hasUnzip)(`is one for others too${hasUnzip ? '' : ' (needs unzip, which is not installed)'}`, () => {
    const file = join(scratch, 'folder.zip');
    writeFileSync(file, zipFolder(folder));
    expect(execFileSync('unzip', ['-t', file], { encoding: 'utf8' })).toContain('No errors detected');
    const extracted = join(scratch, 'extracted');
    execFileSync('unzip', ['-q', file, '-d', extracted]);
    expect(filesOf(extracted)).toEqual(filesOf(folder));
    expect(readFileSync(join(extracted, 'index.mjs'))).toEqual(readFileSync(join(folder, 'index.mjs')));
  });
});

describe('what is not right', () => {
  test.each([
    [
      { aws: { modules: ['revocation'] } },
      "aws.modules: 'revocation' needs 'base': name that too, or leave 'revocation' out",
    ],
    [{ edge: { tokenPosition: '/v1/~TOKEN' } }, "edge.tokenPosition: '/v1/' is where the API is"],
    [{ aws: { zone: 'eu' } }, 'aws.zone: unknown field'],
  ])('in a configuration ends synth with 2 and the path of the field: %j', (content, message) => {
    const file = join(scratch, 'wrong.json');
    writeFileSync(file, JSON.stringify(content));
    const { status, stderr } = run('synth.mjs', '--config', file);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(stderr).toContain(message);
    expect(status).toBe(2);
  });

  test.each([
    [[], '--bucket'],
    [['--bucket', 'Acme'], '--bucket'],
    [['--bucket', 'acme', '--prefix', '../x'], '--prefix'],
    [['--bucket', 'acme'], '--out'],
    [['--bucket', 'acme', '--out', packagePath('docs')], '--out'],
    [['--buckets', 'acme'], '--buckets'],
  ])('in options of package ends it with 2: %j', (options, named) => {
    const { status, stderr } = run('package.mjs', ...options);
    expect(stderr.split('\n')[0]).toContain(named);
    expect(status).toBe(2);
  });
});
