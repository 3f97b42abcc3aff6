import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { AthenaClient, CreateWorkGroupCommand } from '@aws-sdk/client-athena';
import { CloudFormationClient, CreateStackCommand } from '@aws-sdk/client-cloudformation';
import { CreateAliasCommand, CreateKeyCommand, DisableKeyCommand, KMSClient } from '@aws-sdk/client-kms';
import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { PutParameterCommand, SSMClient } from '@aws-sdk/client-ssm';
import { CreateRuleGroupCommand, WAFV2Client } from '@aws-sdk/client-wafv2';
import * as v from 'valibot';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { ACCOUNT_CHECKS } from '../../cli/doctor/account.ts';
import { workgroupLimit } from '../../cli/doctor/athena.ts';
import { stacksFinding } from '../../cli/doctor/stacks.ts';
import { ConfigurationSchema } from '../../config/schema.ts';
import { portcullis } from '../harness/cli.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';

const scratch = mkdtempSync(join(tmpdir(), 'portcullis-doctor-'));
afterAll(() => rmSync(scratch, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());
let files = 0;
function file(content: unknown): string {
  const path = join(scratch, `config-${++files}.json`);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

interface Check {
  about: string;
  name: string;
  status: string;
  says: string;
}

async function doctor(
  ...args: string[]
): Promise<{ code: number; checks: Check[]; named: (name: string) => Check | undefined }> {
  const { code, stdout } = await portcullis('doctor', '--json', ...args);
  const { checks } = JSON.parse(stdout) as { checks: Check[] };
  return { code, checks, named: (name) => checks.find((check) => check.name === name) };
}

describe('this machine', () => {
  test('says of each program whether it is there, and of Node its version', async () => {
    const { code, named } = await doctor('--no-account');
    expect(code).toBe(0);
    expect(named('Node')).toMatchObject({ about: 'machine', status: 'ok', says: process.version });
    expect(named('disk')?.says).toMatch(/GiB free here/);
    expect(['ok', 'warning']).toContain(named('sandbox')?.status);
  });

  test('without programs warns of what is off, and fails nothing', async () => {
    vi.stubEnv('PATH', '/nowhere');
    const { code, named } = await doctor('--no-account');
    expect(code).toBe(0);
    expect(named('ffmpeg')).toMatchObject({
      status: 'warning',
      says: expect.stringMatching(/no rendering.*apt-get install ffmpeg/),
    });
    expect(named('sandbox')?.says).toBe('bubblewrap is missing: apt-get install bubblewrap');
  });

  test('a bubblewrap that may make no namespaces is not taken for one that works', async () => {
    writeFileSync(
      join(scratch, 'bwrap'),
      '#!/bin/sh\necho "bwrap: No permissions to create new namespace" >&2; exit 1\n',
      {
        mode: 0o755,
      },
    );
    vi.stubEnv('PATH', `${scratch}${delimiter}${process.env.PATH}`);
    const { named } = await doctor('--no-account');
    expect(named('sandbox')).toMatchObject({
      status: 'warning',
      says: expect.stringMatching(/No permissions to create new namespace.*allow user namespaces/),
    });
  });

  test('a port that is taken', async () => {
    const server = createServer().on('error', () => {});
    await Promise.race([once(server.listen(8081, '127.0.0.1'), 'listening'), once(server, 'error')]);
    const { named } = await doctor('--no-account');
    server.close();
    expect(named('ports')).toMatchObject({ status: 'warning', says: expect.stringMatching(/8081.* taken/) });
  });
});

describe('a configuration', () => {
  test.each([
    ['no file', join(scratch, 'none.json'), /no such file/],
    ['no JSON', file('{'), /not JSON/],
    ['a folder', dirname(scratch), /it is a folder/],
  ])('%s: 1, and why', async (_, path, why) => {
    const { code, checks } = await doctor('--no-account', '--config', path);
    expect(code).toBe(1);
    expect(checks.filter(({ status }) => status === 'failed')).toEqual([
      { about: 'configuration', name: path, status: 'failed', says: expect.stringMatching(why) },
    ]);
  });

  test('all that is wrong at once, for people, and nothing asked of AWS', async () => {
    const path = file({ aws: { region: 'x', modules: [] }, edge: { mode: 'z' } });
    const { code, stdout } = await portcullis('doctor', '--config', path);
    expect(code).toBe(1);
    for (const name of ['edge.mode', 'aws.region', 'aws.modules'])
      expect(stdout).toMatch(new RegExp(`FAILED +${name} `));
    expect(stdout).toContain('not checked: the configuration cannot be used');
  });

  test('that looks for leaks in the logs of no distribution is a warning', async () => {
    const warned = async (delivery: object) => {
      const { checks } = await doctor('--no-account', '--config', file({ aws: { delivery } }));
      return checks.some(({ name, status }) => name === 'aws.delivery.distributionId' && status === 'warning');
    };
    expect([await warned({}), await warned({ distributionId: 'E1A2B3' })]).toEqual([true, false]);
  });

  test('what may surprise is a warning', async () => {
    const content = {
      edge: { mode: 'log' },
      aws: { modules: ['base'], accessLogs: { includeUri: true }, alarmEmail: 'a@example.com' },
      revocation: { waf: { publish: true } },
    };
    const { code, checks } = await doctor('--no-account', '--config', file(content));
    expect(code).toBe(0);
    const warned = checks.filter(({ about, status }) => about === 'configuration' && status === 'warning');
    expect(warned.map(({ name }) => name)).toEqual([
      'aws.delivery.origin',
      'aws.accessLogs.includeUri',
      'revocation.waf.publish',
      'edge.mode',
    ]);
  });
});

const REGISTER = 'a'.repeat(96);
const RENDER = { pcrs: { 0: REGISTER, 1: REGISTER, 2: REGISTER }, imageId: 'ami-0123456789abcdef0' };

/** An environment in which the SDK finds nothing, and waits for nothing. */
function withoutCredentials(): void {
  for (const name of ['AWS_PROFILE', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'])
    vi.stubEnv(name, undefined);
  vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
  vi.stubEnv('AWS_CONFIG_FILE', join(scratch, 'none'));
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', join(scratch, 'none'));
}

test('without credentials every check of the account says so', async () => {
  withoutCredentials();
  const all = {
    aws: { region: 'eu-central-1', modules: ['base', 'api', 'revocation', 'mastering'] },
    revocation: { waf: { publish: true } },
  };
  const { code, checks } = await doctor('--config', file(all));
  expect(code).toBe(0);
  const [credentials, ...rest] = checks.filter(({ about }) => about === 'account');
  expect(credentials).toMatchObject({
    status: 'unchecked',
    says: expect.stringMatching(/no credentials: set AWS_PROFILE/),
  });
  expect(rest.map(({ name }) => name)).toEqual(ACCOUNT_CHECKS.map(({ name }) => name));
  for (const { status, says } of rest) expect([status, says]).toEqual(['unchecked', 'not checked: no credentials']);
});

/** Answers every request of AWS with a status and a body. */
function useStandIn(answer: (body: string) => { status: number; body: string; type: string }): () => string {
  const server = http.createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const { status, body, type } = answer(`${request.url} ${request.headers['x-amz-target'] ?? ''} ${text}`);
    response.writeHead(status, { 'content-type': type }).end(body);
  });
  beforeAll(async () => {
    await once(server.listen(0, '127.0.0.1'), 'listening');
  });
  afterAll(() => {
    server.close();
  });
  return () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const XML = 'text/xml';
const IDENTITY = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
  <Arn>arn:aws:iam::123456789012:user/ops</Arn><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`;
const stsError = (code: string) =>
  `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>${code}</Code><Message>AKIAWRONG</Message></Error></ErrorResponse>`;

function withCredentials(endpoint: string): void {
  withoutCredentials();
  vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
  vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'geheim');
  vi.stubEnv('AWS_ENDPOINT_URL', endpoint);
}

describe('with credentials that may do nothing', () => {
  const standIn = useStandIn((asked) => {
    if (asked.includes('GetCallerIdentity')) return { status: 200, body: IDENTITY, type: XML };
    if (asked.includes('/function')) {
      const body =
        '<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>';
      return { status: 403, body, type: XML };
    }
    if (asked.includes('DescribeStacks')) return { status: 403, body: stsError('AccessDenied'), type: XML };
    return {
      status: 400,
      body: '{"__type":"AccessDeniedException","message":"no"}',
      type: 'application/x-amz-json-1.1',
    };
  });

  test('each check names the right that it lacks, and none fails', async () => {
    withCredentials(standIn());
    const { code, checks, named } = await doctor('--config', file({ revocation: { waf: { publish: true } } }));
    expect(code).toBe(0);
    expect(named('credentials')?.says).toBe('account 123456789012, as arn:aws:iam::123456789012:user/ops');
    const rest = checks.filter(({ about, name }) => about === 'account' && name !== 'credentials');
    expect(rest.length).toBeGreaterThan(5);
    for (const { name, status, says } of rest) {
      const { action } = ACCOUNT_CHECKS.find((row) => row.name === name) ?? {};
      expect([name, status, says]).toEqual([name, 'unchecked', `not allowed: these credentials lack ${action}`]);
    }
    expect(JSON.stringify(checks)).not.toContain('geheim');
  });
});

describe('with credentials that may describe no stacks but those of ours', () => {
  let message = (name: string) => `Stack with id ${name} does not exist`;
  const standIn = useStandIn((asked) => {
    if (asked.includes('GetCallerIdentity')) return { status: 200, body: IDENTITY, type: XML };
    const [, name] = /Action=DescribeStacks.*&StackName=(portcullis-[a-z-]+)/.exec(asked) ?? [];
    if (name === undefined) return { status: 403, body: stsError('AccessDenied'), type: XML };
    return { status: 400, body: stsError('ValidationError').replace('AKIAWRONG', message(name)), type: XML };
  });
  const stacks = async () => {
    withCredentials(standIn());
    const { named } = await doctor('--config', file({ aws: { modules: ['render'], render: RENDER } }));
    return named('stacks');
  };

  test('those are looked for, and what is not there is no failure', async () => {
    expect(await stacks()).toMatchObject({ status: 'ok', says: 'none is there yet in us-east-1' });
  });

  test('another error is not taken for a stack that is not there', async () => {
    message = () => 'Template format error';
    expect(await stacks()).toMatchObject({ status: 'unchecked', says: expect.stringMatching(/ValidationError$/) });
  });
});

describe('with credentials that AWS does not take', () => {
  const standIn = useStandIn(() => ({ status: 403, body: stsError('InvalidClientTokenId'), type: XML }));

  test('1, and what to do; of the key itself nothing', async () => {
    withCredentials(standIn());
    const { code, named, checks } = await doctor('--config', file({ aws: { region: 'eu-south-2' } }));
    expect(code).toBe(1);
    expect(named('credentials')).toMatchObject({
      status: 'failed',
      says: expect.stringMatching(/log in again.*enable the region eu-south-2/),
    });
    expect(JSON.stringify(checks)).not.toContain('AKIAWRONG');
  });
});

describe('stacks that are there', () => {
  const configuration = v.parse(ConfigurationSchema, { aws: { region: 'eu-central-1', modules: ['base', 'api'] } });
  const stack = (name: string, status = 'UPDATE_COMPLETE', region = 'eu-central-1', outputs = {}) => ({
    ...{ name: `portcullis-${name}`, region, status, outputs },
  });
  const edge = (Region: string) => stack('edge', 'CREATE_COMPLETE', 'us-east-1', { Region });

  test.each([
    ['none', [], 'ok', /none is there yet in eu-central-1 and us-east-1/],
    ['those of the configuration', [edge('eu-central-1'), stack('base')], 'ok', /edge, portcullis-base can be updated/],
    ['half of a deployment that broke off', [edge('eu-central-1')], 'ok', /can be updated/],
    ['one that was rolled back', [stack('base', 'UPDATE_ROLLBACK_COMPLETE')], 'ok', /can be updated/],
    ['a change set alone', [stack('revocation', 'REVIEW_IN_PROGRESS')], 'ok', /none is there yet/],
    ['one that changes', [stack('api', 'UPDATE_IN_PROGRESS')], 'warning', /api is UPDATE_IN_PROGRESS: wait/],
    ['another region that nobody asked', [edge('eu-west-1')], 'failed', /aws\.region eu-west-1, .*set that/],
    [
      'another region that was asked',
      [stack('base', 'CREATE_COMPLETE', 'us-east-1')],
      'failed',
      /is in us-east-1, and would be made in eu-central-1 too/,
    ],
    [
      'a module that is off',
      [stack('base'), stack('revocation')],
      'failed',
      /^portcullis-revocation is in eu-central-1, and .* leaves it out: destroy it before/,
    ],
    [
      'a first deployment that failed',
      [stack('base', 'ROLLBACK_COMPLETE')],
      'failed',
      /is ROLLBACK_COMPLETE, .*delete-stack --stack-name portcullis-base --region eu-central-1.*"Deleting it"/,
    ],
    [
      'a first deployment without rollback that broke off',
      [edge('eu-central-1'), stack('base', 'CREATE_FAILED')],
      'warning',
      /^portcullis-base is CREATE_FAILED: deploy again with --no-rollback, or aws .* delete-stack .*portcullis-base.*"Deleting it"/,
    ],
    [
      'an update without rollback that broke off',
      [stack('base', 'UPDATE_FAILED')],
      'warning',
      /^portcullis-base is UPDATE_FAILED: deploy again with --no-rollback, or aws .* rollback-stack --stack-name portcullis-base/,
    ],
    [
      'one of a module that is off, that broke off too',
      [stack('render', 'CREATE_FAILED')],
      'failed',
      /^portcullis-render .* leaves it out/,
    ],
    [
      'an update stuck',
      [stack('api', 'UPDATE_ROLLBACK_FAILED')],
      'failed',
      /continue-update-rollback .*portcullis-api/,
    ],
    ['all that is wrong', [stack('render'), stack('base', 'DELETE_FAILED')], 'failed', /render .*; portcullis-base is/],
  ])('%s', (_, stacks, status, says) => {
    expect(stacksFinding(configuration, stacks)).toEqual({ status, says: expect.stringMatching(says) });
  });
});

const functionList = (
  names: string[],
) => `<FunctionList xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><MaxItems>100</MaxItems>
  <Quantity>${names.length}</Quantity><Items>${names.map((name) => `<FunctionSummary><Name>${name}</Name></FunctionSummary>`).join('')}</Items></FunctionList>`;

describe.skipIf(!HAS_MOTO)(HAS_MOTO ? 'an account' : 'an account (needs moto_server, which is not installed)', () => {
  const moto = useMoto();
  let functions: string[] = [];
  let keyId = '';
  const cloudFront = useStandIn(() => ({ status: 200, body: functionList(functions), type: XML }));
  const config = () =>
    file({
      aws: { region: 'eu-central-1', modules: ['base', 'api', 'revocation', 'mastering'] },
      revocation: { waf: { publish: true } },
    });
  const there = { region: 'eu-central-1' };
  const atTheEdge = { region: 'us-east-1' };

  const ask = async () => {
    const { endpoint } = await moto();
    withCredentials(endpoint);
    vi.stubEnv('AWS_ENDPOINT_URL_CLOUDFRONT', cloudFront());
    return doctor('--config', config());
  };
  const access = async () => {
    const { endpoint, credentials } = await moto();
    return { endpoint, credentials };
  };

  test('that is empty lacks the bootstrap; what a deployment makes is not there yet', async () => {
    functions = ['somebody-elses'];
    const { code, named } = await ask();
    expect(code).toBe(1);
    expect(named('bootstrap, us-east-1')).toMatchObject({
      status: 'failed',
      says: 'not bootstrapped: npx cdk bootstrap aws://123456789012/us-east-1',
    });
    expect(named('bootstrap, aws.region')?.says).toContain('aws://123456789012/eu-central-1');
    expect(named('functions')).toMatchObject({ status: 'ok', says: '1 of 100 functions' });
    expect(named('stacks')).toMatchObject({ status: 'ok', says: 'none is there yet in eu-central-1 and us-east-1' });
    for (const name of ['rule group', 'key ring', 'mastering key', 'workgroup', 'log delivery']) {
      expect([name, named(name)?.status, named(name)?.says]).toEqual([name, 'ok', expect.stringMatching(/yet/)]);
    }
  });

  test('where everything is as it should be: 0', async () => {
    const given = await access();
    for (const region of [there, atTheEdge]) {
      const parameter = { Name: '/cdk-bootstrap/hnb659fds/version', Type: 'String', Value: '29' } as const;
      await new SSMClient({ ...given, ...region }).send(new PutParameterCommand(parameter));
    }
    const kms = new KMSClient({ ...given, ...there });
    const { KeyMetadata } = await kms.send(new CreateKeyCommand({ KeyUsage: 'ENCRYPT_DECRYPT' }));
    keyId = KeyMetadata?.KeyId ?? '';
    await kms.send(
      new CreateAliasCommand({ AliasName: 'alias/portcullis-mastering', TargetKeyId: KeyMetadata?.KeyId }),
    );
    const athena = new AthenaClient({ ...given, ...there });
    const limit = { BytesScannedCutoffPerQuery: 10_000_000_000, EnforceWorkGroupConfiguration: true };
    await athena.send(new CreateWorkGroupCommand({ Name: 'portcullis', Configuration: limit }));
    const { code, checks, named } = await ask();
    expect(checks.filter(({ status }) => status === 'failed')).toEqual([]);
    expect(code).toBe(0);
    expect(named('bootstrap, us-east-1')?.says).toBe('version 29');
    expect(named('mastering key')?.says).toBe('alias/portcullis-mastering is enabled');
    expect(named('workgroup')?.says).toBe('portcullis stops queries at 10000000000 bytes');
  });

  test('where it is not: each says what to do', async () => {
    const given = await access();
    const kms = new KMSClient({ ...given, ...there });
    await kms.send(new DisableKeyCommand({ KeyId: keyId }));
    const secret = { Name: 'portcullis/key-ring', SecretString: '{}' };
    await new SecretsManagerClient({ ...given, ...there }).send(new CreateSecretCommand(secret));
    const group = { Name: 'portcullis-revoked-sessions-1500', Scope: 'CLOUDFRONT', Capacity: 700 } as const;
    const VisibilityConfig = { SampledRequestsEnabled: false, CloudWatchMetricsEnabled: false, MetricName: 'm' };
    await new WAFV2Client({ ...given, ...atTheEdge }).send(new CreateRuleGroupCommand({ ...group, VisibilityConfig }));
    // Deployed before with another region.
    const Resources = { Topic: { Type: 'AWS::SNS::Topic' } };
    const edge = { Resources, Outputs: { Region: { Value: 'eu-west-1' } } };
    const atEdge = new CloudFormationClient({ ...given, ...atTheEdge });
    await atEdge.send(new CreateStackCommand({ StackName: 'portcullis-edge', TemplateBody: JSON.stringify(edge) }));
    functions = Array.from({ length: 98 }, (_, i) => `f-${i}`);
    const { code, checks, named } = await ask();
    expect(code).toBe(1);
    expect(named('mastering key')).toMatchObject({
      status: 'failed',
      says: expect.stringMatching(/is Disabled: enable it/),
    });
    expect(named('key ring')).toMatchObject({ status: 'failed', says: expect.stringMatching(/does not rotate/) });
    expect(named('rule group')).toMatchObject({
      status: 'failed',
      says: expect.stringMatching(/has 700 WCU, which never change/),
    });
    expect(named('stacks')).toMatchObject({
      status: 'failed',
      says: expect.stringMatching(/^deployed with aws\.region eu-west-1, .*set that/),
    });
    expect(named('functions')).toMatchObject({
      status: 'failed',
      says: '98 of 100 functions: delete 2, or ask AWS for more',
    });
    expect(JSON.stringify(checks)).not.toContain('geheim');
  });

  test.each([
    ['none', {}, /has no limit/],
    ['wide', { BytesScannedCutoffPerQuery: 200_000_000, EnforceWorkGroupConfiguration: true }, /200000000 bytes, over/],
    ['lax', { BytesScannedCutoffPerQuery: 10_000_000, EnforceWorkGroupConfiguration: false }, /clients overrule/],
  ])('a workgroup %s gets the command that sets its limit', async (name, Configuration, why) => {
    const given = await access();
    await new AthenaClient({ ...given, ...there }).send(new CreateWorkGroupCommand({ Name: name, Configuration }));
    withCredentials(given.endpoint);
    const { status, says } = await workgroupLimit(name, 100_000_000, there.region);
    expect([status, says]).toEqual(['failed', expect.stringMatching(why)]);
    expect(says).toMatch(/: aws athena update-work-group .*BytesScannedCutoffPerQuery=100000000,/);
  });
});
