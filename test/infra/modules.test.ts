import { readFileSync } from 'node:fs';
import { App, Stack, Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { contradictions } from '../../config/contradictions.ts';
import { costOf } from '../../config/cost.ts';
import { MODULE_NAMES, MODULES, type ModuleName } from '../../config/deployment.ts';
import { ConfigurationSchema } from '../../config/schema.ts';
import { REGION_OUTPUT, stacksOf } from '../../config/stacks.ts';
import { Handler, OBJECTS } from '../../infra/handler.ts';
import { packagePath } from '../../local/package-root.ts';
// @ts-expect-error: a script, without types.
import { EVERYTHING, stackDiagram, stacksWithTypes } from '../../scripts/stack-diagram.mjs';
import { builtArtefacts } from '../harness/artefacts.ts';
import { LONG } from '../harness/programs.ts';
import { synthesise } from '../harness/templates.ts';

const artefacts = builtArtefacts();
const text = (value: unknown) => JSON.stringify(value);
const register = (digit: string) => digit.repeat(96);
const render = { pcrs: { 0: register('a'), 1: register('b'), 2: register('c') }, imageId: 'ami-0123456789abcdef0' };

/** Every set of modules. */
const SETS = Array.from({ length: 2 ** MODULE_NAMES.length - 1 }, (_, index) =>
  MODULE_NAMES.filter((_name, bit) => ((index + 1) >> bit) & 1),
);
const isComplete = (modules: ModuleName[]) =>
  modules.every((name) => MODULES[name].needs.every((needed) => modules.includes(needed)));
const EVERY_DAY: ModuleName[][] = [['base'], ['render'], ['base', 'api', 'revocation']];
// The console is a behaviour of the distribution, and so needs an origin.
const configurationOf = (modules: ModuleName[], more = {}) => ({
  aws: { modules, render, ...(modules.includes('console') && { delivery: { origin: 'media.example.com' } }), ...more },
});

describe('modules, each of which can be left out', () => {
  const sets = LONG ? SETS.filter(isComplete) : EVERY_DAY;
  test.each(sets.map((modules) => [modules.join(', '), modules] as const))(
    '%s: synthesises, and has its stacks alone',
    (_, modules) => {
      const made = synthesise(configurationOf(modules), artefacts);
      const { assembly } = made;
      const { lines } = costOf(v.parse(ConfigurationSchema, configurationOf(modules))).perMonth;
      const paid = (what: string) => lines.find((line) => line.what === what)?.quantity ?? 0;
      expect(paid('KMS keys')).toBe(made.of('AWS::KMS::Key').length);
      expect(paid('secrets: key ring, origin')).toBe(made.of('AWS::SecretsManager::Secret').length);
      expect(paid('dashboards')).toBe(made.of('AWS::CloudWatch::Dashboard').length);
      expect(paid('alarms')).toBe(made.of('AWS::CloudWatch::Alarm').length);
      const names = assembly.stacks.map(({ stackName }) => stackName);
      // What doctor looks for.
      const expected = stacksOf(v.parse(ConfigurationSchema, configurationOf(modules)));
      expect(new Set(names)).toEqual(new Set(expected.keys()));
      expect(names.includes('portcullis-edge')).toBe(modules.includes('base'));
      for (const module of ['base', 'api'] as const) {
        expect(names.includes(`portcullis-${module}`)).toBe(modules.includes(module));
      }
      // Without an origin of media nothing is delivered.
      expect(names.includes('portcullis-delivery')).toBe(modules.includes('console'));
    },
  );

  test.each(MODULE_NAMES)('%s: has the stacks that docs/deployment.md gives it and what it needs', (name) => {
    const modules = [...MODULES[name].needs, name];
    const more = { region: 'eu-central-1', delivery: { origin: 'media.example.com' } };
    const table = readFileSync(packagePath('docs', 'deployment.md'), 'utf8').split('\n');
    const rows = table.filter((line) => modules.some((module) => line.startsWith(`| \`${module}\` | `)));
    expect(rows.length).toBe(modules.length);
    const documented = [...rows.join('\n').matchAll(/`(portcullis-[a-z-]+)`/g)].map(([, stack]) => stack);
    const stacks = stacksOf(v.parse(ConfigurationSchema, configurationOf(modules, more)));
    expect(new Set(documented)).toEqual(new Set(stacks.keys()));
  });

  test('are refused without those that they need, by name', () => {
    const sentences = SETS.filter((modules) => !isComplete(modules)).map((modules) => {
      try {
        synthesise(configurationOf(modules), artefacts);
        return 'synthesised';
      } catch (error) {
        return (error as Error).message;
      }
    });
    expect(sentences.length).toBeGreaterThan(10);
    for (const sentence of sentences) expect(sentence).toMatch(/^aws\.modules: '\w+' needs '\w+': name that too/);
  });
});

/** What the table of docs/deployment.md begins a row with, and what it is in a template. */
const WILDCARDS: Record<string, RegExp> = {
  '`wafv2:ListRuleGroups` on `*`': /\["wafv2:ListRuleGroups"\] "\*"$/,
  '| rule groups `': /rulegroup\/portcullis-revoked-sessions-(?:\*|\d+)\/\*|rule-group\/portcullis-revoked-sessions-\*/,
  "| objects of the deployment's buckets":
    /"Arn"\]\},"\/(?:[a-z]+\/)?\*"|:portcullis-logs-.*\/\*|\/jobs\/\*\/failure\.json/,
  '| Glue tables `table/portcullis/portcullis_*`': /:table\/portcullis\/portcullis_\*/,
  '| `log-group:/portcullis/render-parents:*`': /:log-group:\/portcullis\/render-parents:\*/,
  '| objects of `al2023-repos-': /:s3:::al2023-repos-[\w-]+\/\*/,
  '| the id in the ARN of the group `portcullis-render`':
    /:autoScalingGroup:\*:autoScalingGroupName\/portcullis-render/,
  '| deliveries of the logs': /\["logs:CreateLogDelivery",.*\] "\*"$/,
  '| parameters `cdk/exports/…`': /:parameter\/cdk\/exports\//,
  '| `kms:*` in the policies of KMS keys': /^"kms:\*"$|^AWS::KMS::Key \["kms:\*"\] "\*"$/,
  '| `*` as resource in the policy of a KMS key': /^AWS::KMS::Key \[(?!"kms:\*").*\] "\*"$/,
};
/** Types without tags in CloudFormation, but those of IAM and of Cognito that belong to another, and the dashboard. */
const WITHOUT_TAGS =
  /^(?:Custom::\w+|AWS::ApiGatewayV2::(?:Authorizer|Integration|Route)|AWS::CloudFront::(?:CachePolicy|OriginAccessControl|OriginRequestPolicy|ResponseHeadersPolicy)|AWS::CloudWatch::Dashboard|AWS::Cognito::UserPool(?:Client|Domain|Group|ResourceServer)|AWS::EC2::(?:SecurityGroup(?:Egress|Ingress)|SubnetRouteTableAssociation)|AWS::Glue::(?:Database|Table)|AWS::IAM::(?:InstanceProfile|Policy)|AWS::KMS::Alias|AWS::Lambda::(?:Permission|Url)|AWS::Logs::(?:MetricFilter|ResourcePolicy)|AWS::S3::BucketPolicy|AWS::SNS::TopicPolicy|AWS::SQS::QueuePolicy|AWS::Scheduler::Schedule|AWS::SecretsManager::RotationSchedule)$/;

describe('all modules', () => {
  const { assembly, resources, of, one } = synthesise(
    { ...EVERYTHING, aws: { ...EVERYTHING.aws, tags: { team: 'video' } } },
    artefacts,
  );

  test('are in docs/stacks.svg (node scripts/make-stack-diagram.mjs)', () => {
    expect(readFileSync(packagePath('docs', 'stacks.svg'), 'utf8')).toBe(
      stackDiagram(stacksWithTypes(assembly.directory)),
    );
  });

  test('have the alarms and metrics that are paid for', () => {
    const { lines } = costOf(v.parse(ConfigurationSchema, EVERYTHING)).perMonth;
    const paid = (what: string) => lines.find((line) => line.what === what)?.quantity;
    const made = (type: string) => resources.filter(({ Type }) => Type === type).length;
    expect(paid('alarms')).toBe(made('AWS::CloudWatch::Alarm'));
    // And that of receipts, which a handler counts.
    const ofLogs = (paid('metrics of denials') ?? 0) + (paid('metrics of rendering') ?? 0) - 1;
    expect(ofLogs).toBe(made('AWS::Logs::MetricFilter'));
  });

  test('have the wildcards of docs/deployment.md, and no others', () => {
    const [, table = ''] =
      /Wildcards that remain:\n\n((?:\|.*\n)+)/.exec(readFileSync(packagePath('docs', 'deployment.md'), 'utf8')) ?? [];
    const found = resources.flatMap(({ Type, Properties: p }) => {
      const inline = Type === 'AWS::IAM::Role' ? (p.Policies ?? []) : [];
      const documents = [p, ...inline].flatMap(({ PolicyDocument, KeyPolicy }) => PolicyDocument ?? KeyPolicy ?? []);
      const allowed = documents.flatMap(({ Statement = [] }) => Statement).filter(({ Effect }) => Effect === 'Allow');
      return allowed.flatMap(({ Action, Resource: named }) => [
        ...[Action].flat().map(text),
        ...[named].flat().map((one) => `${Type} ${text([Action].flat())} ${text(one)}`),
      ]);
    });
    const wild = found.filter((one) => one.includes('*'));
    expect(wild.length).toBeGreaterThan(30);
    const isOf = (row: string) => (one: string) => WILDCARDS[row]?.test(one);
    const rows = Object.keys(WILDCARDS);
    expect(wild.filter((one) => !rows.some((row) => isOf(row)(one)))).toEqual([]);
    expect(rows.filter((row) => !table.includes(row) || !wild.some(isOf(row)))).toEqual([]);
    expect(table.trim().split('\n')).toHaveLength(rows.length + 2);
  });

  test('leave behind what docs/deployment.md deletes by its name', () => {
    const [, docs = ''] = readFileSync(packagePath('docs', 'deployment.md'), 'utf8').split('### Deleting it');
    const [, loop = ''] = /^for bucket in ([\w -]+);/m.exec(docs) ?? [];
    /** How the name of what stays is in a command; without one another of the same name may be made. */
    const isDeleted: Record<string, (properties: Record<string, unknown>) => boolean> = {
      'AWS::SecretsManager::Secret': ({ Name }) => docs.includes(`--secret-id ${Name} `),
      'AWS::DynamoDB::Table': ({ TableName }) => `${TableName}`.startsWith('portcullis-'),
      'AWS::S3::Bucket': ({ BucketName }) => {
        const [, name = ''] = /portcullis-([a-z-]+)-"/.exec(JSON.stringify(BucketName)) ?? [];
        return loop.split(' ').includes(name) || docs.includes(`portcullis-${name}-$ACCOUNT-us-east-1`);
      },
      'AWS::Cognito::UserPool': () => docs.includes('aws cognito-idp delete-user-pool '),
      'AWS::KMS::Key': () => docs.includes('aws kms schedule-key-deletion '),
    };
    const kept = resources.filter(({ DeletionPolicy }) => DeletionPolicy === 'Retain');
    expect(kept.length).toBeGreaterThan(20);
    expect(kept.filter(({ Type, Properties }) => !isDeleted[Type]?.(Properties)).map(({ id }) => id)).toEqual([]);
  });

  test('every bucket is closed to the public, encrypted and speaks TLS alone', () => {
    const policies = of('AWS::S3::BucketPolicy');
    const buckets = of('AWS::S3::Bucket');
    expect(buckets.length).toBeGreaterThan(5);
    for (const { stack, id, Properties } of buckets) {
      const policy = policies.find((other) => other.stack === stack && other.Properties.Bucket.Ref === id);
      const denied = policy?.Properties.PolicyDocument.Statement.find(
        ({ Condition }: { Condition?: object }) => text(Condition) === '{"Bool":{"aws:SecureTransport":"false"}}',
      );
      expect([id, denied]).toEqual([id, expect.objectContaining({ Effect: 'Deny', Principal: expect.anything() })]);
      expect([denied.Action].flat()).toEqual(['s3:*']);
      // The bucket, and what is in it.
      expect(denied.Resource).toHaveLength(2);
      expect(Properties.PublicAccessBlockConfiguration).toEqual({
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      });
      expect(Properties.BucketEncryption).toBeDefined();
    }
  });

  test('every log ends: decisions of the edge after a day', () => {
    const groups = of('AWS::Logs::LogGroup').map(({ Properties }) => Properties);
    expect(groups.length).toBeGreaterThan(25);
    for (const { LogGroupName: name, RetentionInDays } of groups) {
      expect([name, RetentionInDays]).toEqual([name, name === '/aws/vendedlogs/portcullis-decisions' ? 1 : 30]);
    }
  });

  test('everything that can have tags has those of the configuration', () => {
    const taggable = resources.filter(({ Type }) => !WITHOUT_TAGS.test(Type));
    expect(taggable.length).toBeGreaterThan(100);
    const untagged = taggable.filter(({ Properties: p }) => {
      // A user pool has them as an object, and a launch template gives them to what it launches.
      const lists = p.TagSpecifications?.map(({ Tags }: { Tags: unknown }) => Tags) ?? [p.Tags ?? p.UserPoolTags];
      return !lists.every((tags: unknown) => text(tags)?.includes('application') && text(tags).includes('team'));
    });
    expect(untagged.map(({ stack, id, Type }) => `${stack}: ${Type} ${id}`)).toEqual([]);
    expect(one('AWS::CloudFront::Distribution').Properties.Tags).toEqual([
      { Key: 'application', Value: 'portcullis' },
      { Key: 'team', Value: 'video' },
    ]);
  });
});

test('what CloudFront wants is in us-east-1, all else in the region of the configuration', () => {
  const more = { region: 'ap-southeast-2', delivery: { origin: 'media.example.com' } };
  const { assembly } = synthesise(configurationOf(['base', 'api'], more), artefacts);
  const regions = Object.fromEntries(
    assembly.stacks.map(({ stackName, environment }) => [stackName, environment.region]),
  );
  const configuration = v.parse(ConfigurationSchema, configurationOf(['base', 'api'], more));
  expect(regions).toEqual(Object.fromEntries(stacksOf(configuration)));
  const { template } = assembly.getStackByName('portcullis-edge');
  expect(template.Outputs[REGION_OUTPUT].Value).toBe('ap-southeast-2');
  expect(regions).toEqual({
    'portcullis-edge': 'us-east-1',
    'portcullis-delivery': 'us-east-1',
    'portcullis-base': 'ap-southeast-2',
    'portcullis-api': 'ap-southeast-2',
    'portcullis-monitoring': 'ap-southeast-2',
    'portcullis-edge-monitoring': 'us-east-1',
  });
});

test('names of the distribution need a certificate where the distribution is made, and only there', () => {
  const refused = (delivery: object) =>
    contradictions(v.parse(ConfigurationSchema, { aws: { delivery } })).map(({ path }) => path);
  const domainNames = ['play.example.com'];
  expect(refused({ domainNames })).toEqual([]);
  expect(refused({ domainNames, origin: 'media.example.com' })).toEqual(['aws.delivery.certificateArn']);
});

test('a handler that was not built is named', () => {
  const { deployment: _, ...handlers } = artefacts.handlers;
  expect(() => synthesise(configurationOf(['base']), { ...artefacts, handlers })).toThrow(
    "the handler 'deployment' was not built: npm run build",
  );
});

test.each([
  ['key-rotation', 'arn:aws:secretsmanager:us-east-1:123456789012:secret:*'],
  ['key-rotation', '*'],
  ['key-rotation', 'arn:aws:s3:::somebody/*'],
])('a wildcard that nobody gave a reason for fails the synthesis: %s on %s', (name, resource) => {
  const stack = new Stack(new App({ analyticsReporting: false }), 'stack');
  Validations.of(stack.node.root).addPlugins(new AwsSolutionsChecks(stack.node.root as App));
  const configuration = v.parse(ConfigurationSchema, {});
  const arns = { keyRing: [resource], keyRingKey: ['arn:k'], edgeStore: ['arn:s'] };
  new Handler(stack, name, { configuration, artefacts, arns, settings: {}, wildcards: [OBJECTS] });
  expect(() => (stack.node.root as App).synth()).toThrow(`AwsSolutions-IAM5[Resource::${resource}]`);
});
