import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { afterAll, expect, test } from 'vitest';
import { examineConfiguration, readConfiguration } from '../../config/configuration.ts';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import { readKeyRing } from '../../token-api/key-ring/file.ts';
import { portcullis } from '../harness/cli.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';
import { removeDirectory, temporaryDirectory } from '../harness/stack.ts';

const data = temporaryDirectory();
afterAll(() => removeDirectory(data));
const file = (name: string, content: unknown) => {
  writeFileSync(join(data, name), JSON.stringify(content), { mode: 0o600 });
  return join(data, name);
};
const out = (name: string) => join(data, name);

const PRIMARY = 'ab'.repeat(64);
const SECONDARY = 'cd'.repeat(64);
const from = file('solution.context.json', {
  main: { stack_name: 'MYSTREAM', rotate_secrets_frequency: '24h', wcu: '100', retention: '5', metrics: true },
  api: { demo: true },
});
const secrets = [
  file('primary.json', { '20241121_0a1b2c3d4e5f6a7b8c9d': PRIMARY }),
  file('secondary.json', { '20241021_0a1b2c3d4e5f6a7b8c9d': SECONDARY }),
];
const list = (...texts: string[]) => ({ L: texts.map((S) => ({ S })) });
const policy = {
  M: { headers: list('user-agent'), exc: list(), paths: list("/v'i$(id)/"), exp: { S: '+30m' }, ssn: { BOOL: true } },
};
const assets = file('assets.json', {
  Items: [
    {
      id: { S: 'aurora' },
      url_path: { S: "/v'i$(id)/index.m3u8" },
      endpoint_hostname: { S: 'https://d1.cloudfront.net' },
      token_policy: policy,
    },
    {
      id: { S: 'harbour' },
      url_path: { S: '/video/1/index.m3u8' },
      token_policy: {
        M: { co: { BOOL: true }, ssn: { BOOL: true }, exc: list(), paths: list('/video/1/'), exp: { S: '+30m' } },
      },
    },
  ],
});
const revoked = file('revoked.json', { Items: [{ session_id: { S: 'AbCdEf123456' } }] });

test('writes ring, configuration, assets, policies, sessions and plan, and says what is unsafe', async () => {
  const folder = out('migration');
  const { code, stdout, stderr } = await portcullis(
    ...['migrate', '--from', from, '--secrets', ...secrets, '--tables', assets, revoked, '--out', folder],
  );
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toMatch(
    /^stack MYSTREAM: 2 keys, 2 assets, 1 revoked sessions\nasset aurora\n {2}! headers: user-agent: forgeable-header: /,
  );
  expect(stdout).toContain('1 findings are unsafe (!), 0 change something (-)');
  expect(readdirSync(folder).sort()).toEqual(
    [
      'PLAN.md',
      'assets.json',
      'key-ring.json',
      'policies',
      'portcullis.json',
      'report.json',
      'revoked-sessions.txt',
    ].sort(),
  );
  const ring = await readKeyRing(join(folder, 'key-ring.json'));
  expect(ring.keys.map((key) => [(key as { use?: string }).use, key.state])).toEqual([
    [undefined, 'current'],
    ['compat', 'current'],
    ['compat', 'previous'],
  ]);
  expect(statSync(join(folder, 'key-ring.json')).mode & 0o777).toBe(0o600);
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  const configuration = await readConfiguration(join(folder, 'portcullis.json'));
  // Without the module revocation the API could not revoke what step 7 of the plan carries on.
  expect(configuration.aws.modules).toEqual(['base', 'api', 'revocation']);
  expect(configuration.revocation.detection.mode).toBe('off');
  expect(configuration.revocation.waf).toMatchObject({ publish: true, capacityWcu: 100 });
  expect(readFileSync(join(folder, 'revoked-sessions.txt'), 'utf8')).toBe('AbCdEf123456\n');

  const plan = readFileSync(join(folder, 'PLAN.md'), 'utf8');
  const count = (text: RegExp) => [...plan.matchAll(text)].length;
  expect([count(/^## \d/gm), count(/^\*\*Check:\*\* ./gm), count(/^\*\*Back:\*\* ./gm)]).toEqual([9, 9, 9]);
  expect(plan).toContain('--replace MYSTREAM_checkJWTToken --apply');
  expect(plan).toContain(`--path '/v'\\''i$(id)/index.m3u8'`);
  // Whoever types a step weeks later, in another shell, deploys this folder's configuration and no other.
  const deployments = plan.split('\n').filter((line) => /\bcdk /.test(line));
  expect(deployments.length).toBe(3);
  for (const line of deployments)
    expect(line).toContain('(export PORTCULLIS_CONFIG="$PWD/portcullis.json"; cd CHECKOUT && ');
  // What is mended is in the other folder: the steps that put policies must not be those of this one.
  const [, mending = '', deploying = ''] = plan.split(/^## [23]\..*$/m);
  expect(mending).toMatch(/--out \.\.\/migration-mended .*\ncd \.\.\/migration-mended\n/);
  expect(mending).toContain('Go on with step 3 of PLAN.md in ../migration-mended');
  const [, delivery = ''] = /jq '\.aws\.delivery = (\{.*\})' portcullis\.json/.exec(deploying) ?? [];
  const delivered = { ...configuration, aws: { ...configuration.aws, delivery: JSON.parse(delivery) } };
  expect(examineConfiguration(delivered)).toMatchObject({ configuration: { aws: { delivery: JSON.parse(delivery) } } });
  expect(deploying).toContain('revocation.detection.mode is off');
  for (const name of readdirSync(folder).filter((name) => name !== 'key-ring.json' && name !== 'policies')) {
    expect(readFileSync(join(folder, name), 'utf8')).not.toMatch(/abab|cdcd/);
  }
  expect(stdout).not.toMatch(/abab|cdcd/);

  const built = await portcullis(
    ...['edge', 'build', '--dialect', 'compat', '--keys', join(folder, 'key-ring.json')],
    ...['--config', join(folder, 'portcullis.json'), '--out', join(data, 'dual-accept.js')],
  );
  expect([built.code, built.stderr]).toEqual([0, '']);

  // Tokens of both of its keys and one of ours play; without one, or from another country, nobody does.
  const viewer = file('viewer.json', { country: 'DE' });
  const theirViewer = file('attributes.json', { co: 'DE', sessionId: 'AbCdEf123456' });
  const theirPolicy = file('token-policy.json', { paths: ['/video/1/'], exc: [], exp: '+30m', ssn: true, co: true });
  const url = 'https://media.example.com/video/1/index.m3u8';
  const theirs = ['--dialect', 'compat', '--policy', theirPolicy, '--viewer', theirViewer];
  const ours = ['--policy', join(folder, 'policies', 'harbour.json'), '--viewer', viewer];
  const minted = await Promise.all([
    portcullis('token', 'mint', ...theirs, '--keys', join(folder, 'key-ring.json'), '--url', url),
    portcullis('token', 'mint', ...theirs, '--keys', secrets[1] ?? '', '--url', url),
    portcullis('token', 'mint', ...ours, '--keys', join(folder, 'key-ring.json'), '--url', url),
  ]);
  const uris = [...minted.map(({ stdout }) => new URL(stdout.trim()).pathname), '/video/1/index.m3u8'];
  const events = uris.flatMap((uri) => ['DE', 'FR'].map((country) => eventOf(uri, country)));
  const dualAccept = readFileSync(join(data, 'dual-accept.js'), 'utf8');
  const results = await runInVm(dualAccept, events, { now: Math.floor(Date.now() / 1000), store: new Map() });
  const statuses = results.map((result) =>
    'value' in result ? (result.value as { statusCode?: number }).statusCode : 0,
  );
  expect(statuses).toEqual([undefined, 403, undefined, 403, undefined, 403, 401, 401]);
});

const eventOf = (uri: string, country: string) => ({
  version: '1.0',
  context: { eventType: 'viewer-request' },
  viewer: { ip: '203.0.113.7' },
  request: {
    method: 'GET',
    uri,
    querystring: {},
    headers: { 'cloudfront-viewer-country': { value: country } },
    cookies: {},
  },
});

test('prints JSON, and does without secrets', async () => {
  const { code, stdout, stderr } = await portcullis(
    'migrate',
    '--from',
    from,
    '--tables',
    assets,
    '--out',
    out('json'),
    '--json',
  );
  expect([code, JSON.parse(stdout).assets[0].findings[0].code]).toEqual([0, 'forgeable-header']);
  expect(stderr).toContain('no keys were taken over');
  expect(existsSync(join(out('json'), 'key-ring.json'))).toBe(false);
});

test('a solution without an API gets one, by which the plan puts assets and revokes, and its detection if it had one', async () => {
  const main = { stack_name: 'QUIET', rotate_secrets_frequency: 'm', wcu: '100' };
  const quiet = file('quiet.json', { main, sessionRevocation: {} });
  const { code } = await portcullis('migrate', '--from', quiet, '--tables', assets, '--out', out('quiet'));
  expect(code).toBe(0);
  const { aws, revocation } = await readConfiguration(join(out('quiet'), 'portcullis.json'));
  expect([aws.modules, revocation.detection.mode]).toEqual([['base', 'api', 'revocation'], 'log']);
  expect(readFileSync(join(out('quiet'), 'PLAN.md'), 'utf8')).not.toContain('detection.mode is off');
});

test.each([
  ['a folder that is there', ['--from', from, '--out', data], /is there already/],
  ['a folder within a file', ['--from', from, '--out', join(from, 'migration')], /cannot make .*name another folder/],
  ['no file and no stack', ['--from', './nowhere.json'], /no such file, and it is no name/],
  ['three secrets', ['--from', from, '--secrets', ...secrets, assets], /takes its primary and its secondary/],
  ['a table that is none', ['--from', from, '--tables', from], /no item of a table/],
  ['a configuration that is none', ['--from', assets], /solution\.context\.json/],
])('%s: 2, and nothing is written', async (_, args, why) => {
  const folder = out('refused');
  const { code, stderr } = await portcullis('migrate', '--out', folder, ...args);
  expect([code, stderr]).toEqual([2, expect.stringMatching(why)]);
  expect(existsSync(folder)).toBe(false);
});

test('two secrets under one key id are refused, not one of them dropped', async () => {
  const twice = [file('one.json', { '20241121_aa': PRIMARY }), file('other.json', { '20241121_aa': SECONDARY })];
  const refused = await portcullis('migrate', '--from', from, '--secrets', ...twice, '--out', out('twice'));
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('same kid')]);
  expect(existsSync(out('twice'))).toBe(false);
});

test('a secret that is not a generated one is noted, and one that can be guessed refused', async () => {
  const weak = (name: string, secret: string) =>
    [
      'migrate',
      '--from',
      from,
      '--secrets',
      file(`${name}.json`, { '20241121_aa': secret }),
      '--out',
      out(name),
    ] as const;
  const noted = await portcullis(...weak('word', 'correct-horse-battery'));
  expect([noted.code, noted.stderr]).toEqual([0, expect.stringContaining("'20241121_aa' is not the 128")]);
  const refused = await portcullis(...weak('short', 'correct-horse'));
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('16–256 printable characters')]);
  expect(refused.stderr + noted.stdout + noted.stderr).not.toContain('correct-horse');
});

test('secrets that others may read are refused', async () => {
  const open = join(data, 'open.json');
  writeFileSync(open, JSON.stringify({ k: PRIMARY }), { mode: 0o644 });
  const { code, stdout, stderr } = await portcullis('migrate', '--from', from, '--secrets', open, '--out', out('open'));
  expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(/chmod 600/)]);
  expect(stderr).not.toContain(PRIMARY);
});

const moto = useMoto();
test.skipIf(!HAS_MOTO)('of a stack that is known by its name, the secrets are those of Secrets Manager', async () => {
  const { endpoint, region, credentials } = await moto();
  const client = new SecretsManagerClient({ endpoint, region, credentials });
  const contents = { PrimarySecret: { '20241121_aa': PRIMARY }, SecondarySecret: { '20241021_bb': SECONDARY } };
  for (const [name, secret] of Object.entries(contents)) {
    await client.send(new CreateSecretCommand({ Name: `MYSTREAM_${name}`, SecretString: JSON.stringify(secret) }));
  }
  client.destroy();
  const environment = { ...process.env };
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: endpoint,
    AWS_REGION: region,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
  });
  const { code, stdout, stderr } = await portcullis('migrate', '--from', 'MYSTREAM', '--out', out('stack'), '--json');
  const unknown = await portcullis('migrate', '--from', 'OTHER', '--out', out('other'));
  process.env = environment;
  const { kids, unusualKids } = JSON.parse(stdout);
  expect([code, kids, unusualKids]).toEqual([0, ['20241121_aa', '20241021_bb'], []]);
  expect(stdout + stderr).not.toMatch(/abab|cdcd/);
  expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining('OTHER_PrimarySecret')]);
  expect(existsSync(out('other'))).toBe(false);
});
