import * as v from 'valibot';
import { describe, expect, test } from 'vitest';
import { contradictions } from '../../config/contradictions.ts';
import { ConfigurationSchema } from '../../config/schema.ts';
import { builtArtefacts } from '../harness/artefacts.ts';
import { evaluate } from '../harness/template-values.ts';
import { type Resource, synthesise, type Templates } from '../harness/templates.ts';

const artefacts = builtArtefacts();
const aws = { region: 'eu-central-1', modules: ['base', 'api', 'console'], delivery: { origin: 'media.example.com' } };
const withPool = synthesise({ aws }, artefacts);
const issuer = 'https://login.example.com/realms/media';
const withIssuer = synthesise({ aws: { ...aws, identity: { issuer }, console: { clientId: 'console' } } }, artefacts);

const written = (value: unknown) => evaluate(value, { 'AWS::Region': 'us-east-1' });
const policyOf = (made: Templates) =>
  written(made.one('AWS::CloudFront::ResponseHeadersPolicy', 'Console').Properties.ResponseHeadersPolicyConfig);
const connections = (made: Templates) => {
  const { ContentSecurityPolicy: csp } = policyOf(made).SecurityHeadersConfig;
  return csp.ContentSecurityPolicy.match(/connect-src ([^;]*)/)?.[1];
};
const output = (made: Templates, name: string) =>
  made.assembly.stacks.find(({ stackName }) => stackName === 'portcullis-api')?.template.Outputs[name]?.Value;

describe('the bucket', () => {
  const bucket: Resource = withPool.one('AWS::S3::Bucket', 'Console');
  const { PolicyDocument } = withPool.one('AWS::S3::BucketPolicy', 'Console').Properties;

  test('is closed and encrypted, and there is one policy of it', () => {
    expect(Object.values(bucket.Properties.PublicAccessBlockConfiguration)).toEqual([true, true, true, true]);
    expect(bucket.Properties.BucketEncryption).toBeDefined();
    expect(bucket.stack).toBe('portcullis-delivery');
    expect(withPool.of('AWS::S3::BucketPolicy').filter(({ stack }) => stack === bucket.stack)).toHaveLength(1);
  });

  test('is read by this distribution alone, below its paths', () => {
    const allowed = written(PolicyDocument).Statement.filter(({ Effect }: { Effect: string }) => Effect === 'Allow');
    const distribution = withPool.one('AWS::CloudFront::Distribution').id;
    expect(allowed).toEqual([
      expect.objectContaining({
        Principal: { Service: 'cloudfront.amazonaws.com' },
        Action: ['s3:GetObject'],
        Resource: [`${bucket.id}.Arn/console/*`],
        Condition: { StringEquals: { 'aws:SourceArn': expect.stringContaining(`distribution/${distribution}`) } },
      }),
    ]);
  });
});

describe('the behaviour', () => {
  const { DistributionConfig: distribution } = withPool.one('AWS::CloudFront::Distribution').Properties;
  const behaviour = distribution.CacheBehaviors.find(
    ({ PathPattern }: { PathPattern: string }) => PathPattern === '/console/*',
  );
  const origin = distribution.Origins.find(({ Id }: { Id: string }) => Id === behaviour.TargetOriginId);

  test('asks S3 by origin access control, over TLS, and runs no function', () => {
    expect(behaviour.ViewerProtocolPolicy).toBe('https-only');
    expect(behaviour).not.toHaveProperty('FunctionAssociations');
    expect(behaviour.AllowedMethods).toEqual(['GET', 'HEAD']);
    expect(origin.OriginAccessControlId).toBeDefined();
    expect(origin).not.toHaveProperty('OriginCustomHeaders');
    const { OriginAccessControlConfig } = withPool.one('AWS::CloudFront::OriginAccessControl').Properties;
    expect(OriginAccessControlConfig).toMatchObject({ SigningBehavior: 'always', SigningProtocol: 'sigv4' });
  });

  test('answers with a strict policy, which no origin can change', () => {
    const { SecurityHeadersConfig: headers } = policyOf(withIssuer);
    expect(headers.ContentSecurityPolicy).toEqual({
      ContentSecurityPolicy:
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src blob:; worker-src blob:; " +
        "connect-src 'self' https://login.example.com; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
        "require-trusted-types-for 'script'; trusted-types 'none'",
      Override: true,
    });
    expect(headers.FrameOptions).toEqual({ FrameOption: 'DENY', Override: true });
    expect(headers.ReferrerPolicy).toEqual({ ReferrerPolicy: 'no-referrer', Override: true });
    expect(headers.StrictTransportSecurity).toMatchObject({ Override: true });
  });

  test('lets the page connect to the addresses of the user pool', () => {
    expect(connections(withPool)).toMatch(
      /^'self' https:\/\/cognito-idp\.eu-central-1\.\S+ https:\/\/portcullis-\d+\.auth\.eu-central-1\.amazoncognito\.com$/,
    );
  });
});

describe('the login', () => {
  const clients = (made: Templates) => made.of('AWS::Cognito::UserPoolClient');
  const people = clients(withPool).find(({ Properties }) => Properties.ClientName === 'portcullis-people');

  test('is by code, of a client without a secret, and comes back to the page alone', () => {
    expect(people?.Properties).toMatchObject({
      AllowedOAuthFlows: ['code'],
      AllowedOAuthScopes: ['openid'],
      GenerateSecret: false,
    });
    expect(people?.Properties.CallbackURLs).toHaveLength(1);
    expect(people?.Properties.CallbackURLs).toEqual([output(withPool, 'ConsoleUrl')]);
    expect(JSON.stringify(output(withPool, 'ConsoleUrl'))).toMatch(/\/console\/index\.html"/);
  });

  test('is at the issuer of the configuration, with its client', () => {
    expect(clients(withIssuer)).toEqual([]);
    expect(JSON.parse(output(withIssuer, 'ConsoleSettings'))).toEqual({
      login: 'oidc',
      issuer,
      clientId: 'console',
      detection: false,
    });
  });

  test('is not there without the module', () => {
    const without = synthesise({ aws: { ...aws, modules: ['base', 'api'] } }, artefacts);
    expect(without.of('AWS::S3::Bucket')).toEqual([]);
    for (const { Properties } of clients(without)) expect(Properties.AllowedOAuthFlows ?? []).not.toContain('code');
    expect(output(without, 'ConsoleSettings')).toBeUndefined();
  });
});

test.each([
  ['no distribution', { aws: { ...aws, delivery: {} } }, 'aws.delivery.origin'],
  ['an issuer without a client', { aws: { ...aws, identity: { issuer } } }, 'aws.console.clientId'],
  ['a client without its issuer', { aws: { ...aws, console: { clientId: 'console' } } }, 'aws.console.clientId'],
  ['tokens at its paths', { edge: { tokenPosition: '/console/~TOKEN' }, aws }, 'edge.tokenPosition'],
])('is refused with %s', (_, configuration, path) => {
  expect(contradictions(v.parse(ConfigurationSchema, configuration)).map((problem) => problem.path)).toEqual([path]);
});
