import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RegionInfo } from 'aws-cdk-lib/region-info';
import { afterAll, describe, expect, test } from 'vitest';
import { examineConfiguration, readConfiguration } from '../../config/configuration.ts';
import { REGIONS } from '../../config/deployment.ts';
import { portcullis } from '../harness/cli.ts';

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-config-'));
afterAll(() => rmSync(scratch, { recursive: true }));
let files = 0;
function file(content: unknown): string {
  const path = join(scratch, `config-${++files}.json`);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const CERTIFICATE = 'arn:aws:acm:eu-central-1:123456789012:certificate/abc';

const CONSOLE = { modules: ['base', 'api', 'console'], delivery: { origin: 'media.example.com' } };

/** A configuration each that cannot be deployed, the field that is named, and why. */
const BAD: [title: string, content: object, path: string, why: RegExp][] = [
  ['an unknown field', { aws: { regoin: 'eu-central-1' } }, 'aws.regoin', /unknown field/],
  ['an unknown field at the top', { AWS: {} }, 'AWS', /unknown field/],
  [
    'a lifetime over the overlap of keys',
    { edge: { maxTokenLifetimeSeconds: 86_400 }, aws: { keys: { rotationDays: 1 } } },
    'edge.maxTokenLifetimeSeconds',
    /keys overlap for 84900 seconds.*shorten it, or raise aws\.keys\.rotationDays/,
  ],
  ['a capacity over 5,000', { revocation: { waf: { capacityWcu: 5001 } } }, 'revocation.waf.capacityWcu', /5000/],
  ['a region that there is not', { aws: { region: 'eu-cental-1' } }, 'aws.region', /a region of AWS, like/],
  ['a region of another partition', { aws: { region: 'cn-north-1' } }, 'aws.region', /a region of AWS/],
  [
    'a certificate in the wrong region',
    { aws: { delivery: { domainNames: ['media.example.com'], certificateArn: CERTIFICATE } } },
    'aws.delivery.certificateArn',
    /an ARN of acm in us-east-1/,
  ],
  ['a module without what it needs', { aws: { modules: ['base', 'console'] } }, 'aws.modules', /'console' needs 'api'/],
  ['an unknown module', { aws: { modules: ['base', 'apis'] } }, 'aws.modules.1', /"base" \| "api"/],
  ['a module twice', { aws: { modules: ['base', 'base'] } }, 'aws.modules', /each module once/],
  ['module render without its enclave', { aws: { modules: ['render'] } }, 'aws.render', /needs pcrs and imageId/],
  [
    'names without a certificate',
    { aws: { delivery: { origin: 'media.example.com', domainNames: ['a.example.com'] } } },
    'aws.delivery.certificateArn',
    /need a certificate/,
  ],
  [
    'packages as origin without the module that makes them',
    { aws: { delivery: { origin: 'packages' } } },
    'aws.delivery.origin',
    /module 'mastering'/,
  ],
  ['tokens where the API is', { edge: { tokenPosition: '/v1/~TOKEN' } }, 'edge.tokenPosition', /take another path/],
  [
    'tokens where the console is',
    { edge: { tokenPosition: '/console/~TOKEN' }, aws: CONSOLE },
    'edge.tokenPosition',
    /take another path/,
  ],
  ['a console without a distribution', { aws: { modules: CONSOLE.modules } }, 'aws.delivery.origin', /name the origin/],
  [
    'a console whose people log in nowhere',
    { aws: { ...CONSOLE, identity: { issuer: 'https://login.example.com' } } },
    'aws.console.clientId',
    /name a public client/,
  ],
  [
    'a client of no issuer',
    { aws: { ...CONSOLE, console: { clientId: 'c' } } },
    'aws.console.clientId',
    /leave it out/,
  ],
  [
    'embedded keys and nobody who blocks',
    { aws: { keys: { at: 'embedded' } } },
    'revocation.waf.publish',
    /reach nobody; set it, or aws\.keys\.at/,
  ],
  [
    'a rule group that no distribution takes',
    { aws: { modules: ['base'] }, revocation: { waf: { publish: true, scope: 'REGIONAL' } } },
    'revocation.waf.scope',
    /'CLOUDFRONT'/,
  ],
  [
    'a distribution that is there, and one that is made',
    { aws: { delivery: { origin: 'media.example.com', distributionId: 'E1A2B3' } } },
    'aws.delivery.distributionId',
    /with aws\.delivery\.origin one is made/,
  ],
  [
    'a tag that AWS keeps for itself',
    { aws: { tags: { 'aws:cost': 'x' } } },
    'aws.tags.aws:cost',
    /must not begin with 'aws:'/,
  ],
  ['a list', [], 'configuration', /must be an object/],
  ['nothing', null as never, 'configuration', /must be an object/],
  ['a secret where none belongs', { aws: { keys: { secret: 'geheim' } } }, 'aws.keys.secret', /^unknown field/],
];

test.each(BAD)('%s is refused with its path and the reason', async (_, content, path, why) => {
  const { problems } = examineConfiguration(content);
  expect(problems[0]?.path).toBe(path);
  expect(problems[0]?.why).toMatch(why);
  const name = file(content);
  await expect(readConfiguration(name)).rejects.toMatchObject({
    code: 'ERR_CONFIGURATION',
    message: `${name}: ${path}: ${problems[0]?.why}`,
  });
  expect(problems[0]?.why).not.toContain('geheim');
});

test('a token may live as long as keys overlap, and not a second longer', () => {
  const problems = (maxTokenLifetimeSeconds: number) =>
    examineConfiguration({ edge: { maxTokenLifetimeSeconds, leewaySeconds: 60 }, aws: { keys: { rotationDays: 1 } } })
      .problems;
  expect(problems(84_900 - 60)).toEqual([]);
  expect(problems(84_900 - 59)).toHaveLength(1);
});

test.each([
  ['with a comment', '{\n  // geheim\n  "aws": {}\n}', /not JSON, see line 2: .* no comments$/],
  ['that begins with one', '// geheim\n{}', /not JSON.*: .* no comments$/],
  ['with a comma too many', '{\n  "aws": {},\n}', /not JSON, see line 3: .*no comma/],
  ['that ends too early', '{"aws": {', /not JSON.*(?:too early|names stand in quotes)/],
  ['that is empty', '\n', /it is empty; \{\} is a configuration of defaults$/],
])('a file %s is refused with the line, and not quoted', async (_, text, why) => {
  const refused = await readConfiguration(file(text)).catch((error) => error);
  expect(refused).toMatchObject({ code: 'ERR_CONFIGURATION', message: expect.stringMatching(why) });
  expect(refused.message).not.toContain('geheim');
});

test('a byte order mark is passed over, and a folder is no file', async () => {
  await expect(readConfiguration(file('\uFEFF{}'))).resolves.toEqual(await readConfiguration());
  await expect(readConfiguration(scratch)).rejects.toThrow(/it is a folder/);
});

test('all that is wrong is said at once', () => {
  const { problems } = examineConfiguration({ aws: { region: 'x', alarmEmail: 'y' }, edge: { mode: 'z' } });
  expect(problems.map(({ path }) => path)).toEqual(['edge.mode', 'aws.region', 'aws.alarmEmail']);
});

test('the doctor refuses each of them likewise, without an account', async () => {
  const contents = BAD.slice(0, 5);
  const answers = await Promise.all(
    contents.map(([, content]) => portcullis('doctor', '--no-account', '--json', '--config', file(content))),
  );
  for (const [i, { code, stdout }] of answers.entries()) {
    expect(code).toBe(1);
    const { checks } = JSON.parse(stdout);
    const failed = checks.filter(
      ({ about, status }: Record<string, string>) => about === 'configuration' && status === 'failed',
    );
    expect(failed.map(({ name }: { name: string }) => name)).toContain(contents[i]?.[2]);
  }
});

describe('regions', () => {
  test('are those of the partition aws that the CDK knows', () => {
    const known = RegionInfo.regions.filter(({ partition }) => partition === 'aws').map(({ name }) => name);
    expect([...REGIONS]).toEqual(known.sort());
  });
});

test('$schema is for editors, and no setting', async () => {
  const { aws } = await readConfiguration(file({ $schema: './dist/portcullis.schema.json' }));
  expect(aws.modules).toEqual(['base', 'api', 'revocation']);
});

test('names that JSON gives a meaning to are unknown fields', () => {
  const { problems } = examineConfiguration(JSON.parse('{"__proto__":{"aws":{}},"constructor":1}'));
  expect(problems.map(({ path }) => path)).toEqual(['__proto__']);
});
