import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { afterAll, afterEach, beforeEach, expect, test } from 'vitest';
import { packagePath } from '../../local/package-root.ts';
import { portcullis } from '../harness/cli.ts';
import { CloudFrontService } from '../harness/cloudfront-service.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const ID = 'E1A2B3C4D5E6F7';
const data = temporaryDirectory();
const saved = join(data, 'saved.json');
const service = new CloudFrontService();
const environment = { ...process.env };

beforeEach(async () => {
  await service.start();
  process.env.AWS_ENDPOINT_URL_CLOUDFRONT = service.url;
  process.env.AWS_ACCESS_KEY_ID = 'a';
  process.env.AWS_SECRET_ACCESS_KEY = 's';
  service.addFunction(
    'portcullis-viewer-request',
    readFileSync(packagePath('dist', 'edge', 'viewer-request.js'), 'utf8'),
  );
  const behaviour =
    '<TargetOriginId>o</TargetOriginId><ViewerProtocolPolicy>allow-all</ViewerProtocolPolicy><CachePolicyId>P-cache</CachePolicyId><FunctionAssociations><Quantity>0</Quantity></FunctionAssociations>';
  service.addPolicy('cache-policy', 'P-cache', '<Name>theirs</Name><MinTTL>0</MinTTL><MaxTTL>0</MaxTTL>');
  service.addDistribution(
    ID,
    `<CallerReference>c</CallerReference><Enabled>true</Enabled><DefaultCacheBehavior>${behaviour}</DefaultCacheBehavior>`,
  );
});
afterEach(async () => {
  await service.close();
  process.env = { ...environment };
});
afterAll(() => removeDirectory(data));

const attach = (...args: string[]) => portcullis('attach', ID, '--saved', saved, ...args);

test('plans, applies and undoes', async () => {
  const plan = await attach('--plan');
  expect([plan.code, plan.stderr]).toEqual([0, '']);
  expect(plan.stdout).toMatch(
    /^distribution E1A2B3C4D5E6F7\nbehaviour \*\n {2}- viewer-request function +\(none\)\n {2}\+ viewer-request function +portcullis-viewer-request\n/,
  );
  expect(plan.stdout).toContain('note: it takes HTTP too');
  expect(existsSync(saved)).toBe(false);

  const applied = await attach('--apply', '--json');
  expect([applied.code, JSON.parse(applied.stdout)]).toMatchObject([0, { distribution: ID, isChanged: true, saved }]);
  expect(statSync(saved).mode & 0o777).toBe(0o600);
  expect((await attach('--plan')).stdout).toContain('behaviour *: has all of it already');

  const undone = await attach('--undo');
  expect([undone.code, undone.stdout]).toEqual([0, `distribution ${ID}: as it was, and deployed\n`]);
  expect(existsSync(saved)).toBe(false);
  expect(service.distributions.get(ID)?.xml).not.toContain('FunctionARN');
});

const moto = useMoto();
test.skipIf(!HAS_MOTO)(
  'the secret of the API is that of Secrets Manager in us-east-1, and is shown nowhere',
  async () => {
    const { endpoint, region, credentials } = await moto();
    const client = new SecretsManagerClient({ endpoint, region, credentials });
    const secret = 'o1'.repeat(24);
    await client.send(new CreateSecretCommand({ Name: 'portcullis/origin-secret', SecretString: secret }));
    client.destroy();
    process.env.AWS_ENDPOINT_URL_SECRETS_MANAGER = endpoint;
    process.env.AWS_REGION = 'eu-west-1';
    for (const path of ['cache-policy', 'origin-request-policy'] as const) {
      service.addPolicy(path, `P-${path}`, '<Name>portcullis-api</Name>');
    }
    const host = 'a1b2c3.execute-api.eu-west-1.amazonaws.com';
    const { code, stdout, stderr } = await attach('--apply', '--api', host);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(new RegExp(`behaviour /v1/\\*\n.*\\(none\\)\n.*${host}\n`));
    expect(service.distributions.get(ID)?.xml).toContain(`<HeaderValue>${secret}</HeaderValue>`);
    expect(stdout + readFileSync(saved, 'utf8')).not.toContain(secret);
    expect((await attach('--undo')).code).toBe(0);
  },
);

test('a distribution that cannot have it: 1, and nothing is written', async () => {
  service.edit(ID, (xml) => xml.replace('<CachePolicyId>P-cache</CachePolicyId>', ''));
  const { code, stdout } = await attach('--apply');
  expect([code, stdout]).toEqual([1, expect.stringContaining('  ! it has legacy cache settings')]);
  expect(existsSync(saved)).toBe(false);
});

test.each([
  ['neither plan nor apply', [], /give one of/],
  ['two of them', ['--plan', '--undo'], /give one of/],
  ['force without undo', ['--plan', '--force'], /goes with --undo/],
  ['undo of a behaviour', ['--undo', '--behaviour', '/a/*'], /undoes all/],
  ['undo with a function to replace', ['--undo', '--replace', 'old'], /undoes all/],
  ['an API by its URL', ['--plan', '--api', 'https://a1.execute-api.eu-west-1.amazonaws.com'], /without https/],
  ['undo of nothing', ['--undo'], /nothing was attached from here/],
  ['a behaviour that is not there', ['--plan', '--behaviour', '/a/*'], /there is no behaviour '\/a\/\*'/],
])('%s: 2', async (_, args, why) => {
  const { code, stdout, stderr } = await attach(...args);
  expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(why)]);
});
