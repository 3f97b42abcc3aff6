import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parentStatements, parentUserData } from '../../enclave-render/host/aws/user-data.ts';
import { RENDER_CONTEXT, renderKeyPolicy } from '../../enclave-render/kms/key-policy.ts';
import { ALARMS, PARENT_EVENTS } from '../../infra/alarms.ts';
import { packagePath } from '../../local/package-root.ts';
import { builtArtefacts } from '../harness/artefacts.ts';
import { isOnPath, LONG } from '../harness/programs.ts';
import { evaluate } from '../harness/template-values.ts';
import { synthesise } from '../harness/templates.ts';

const artefacts = builtArtefacts();
const register = (digit: string) => digit.repeat(96);
const render = {
  pcrs: { 0: register('a'), 1: register('b'), 2: register('c') },
  imageId: 'ami-0123456789abcdef0',
  enclaveCpus: 6,
  enclaveMemoryMiB: 8192,
  auditRetentionDays: 730,
};
const OWNER = 'MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=';
const made = synthesise(
  { aws: { region: 'eu-central-1', modules: ['render'], render: { ...render, owners: [OWNER] } } },
  artefacts,
);
const withoutOwners = synthesise({ aws: { modules: ['render'], render } }, artefacts);
const written = (value: unknown) => evaluate(value, { 'AWS::Region': 'eu-central-1' });
// biome-ignore lint/suspicious/noExplicitAny: statements have as many shapes as there are policies.
type Statement = any;
const one = (type: string, id?: string) => made.one(type, id).Properties;
const JOBS = `portcullis-render-jobs-123456789012-eu-central-1`;
const jobsId = made.one('AWS::S3::Bucket', 'Jobs').id;
const parent = made.one('AWS::IAM::Role', 'ParentRole').id;
/** Documents of statements without the order of members, and one member for a list of one. */
const normal = (statements: Statement[]) =>
  statements.map(({ Action, Resource, ...rest }) => ({
    ...rest,
    Action: [Action].flat(),
    Resource: [Resource].flat(),
  }));

describe('the key of jobs', () => {
  const { KeyPolicy, EnableKeyRotation } = one('AWS::KMS::Key', 'JobKey');

  test('has the policy of renderKeyPolicy: it decrypts for the enclave of the configuration, and for nobody else', () => {
    const roles = { ownerRole: 'arn:aws:iam::123456789012:root', parentRole: `${parent}.Arn` };
    expect(written(KeyPolicy)).toEqual(renderKeyPolicy(roles, { pcrs: { ...render.pcrs } }, RENDER_CONTEXT));
    expect(EnableKeyRotation).toBe(true);
    const decrypting = KeyPolicy.Statement.filter(({ Action }: Statement) => /Decrypt|\*/.test(JSON.stringify(Action)));
    expect(decrypting).toHaveLength(1);
    expect(Object.keys(decrypting[0].Condition.StringEqualsIgnoreCase)).toEqual([
      'kms:RecipientAttestation:PCR0',
      'kms:RecipientAttestation:PCR1',
      'kms:RecipientAttestation:PCR2',
    ]);
  });
});

describe('the parent', () => {
  const { LaunchTemplateData: launch } = one('AWS::EC2::LaunchTemplate');

  test('starts enclaves, has tokens for its metadata, no public address, no key, an encrypted disk', () => {
    expect(launch).toMatchObject({
      EnclaveOptions: { Enabled: true },
      MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1 },
      ImageId: 'ami-0123456789abcdef0',
    });
    expect(launch).not.toHaveProperty('KeyName');
    expect(launch.NetworkInterfaces).toMatchObject([{ AssociatePublicIpAddress: false }]);
    expect(launch.BlockDeviceMappings[0].Ebs).toMatchObject({ Encrypted: true, DeleteOnTermination: true });
  });

  test('is made by the script of parentUserData, which bash reads', () => {
    const script = written(launch.UserData['Fn::Base64']);
    expect(script).toBe(
      parentUserData({
        artefacts: { bucket: JOBS, key: 'artefacts/parent.zip' },
        region: 'eu-central-1',
        bucket: JOBS,
        owners: [OWNER],
        cpus: 6,
        memoryMib: 8192,
        logGroup: '/portcullis/render-parents',
      }),
    );
    execFileSync('bash', ['-n'], { input: script });
  });

  test('may do what parentStatements say and no more', () => {
    const { Statement } = written(one('AWS::IAM::Policy', 'ParentPolicy').PolicyDocument);
    const expected = parentStatements({
      bucket: `${jobsId}.Arn`,
      keys: [`${made.one('AWS::KMS::Key', 'JobKey').id}.Arn`],
      artefacts: `${jobsId}.Arn/artefacts/parent.zip`,
      logGroup: 'arn:aws:logs:eu-central-1:123456789012:log-group:/portcullis/render-parents',
    });
    expect(normal(Statement)).toEqual(normal(expected));
    expect(made.one('AWS::IAM::Role', 'ParentRole').Properties).not.toHaveProperty('ManagedPolicyArns');
    const others = made
      .of('AWS::IAM::Policy')
      .filter(
        ({ id, Properties }) => !id.startsWith('ParentPolicy') && JSON.stringify(Properties.Roles).includes(parent),
      );
    expect(others).toEqual([]);
  });

  test('is one at most, none until a job waits, and stays as it is when this is deployed again', () => {
    const group = one('AWS::AutoScaling::AutoScalingGroup');
    expect([group.MinSize, group.MaxSize, group.DesiredCapacity]).toEqual(['0', '1', undefined]);
  });
});

describe('the network', () => {
  test('has no way to the internet, and none in', () => {
    for (const type of ['AWS::EC2::InternetGateway', 'AWS::EC2::NatGateway', 'AWS::EC2::Route', 'AWS::EC2::EIP']) {
      expect(made.of(type)).toEqual([]);
    }
    const groups = made.of('AWS::EC2::SecurityGroup').map(({ Properties }) => Properties);
    expect(groups.flatMap(({ SecurityGroupIngress = [] }) => SecurityGroupIngress)).toEqual([]);
    const ingress = made.of('AWS::EC2::SecurityGroupIngress').map(({ Properties }) => Properties);
    expect(ingress.map(({ FromPort, ToPort, CidrIp }) => [FromPort, ToPort, CidrIp])).toEqual([[443, 443, undefined]]);
    for (const { Properties } of made.of('AWS::EC2::Subnet')) expect(Properties.MapPublicIpOnLaunch).toBe(false);
  });

  test('ends in endpoints, each for the parent and what it does there', () => {
    const endpoints = made.of('AWS::EC2::VPCEndpoint').map(({ Properties }) => Properties);
    expect(endpoints.map(({ VpcEndpointType }) => VpcEndpointType).sort()).toEqual([
      'Gateway',
      'Interface',
      'Interface',
    ]);
    for (const { PolicyDocument } of endpoints) {
      for (const { Action, Resource, Condition } of written(PolicyDocument).Statement) {
        expect([Action].flat().join()).not.toContain('*');
        if (Resource === 'arn:aws:s3:::al2023-repos-eu-central-1-de612dc2/*') continue;
        expect([Resource].flat()).not.toContain('*');
        expect(Condition).toEqual({ ArnEquals: { 'aws:PrincipalArn': `${parent}.Arn` } });
      }
    }
  });
});

describe('receipts', () => {
  test('are kept where nobody can delete them, not the account either', () => {
    expect(one('AWS::S3::Bucket', 'Audit')).toMatchObject({
      ObjectLockEnabled: true,
      ObjectLockConfiguration: { Rule: { DefaultRetention: { Mode: 'COMPLIANCE', Days: 730 } } },
      VersioningConfiguration: { Status: 'Enabled' },
    });
  });
});

describe('the state machine', () => {
  test('is the tested one, with names for all that it leaves open', () => {
    const { DefinitionString, DefinitionSubstitutions, LoggingConfiguration } = one('AWS::StepFunctions::StateMachine');
    expect(JSON.parse(DefinitionString)).toEqual(artefacts.stateMachines.render?.definition);
    const open = [...DefinitionString.matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name);
    expect(new Set(Object.keys(DefinitionSubstitutions))).toEqual(new Set(open));
    expect(LoggingConfiguration).toMatchObject({ Level: 'ALL', IncludeExecutionData: false });
  });

  test('may run its handlers, set how many parents there are, and publish alarms', () => {
    const { Statement } = written(one('AWS::IAM::Policy', 'rendermachine').PolicyDocument);
    const [invoke, ...others] = normal(Statement);
    expect(invoke.Resource).toEqual(
      ['register', 'look', 'verify'].map(
        (name) => `arn:aws:lambda:eu-central-1:123456789012:function:portcullis-render-${name}`,
      ),
    );
    expect(others.map(({ Action, Resource }: Statement) => [Action, Resource]).slice(0, 2)).toEqual([
      [
        ['autoscaling:SetDesiredCapacity'],
        ['arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:*:autoScalingGroupName/portcullis-render'],
      ],
      [['sns:Publish'], [made.of('AWS::SNS::Topic').find(({ stack }) => stack === 'portcullis-render')?.id]],
    ]);
  });

  test('is there for owners that are known, and for nobody else', () => {
    expect(withoutOwners.of('AWS::StepFunctions::StateMachine')).toEqual([]);
    expect(withoutOwners.of('AWS::Lambda::Function')).toEqual([]);
    expect(() =>
      synthesise(
        { aws: { modules: ['render'], render: { ...render, owners: ['-----BEGIN PUBLIC KEY-----'] } } },
        artefacts,
      ),
    ).toThrow(/Ed25519 public key/);
  });
});

describe('alarms', () => {
  const alarms = (templates: typeof made) =>
    templates.of('AWS::CloudWatch::Alarm').map(({ Properties }) => Properties.AlarmName.replace('portcullis-', ''));
  const ofRender = Object.entries(ALARMS).flatMap(([name, { module }]) => (module === 'render' ? [name] : []));

  test('go to the one topic that there is, by its name: no export keeps the stack from being changed', () => {
    const [topic, ...others] = made.of('AWS::SNS::Topic');
    expect([topic?.stack, topic?.Properties.TopicName, others]).toEqual([
      'portcullis-render',
      'portcullis-render-alarms',
      [],
    ]);
    for (const { Properties } of made.of('AWS::CloudWatch::Alarm')) {
      expect(written(Properties.AlarmActions)).toEqual([
        'arn:aws:sns:eu-central-1:123456789012:portcullis-render-alarms',
      ]);
    }
    const { template, dependencies } = made.assembly.getStackByName('portcullis-monitoring');
    expect(JSON.stringify(template)).not.toContain('Fn::ImportValue');
    expect(dependencies.map(({ id }) => id)).toContain('portcullis-render');
  });

  test('are those of jobs and of their parents; without owners there are no jobs', () => {
    expect(alarms(made)).toEqual(ofRender);
    expect(alarms(withoutOwners)).toEqual(['parent-job-failed', 'parent-not-read', 'parent-not-started']);
    expect(withoutOwners.of('AWS::SNS::Topic')).toHaveLength(1);
  });

  test('of parents count the events that a parent as built logs', () => {
    const parent = readFileSync(packagePath('dist', 'enclave', 'parent', 'parent.mjs'), 'utf8');
    const counted = made.of('AWS::Logs::MetricFilter').map(({ Properties }) => Properties);
    expect(counted.map(({ FilterPattern }) => FilterPattern)).toEqual(
      PARENT_EVENTS.map((event) => `{ $.event = "${event}" }`),
    );
    for (const { LogGroupName, MetricTransformations } of counted) {
      expect(LogGroupName).toEqual({ Ref: made.one('AWS::Logs::LogGroup', 'ParentLog').id });
      const [{ MetricName, MetricNamespace, MetricValue }] = MetricTransformations;
      const { metric } = ALARMS[`parent-${MetricName}`] ?? {};
      expect([MetricValue, MetricName, MetricNamespace]).toEqual(['1', metric?.name, metric?.namespace]);
      expect(parent).toMatch(new RegExp(`event: ?[^,}]*"${MetricName}"`));
    }
  });
});

test('handlers have the permissions of their rows', () => {
  for (const name of ['render-register', 'render-look', 'render-verify']) {
    const { Statement } = one('AWS::IAM::Policy', `${name.replaceAll('-', '')}Policy`).PolicyDocument;
    const rows = Object.values(artefacts.handlers[name]?.permissions ?? {}).flat();
    expect(new Set(Statement.flatMap(({ Action }: Statement) => Action))).toEqual(
      new Set(['logs:CreateLogStream', 'logs:PutLogEvents', ...rows]),
    );
  }
});

test.each(['render-register', 'render-look', 'render-verify'])(
  '%s starts with the settings of its template',
  (name) => {
    const { Environment } = one('AWS::Lambda::Function', `${name.replaceAll('-', '')}Function`);
    const settings = written(Environment.Variables.PORTCULLIS_SETTINGS);
    const start = `const { handler } = await import(process.argv[1]); process.stdout.write(typeof handler);`;
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--input-type=module', '-e', start, `${artefacts.handlers[name]?.folder}/index.mjs`],
      { encoding: 'utf8', env: { ...process.env, PORTCULLIS_SETTINGS: settings, AWS_REGION: 'eu-central-1' } },
    );
    expect(stdout || stderr).toBe('function');
  },
);

const CFN_LINT = LONG && isOnPath('cfn-lint');
test.skipIf(!CFN_LINT)(`the template passes cfn-lint${CFN_LINT ? '' : ' (long tests, with cfn-lint)'}`, () => {
  const templates = made.assembly.stacks.map(({ templateFullPath }) => templateFullPath);
  const { stdout } = spawnSync('cfn-lint', ['--ignore-checks', 'W3005', '--', ...templates], { encoding: 'utf8' });
  expect(stdout).toBe('');
});
