import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { TABLES, TIME_TO_LIVE } from '../../lambda/tables.ts';
import { packagePath } from '../../local/package-root.ts';
import { builtArtefacts } from '../harness/artefacts.ts';
import { isOnPath, LONG } from '../harness/programs.ts';
import { type Resource, synthesise } from '../harness/templates.ts';

const artefacts = builtArtefacts();
/** In two regions, with a distribution, a rule group and a user pool. */
const whole = synthesise(
  {
    aws: {
      region: 'eu-central-1',
      modules: ['base', 'api'],
      tags: { team: 'video' },
      alarmEmail: 'ops@example.com',
      delivery: {
        origin: 'media.example.com',
        domainNames: ['play.example.com'],
        certificateArn: 'arn:aws:acm:us-east-1:123456789012:certificate/a1b2',
      },
    },
    revocation: { waf: { publish: true } },
  },
  artefacts,
);
/** In one region, with embedded keys, an origin in S3 to come, no name and an identity provider of one's own. */
const embedded = synthesise(
  {
    aws: {
      modules: ['base', 'api', 'mastering'],
      keys: { at: 'embedded' },
      delivery: { origin: 'packages' },
      identity: { issuer: 'https://login.example.com/' },
    },
  },
  artefacts,
);
const TAGS = [
  { Key: 'application', Value: 'portcullis' },
  { Key: 'team', Value: 'video' },
];
const all = [...whole.resources, ...embedded.resources];

const edgeFile = (name: string) => readFileSync(packagePath('dist', 'edge', name), 'utf8');
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value]);
const text = (value: unknown) => JSON.stringify(value);

describe('permissions', () => {
  const statements = (resources: Resource[]) =>
    resources.flatMap(({ Type, Properties }) => {
      const inline = Type === 'AWS::IAM::Role' ? (Properties.Policies ?? []) : [];
      const all = [Properties, ...inline].flatMap(({ PolicyDocument }) => PolicyDocument?.Statement ?? []);
      return all.filter(({ Effect }) => Effect === 'Allow');
    });

  test('name every action', () => {
    const actions = statements(all).flatMap(({ Action }) => list(Action));
    expect(actions.length).toBeGreaterThan(20);
    expect(actions.filter((action) => text(action).includes('*'))).toEqual([]);
  });

  test('name every resource that has a name when this is deployed', () => {
    const found = statements(all).flatMap(({ Action, Resource: named }) =>
      list(named).map((resource) => ({ actions: list(Action), resource: text(resource) })),
    );
    const allowed =
      /rulegroup\/portcullis-revoked-sessions-(?:\*|\d+)\/\*|rule-group\/portcullis-revoked-sessions-\*|parameter\/cdk\/exports\/(?:[\w-]+\/)?\*/;
    // Objects of the buckets here.
    const objects = /"Fn::GetAtt":\["\w+Bucket\w+","Arn"\]},"\/\*"\]\]}$/;
    const wild = found.filter(
      ({ resource }) => resource.includes('*') && !allowed.test(resource) && !objects.test(resource),
    );
    // WAF tells of rule groups in all or not at all.
    expect(new Set(wild.map(text))).toEqual(new Set([text({ actions: ['wafv2:ListRuleGroups'], resource: '"*"' })]));
  });

  test('of a handler are those of its row, and its log', () => {
    for (const name of ['api', 'key-rotation', 'deployment', 'origin-secret-rotation']) {
      const policy = whole.one('AWS::IAM::Policy', `${name.replaceAll('-', '')}Policy`);
      const actions = policy.Properties.PolicyDocument.Statement.flatMap(({ Action }: { Action: unknown }) =>
        list(Action),
      );
      const { permissions } = artefacts.handlers[name] ?? { permissions: {} };
      // This deployment has neither queue nor state machine, nor tables of revocation, nor embedded keys.
      const absent =
        /^(?:publications|detectionMachine|table:portcullis-(?:revocation|suspicious|detections|log-objects).*)$/;
      const isAbsent = (resource: string) =>
        absent.test(resource) || (resource === 'edgeFunction' && name !== 'deployment');
      const rows = Object.entries(permissions).flatMap(([resource, row]) => (isAbsent(resource) ? [] : row));
      expect(new Set(actions)).toEqual(new Set(['logs:CreateLogStream', 'logs:PutLogEvents', ...rows]));
    }
  });

  test('of who updates the distribution include its web ACL, where it has one', () => {
    const of = (templates: typeof whole) =>
      text(templates.one('AWS::IAM::Policy', 'originsecretrotationPolicy').Properties.PolicyDocument);
    expect(of(whole)).toMatch(/"wafv2:GetWebACL","Effect":"Allow","Resource":\{"Fn::GetAtt":\["WebAcl","Arn"\]/);
    expect(of(embedded)).not.toContain('wafv2:');
  });

  test('of services to invoke a function hold for this account', () => {
    const permissions = all.filter(({ Type }) => Type === 'AWS::Lambda::Permission');
    const bound = permissions.filter(({ Properties: p }) => p.SourceAccount !== undefined || p.SourceArn !== undefined);
    expect(permissions.length).toBeGreaterThan(4);
    expect(bound).toEqual(permissions);
    expect(permissions.filter(({ Properties: { Principal } }) => Principal === '*')).toEqual([]);
  });
});

describe('what lives on', () => {
  test('is not in any template: no rule group, no function that carries keys, no value of the key ring', () => {
    expect(all.filter(({ Type }) => Type === 'AWS::WAFv2::RuleGroup')).toEqual([]);
    for (const templates of [whole, embedded]) {
      const functions = templates.of('AWS::CloudFront::Function');
      expect(functions.map(({ Properties }) => Properties.FunctionCode)).toEqual([edgeFile('viewer-request.js')]);
      const ring = templates.one('AWS::SecretsManager::Secret', 'KeyRing');
      expect(Object.keys(ring.Properties).sort()).toEqual(['Description', 'KmsKeyId', 'Name', 'Tags']);
      expect(ring.DeletionPolicy).toBe('Retain');
    }
    expect(embedded.one('AWS::CloudFront::KeyValueStore').Properties).not.toHaveProperty('ImportSource');
  });

  test('is made by the handler: the rule group, and the function with its keys still to come', () => {
    const group = whole.one('Custom::PortcullisRuleGroup');
    expect(group.Properties).toMatchObject({
      Name: 'portcullis-revoked-sessions',
      Scope: 'CLOUDFRONT',
      CapacityWcu: 1500,
    });
    const made = embedded.one('Custom::PortcullisEmbeddedFunction');
    expect(made.Properties.Code).toBe(edgeFile('viewer-request.embedded.js'));
    expect(made.Properties.Code).toMatch(/\nconst KEYS=\{\};\n$/);
    expect(text(made.Properties.ServiceToken)).toContain('function:portcullis-deployment');
  });

  test('is looked after by every deployment that changes something', () => {
    const [name = ''] = Object.keys(artefacts.handlers);
    const { [name]: handler, ...others } = artefacts.handlers;
    const changed = { ...artefacts, handlers: { ...others, ...(handler && { [name]: { ...handler, sha256: '1' } }) } };
    const settings = { aws: { modules: ['base'] } };
    const revisionOf = (...args: Parameters<typeof synthesise>) =>
      synthesise(...args).one('Custom::PortcullisKeyRing').Properties.Revision;
    const before = revisionOf(settings, artefacts);
    expect(before).toMatch(/^[0-9a-f]{64}$/);
    expect(revisionOf(settings, artefacts)).toBe(before);
    expect(revisionOf(settings, changed)).not.toBe(before);
    expect(revisionOf(settings, { ...artefacts, infraSha256: '1' })).not.toBe(before);
    expect(embedded.one('Custom::PortcullisKeyRing').Properties.Revision).not.toBe(before);
  });

  test('is there before a distribution is: the ring is bootstrapped and published first', () => {
    for (const { assembly } of [whole, embedded]) {
      const dependencies = (stack: string) =>
        assembly.getStackByName(stack).dependencies.flatMap(({ id }) => (id.endsWith('.assets') ? [] : [id]));
      expect(dependencies('portcullis-delivery')).toContain('portcullis-base');
      expect(dependencies('portcullis-base')).toContain('portcullis-edge');
      expect(dependencies('portcullis-api')).toContain('portcullis-delivery');
    }
    expect(embedded.one('Custom::PortcullisKeyRing').DependsOn).toContain(
      embedded.one('Custom::PortcullisEmbeddedFunction').id,
    );
  });

  test('can be removed by what made it when the configuration has it no more', () => {
    const { PolicyDocument } = synthesise({ aws: { modules: ['base'] } }, artefacts).one(
      'AWS::IAM::Policy',
      'deploymentPolicy',
    ).Properties;
    for (const action of ['cloudfront:DeleteFunction', 'wafv2:DeleteRuleGroup', 'ssm:DeleteParameter']) {
      expect(text(PolicyDocument)).toContain(action);
    }
  });

  test('survives the end of its stack: tables, key ring and its KMS key', () => {
    const tables = whole.of('AWS::DynamoDB::Table');
    const kept = [
      ...tables,
      whole.one('AWS::SecretsManager::Secret', 'KeyRing'),
      whole.one('AWS::KMS::Key', 'KeyRingKey'),
    ];
    expect(kept.map(({ DeletionPolicy }) => DeletionPolicy)).toEqual(kept.map(() => 'Retain'));
  });
});

describe('tables', () => {
  const tables = whole.of('AWS::DynamoDB::Table').map(({ Properties }) => Properties);

  test('are those of the code', () => {
    const shapes = tables.map((p) => ({
      TableName: p.TableName,
      BillingMode: p.BillingMode,
      AttributeDefinitions: p.AttributeDefinitions,
      KeySchema: p.KeySchema,
      ...(p.GlobalSecondaryIndexes && { GlobalSecondaryIndexes: p.GlobalSecondaryIndexes }),
    }));
    expect(shapes).toEqual(TABLES.api);
  });

  test('are encrypted, can be restored, and forget when their code says so', () => {
    for (const p of tables) {
      expect(p.SSESpecification).toEqual({ SSEEnabled: true });
      expect(p.PointInTimeRecoverySpecification).toEqual({ PointInTimeRecoveryEnabled: true });
      expect(p.DeletionProtectionEnabled).toBe(true);
      expect(p.TimeToLiveSpecification?.AttributeName).toBe(TIME_TO_LIVE[p.TableName]);
    }
  });
});

describe('the edge', () => {
  const { DistributionConfig: distribution } = whole.one('AWS::CloudFront::Distribution').Properties;
  const headersOf = (name: string) =>
    whole.one('AWS::CloudFront::OriginRequestPolicy', name).Properties.OriginRequestPolicyConfig.HeadersConfig;

  test('runs the tested bytes', () => {
    const code = whole.one('AWS::CloudFront::Function').Properties.FunctionCode;
    const digest = createHash('sha256').update(code).digest('hex');
    expect(digest).toBe(artefacts.edge.functions['viewer-request.js']?.sha256);
    const { FunctionConfig } = whole.one('AWS::CloudFront::Function').Properties;
    expect(FunctionConfig.KeyValueStoreAssociations).toHaveLength(1);
    expect(FunctionConfig.Runtime).toBe('cloudfront-js-2.0');
  });

  test('answers media over TLS alone, and never redirects a token', () => {
    const behaviours = [distribution.DefaultCacheBehavior, ...distribution.CacheBehaviors];
    expect(behaviours.map((behaviour) => behaviour.ViewerProtocolPolicy)).toEqual(['https-only', 'https-only']);
    expect(distribution.ViewerCertificate.MinimumProtocolVersion).toBe('TLSv1.2_2021');
    for (const { CustomOriginConfig } of distribution.Origins) {
      expect(CustomOriginConfig).toEqual({ OriginProtocolPolicy: 'https-only', OriginSSLProtocols: ['TLSv1.2'] });
    }
    expect(distribution.HttpVersion).toBe('http2and3');
  });

  test('checks tokens of media, not of the API', () => {
    const [api] = distribution.CacheBehaviors;
    expect(distribution.DefaultCacheBehavior.FunctionAssociations).toHaveLength(1);
    expect(api).toMatchObject({ PathPattern: '/v1/*' });
    expect(api).not.toHaveProperty('FunctionAssociations');
  });

  test('has CloudFront generate what the function reads, and the address too for the API: ten at most', () => {
    const { generatedHeaders } = artefacts.edge;
    expect(headersOf('MediaRequest')).toEqual({ HeaderBehavior: 'whitelist', Headers: generatedHeaders });
    expect(headersOf('ApiRequest')).toEqual({
      HeaderBehavior: 'whitelist',
      Headers: ['cloudfront-viewer-address', ...generatedHeaders],
    });
    for (const name of ['MediaRequest', 'ApiRequest']) expect(headersOf(name).Headers.length).toBeLessThanOrEqual(10);
  });

  test('caches media by path and the parameters of low-latency HLS, of the API nothing', () => {
    const cache = (name: string) => whole.one('AWS::CloudFront::CachePolicy', name).Properties.CachePolicyConfig;
    const { ParametersInCacheKeyAndForwardedToOrigin: media } = cache('MediaCache');
    expect(media).toMatchObject({
      HeadersConfig: { HeaderBehavior: 'none' },
      CookiesConfig: { CookieBehavior: 'none' },
      QueryStringsConfig: { QueryStringBehavior: 'whitelist', QueryStrings: ['_HLS_msn', '_HLS_part', '_HLS_skip'] },
    });
    expect(cache('ApiCache')).toMatchObject({ MinTTL: 0, DefaultTTL: 0, MaxTTL: 1 });
    expect(cache('ApiCache').ParametersInCacheKeyAndForwardedToOrigin.HeadersConfig.Headers).toContain('authorization');
  });

  test('proves itself to the API, and to nobody else', () => {
    const [media, api] = distribution.Origins;
    expect(media).not.toHaveProperty('OriginCustomHeaders');
    expect(api.OriginCustomHeaders).toHaveLength(1);
    expect(text(api.OriginCustomHeaders)).toMatch(/"x-origin-secret".*\{\{resolve:secretsmanager:/);
  });

  test('blocks revoked sessions before the function, without samples of their paths', () => {
    const { Rules, DefaultAction, Scope, VisibilityConfig } = whole.one('AWS::WAFv2::WebACL').Properties;
    expect({ DefaultAction, Scope }).toEqual({ DefaultAction: { Allow: {} }, Scope: 'CLOUDFRONT' });
    expect(Rules).toHaveLength(1);
    expect([VisibilityConfig, Rules[0].VisibilityConfig].map((config) => config.SampledRequestsEnabled)).toEqual([
      false,
      false,
    ]);
    expect(embedded.of('AWS::WAFv2::WebACL')).toEqual([]);
  });

  test('reads packages as a distribution, from a bucket that is not public', () => {
    const { DistributionConfig } = embedded.one('AWS::CloudFront::Distribution').Properties;
    const [packages] = DistributionConfig.Origins;
    expect(packages.OriginAccessControlId).toBeDefined();
    expect(text(packages.DomainName)).toMatch(/portcullis-packages-.*us-east-1/);
    expect(
      embedded.one('AWS::CloudFront::OriginAccessControl', 'Distribution').Properties.OriginAccessControlConfig,
    ).toMatchObject({
      SigningBehavior: 'always',
      SigningProtocol: 'sigv4',
    });
    expect(text(DistributionConfig.DefaultCacheBehavior.FunctionAssociations)).toContain(
      'function/portcullis-viewer-request-embedded',
    );
  });
});

describe('the API', () => {
  test('asks for a token of the issuer on every route but the open ones', () => {
    const routes = embedded.of('AWS::ApiGatewayV2::Route').map(({ Properties }) => Properties);
    const open = routes.filter(({ AuthorizationType }) => AuthorizationType !== 'JWT');
    expect(open.map(({ RouteKey }) => RouteKey).sort()).toEqual([
      'GET /v1/docs',
      'GET /v1/openapi.json',
      'OPTIONS /v1/{proxy+}',
    ]);
    expect(routes.map(({ RouteKey }) => RouteKey)).toContain('POST /v1/{proxy+}');
    expect(embedded.one('AWS::ApiGatewayV2::Authorizer').Properties).toMatchObject({
      AuthorizerType: 'JWT',
      IdentitySource: ['$request.header.Authorization'],
      JwtConfiguration: { Issuer: 'https://login.example.com/', Audience: ['portcullis'] },
    });
  });

  test('takes tokens of its own user pool where there is no issuer: two factors, no sign-up, a scope for each program', () => {
    const pool = whole.one('AWS::Cognito::UserPool').Properties;
    expect(pool).toMatchObject({ MfaConfiguration: 'ON', AdminCreateUserConfig: { AllowAdminCreateUserOnly: true } });
    const clients = whole.of('AWS::Cognito::UserPoolClient').map(({ Properties }) => Properties);
    const { JwtConfiguration } = whole.one('AWS::ApiGatewayV2::Authorizer').Properties;
    expect(JwtConfiguration.Audience).toHaveLength(clients.length);
    // A scope of people would give the role to each of them.
    const scoped = clients.filter(({ AllowedOAuthScopes = [] }) =>
      /portcullis|UserPoolServer/.test(text(AllowedOAuthScopes)),
    );
    expect(scoped.map(({ AllowedOAuthFlows }) => AllowedOAuthFlows)).toEqual([
      ['client_credentials'],
      ['client_credentials'],
    ]);
    expect(
      whole
        .of('AWS::Cognito::UserPoolGroup')
        .map(({ Properties }) => Properties.GroupName)
        .sort(),
    ).toEqual(['backend', 'player', 'security']);
    expect(embedded.of('AWS::Cognito::UserPool')).toEqual([]);
  });

  test('is throttled, and logs neither path nor header', () => {
    const { DefaultRouteSettings, AccessLogSettings } = whole.one('AWS::ApiGatewayV2::Stage').Properties;
    expect(DefaultRouteSettings).toEqual({ ThrottlingRateLimit: 1000, ThrottlingBurstLimit: 2000 });
    expect(AccessLogSettings.Format).not.toMatch(/\$context\.path|header|authorizer\.claims|identity/i);
  });

  test('knows where the edge is: its own name, or the one that CloudFront gives', () => {
    const settingsOf = (templates: typeof whole) =>
      text(templates.one('AWS::Lambda::Function', 'apiFunction').Properties.Environment.Variables);
    expect(settingsOf(whole)).toContain('https://play.example.com');
    expect(settingsOf(embedded)).toMatch(/https:\/\/.*portcullis-delivery:/);
  });
});

describe('the key ring', () => {
  test('rotates by its function, not at once, after it has a key; and is taken further between rotations', () => {
    const schedule = embedded
      .of('AWS::SecretsManager::RotationSchedule')
      .find(({ stack }) => stack === 'portcullis-base');
    expect(schedule?.Properties).toMatchObject({
      RotateImmediatelyOnUpdate: false,
      RotationRules: { AutomaticallyAfterDays: 30 },
    });
    expect(schedule?.DependsOn).toContain(embedded.one('Custom::PortcullisKeyRing').id);
    expect(embedded.one('AWS::Events::Rule').Properties.ScheduleExpression).toBe('rate(2 minutes)');
    expect(text(embedded.one('AWS::Events::Rule').Properties.Targets)).toContain('keyrotationFunction');
  });

  test('is encrypted with a key of its own, which rotates', () => {
    const key = whole.one('AWS::KMS::Key', 'KeyRingKey');
    for (const { Properties } of whole.of('AWS::KMS::Key')) expect(Properties.EnableKeyRotation).toBe(true);
    expect(text(whole.one('AWS::SecretsManager::Secret', 'KeyRing').Properties.KmsKeyId)).toContain(key.id);
  });
});

test('no template holds a secret', () => {
  for (const { assembly } of [whole, embedded]) {
    for (const { stackName, template } of assembly.stacks) {
      const content = text(template);
      // 32 bytes as base64url are what keys look like; the code of the functions, which is public, has none.
      expect(content.match(/"secret":|"SecretString"|-----BEGIN|AKIA[0-9A-Z]{16}/i), stackName).toBeNull();
    }
  }
});

test('functions run what was built, on Node 22 and arm64, with one variable', () => {
  const functions = whole.of('AWS::Lambda::Function');
  const isOurs = ({ Properties }: Resource) => Properties.FunctionName?.startsWith('portcullis-');
  const ours = functions.filter(isOurs);
  expect(ours).toHaveLength(4);
  for (const { Properties: p } of ours) {
    expect(p).toMatchObject({ Runtime: 'nodejs22.x', Architectures: ['arm64'], Handler: 'index.handler' });
    expect(Object.keys(p.Environment.Variables)).toEqual(['PORTCULLIS_SETTINGS']);
  }
  // CDK's own, for values that go to another region: in a runtime of its choice, and with a log that ours alone reach.
  const others = functions.filter((resource) => !isOurs(resource));
  expect(others.length).toBeGreaterThan(4);
  for (const { id, stack, Properties: p } of others) {
    expect(id).toMatch(/^CustomCrossRegionExport/);
    expect(p.Architectures).toEqual(['arm64']);
    const log = whole.resources.find((other) => other.stack === stack && other.id === p.LoggingConfig.LogGroup.Ref);
    expect(log?.Properties).toMatchObject({ RetentionInDays: 30, Tags: TAGS });
  }
  for (const { Properties: p } of whole.of('AWS::IAM::Role')) expect(p).not.toHaveProperty('ManagedPolicyArns');
});

/** A property as CloudFormation would write it: what AWS names becomes some ARN. */
function written(value: unknown): string {
  if (typeof value === 'string') return value;
  const { 'Fn::Join': joined, Ref } = value as { 'Fn::Join'?: [string, unknown[]]; Ref?: string };
  if (joined) return joined[1].map(written).join(joined[0]);
  const pseudo: Record<string, string> = { 'AWS::URLSuffix': 'amazonaws.com', 'AWS::AccountId': '123456789012' };
  return pseudo[Ref ?? ''] ?? 'arn:aws:service:eu-central-1:123456789012:name';
}

test('every handler starts with the settings that its stack gives it', () => {
  for (const { Properties: p } of [...whole.of('AWS::Lambda::Function'), ...embedded.of('AWS::Lambda::Function')]) {
    const name = /^portcullis-(.+)$/.exec(p.FunctionName ?? '')?.[1] ?? '';
    const { folder } = artefacts.handlers[name] ?? {};
    if (folder === undefined) continue;
    const variable = written(p.Environment.Variables.PORTCULLIS_SETTINGS);
    const start = spawnSync(
      process.execPath,
      [
        '--input-type=module',
        '-e',
        `const { handler } = await import(process.argv[1]); process.stdout.write(typeof handler);`,
        `${folder}/index.mjs`,
      ],
      { encoding: 'utf8', env: { ...process.env, PORTCULLIS_SETTINGS: variable, AWS_REGION: 'eu-central-1' } },
    );
    expect(`${name}: ${start.stdout || start.stderr}`).toBe(`${name}: function`);
  }
});

const CFN_LINT = isOnPath('cfn-lint');
test.skipIf(!CFN_LINT)(`templates pass cfn-lint${CFN_LINT ? '' : ' (needs cfn-lint, which is not installed)'}`, () => {
  const templates = (LONG ? [whole, embedded] : [whole]).flatMap(({ assembly }) =>
    assembly.stacks.map(({ templateFullPath }) => templateFullPath),
  );
  // W3005: CDK names dependencies that CloudFormation would find by itself.
  const { stdout, status } = spawnSync('cfn-lint', ['--ignore-checks', 'W3005', '--', ...templates], {
    encoding: 'utf8',
  });
  expect(stdout).toBe('');
  expect(status).toBe(0);
});
