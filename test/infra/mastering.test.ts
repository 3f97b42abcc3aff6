import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { MASTER_CONTEXTS } from '../../enclave-render/mastering/contexts.ts';
import { contentKeyContext } from '../../enclave-render/packaging/content-keys.ts';
import { packagePath } from '../../local/package-root.ts';
import { builtArtefacts } from '../harness/artefacts.ts';
import { evaluate } from '../harness/template-values.ts';
import { synthesise } from '../harness/templates.ts';

const made = synthesise(
  { aws: { region: 'eu-central-1', modules: ['base', 'mastering'], delivery: { origin: 'packages' } } },
  builtArtefacts(),
);
const text = (value: unknown) => JSON.stringify(value);
/** A document of the mastering stack as CloudFormation would write it: resources become their logical ids. */
const written = (value: unknown) => evaluate(value, { 'AWS::Region': 'eu-central-1' });
// biome-ignore lint/suspicious/noExplicitAny: statements have as many shapes as there are policies.
type Statement = any;

describe('the buckets', () => {
  const policyOf = (name: string): Statement[] =>
    written(made.one('AWS::S3::BucketPolicy', name).Properties.PolicyDocument).Statement;

  /** What the command prints for a bucket and a key of these ARNs. */
  function printed(bucket: string, kmsKey: string | undefined): Statement[] {
    const argv = ['storage', 'policy', '--bucket', 'some-bucket', ...(kmsKey ? ['--kms-key', SOME_KEY] : [])];
    const { stdout } = spawnSync(process.execPath, [packagePath('dist/lib/cli/portcullis.js'), ...argv], {
      encoding: 'utf8',
    });
    const policy = stdout.replaceAll('arn:aws:s3:::some-bucket', bucket).replaceAll(SOME_KEY, kmsKey ?? '');
    return JSON.parse(policy).Statement;
  }
  const SOME_KEY = 'arn:aws:kms:eu-central-1:111122223333:key/0a1b2c3d-0000-4000-8000-000000000000';

  test('have the policies that `portcullis storage policy` prints', () => {
    const masters = made.one('AWS::S3::Bucket', 'Masters').id;
    const packages = made.one('AWS::S3::Bucket', 'Packages').id;
    const storageKey = made.one('AWS::KMS::Key', 'StorageKey').id;
    expect(policyOf('Masters')).toEqual(printed(`${masters}.Arn`, `${storageKey}.Arn`));
    expect(policyOf('Packages').slice(0, -2)).toEqual(printed(`${packages}.Arn`, undefined));
  });

  test('let distributions of this account read packages, and never the tables of their keys', () => {
    const { id } = made.one('AWS::S3::Bucket', 'Packages');
    const [read, deny] = policyOf('Packages').slice(-2);
    expect(read).toMatchObject({
      Effect: 'Allow',
      Principal: { Service: 'cloudfront.amazonaws.com' },
      Action: ['s3:GetObject'],
      Condition: { ArnLike: { 'aws:SourceArn': 'arn:aws:cloudfront::123456789012:distribution/*' } },
    });
    expect(deny).toMatchObject({
      Effect: 'Deny',
      Resource: [`${id}.Arn/keys.json`, `${id}.Arn/*/keys.json`],
    });
    expect(deny).not.toHaveProperty('Condition');
  });

  test('are closed, encrypted, versioned, and stay', () => {
    const buckets = made.of('AWS::S3::Bucket');
    expect(buckets).toHaveLength(2);
    for (const { Properties: p, DeletionPolicy } of buckets) {
      expect(Object.values(p.PublicAccessBlockConfiguration)).toEqual([true, true, true, true]);
      expect(p.BucketEncryption).toBeDefined();
      expect([p.VersioningConfiguration.Status, DeletionPolicy]).toEqual(['Enabled', 'Retain']);
    }
  });
});

describe('the role of MediaConvert', () => {
  const role = made.one('AWS::IAM::Role', 'MediaConvert');
  const statements: Statement[] = written(
    made.one('AWS::IAM::Policy', 'MediaConvert').Properties.PolicyDocument,
  ).Statement;

  test('is for jobs of this account', () => {
    expect(role.Properties.AssumeRolePolicyDocument.Statement).toEqual([
      {
        Action: 'sts:AssumeRole',
        Effect: 'Allow',
        Principal: { Service: 'mediaconvert.amazonaws.com' },
        Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } },
      },
    ]);
  });

  test('reads masters, writes packages, and opens what is for MediaConvert: no master of the archive', () => {
    expect(statements.map(({ Action, Resource, Condition }) => [Action, Resource, Condition])).toEqual([
      ['s3:GetObject', `${made.one('AWS::S3::Bucket', 'Masters').id}.Arn/*`, undefined],
      ['s3:PutObject', `${made.one('AWS::S3::Bucket', 'Packages').id}.Arn/*`, undefined],
      [
        'kms:Decrypt',
        `${made.one('AWS::KMS::Key', 'MasteringKey').id}.Arn`,
        { StringEquals: { 'kms:EncryptionContext:service': MASTER_CONTEXTS.gcm.service } },
      ],
      [
        'kms:Decrypt',
        `${made.one('AWS::KMS::Key', 'StorageKey').id}.Arn`,
        { StringEquals: { 'kms:ViaService': 's3.eu-central-1.amazonaws.com' } },
      ],
    ]);
    expect(MASTER_CONTEXTS.framed.service).not.toBe(MASTER_CONTEXTS.gcm.service);
  });
});

describe('the key server', () => {
  const { DistributionConfig: distribution } = made.one('AWS::CloudFront::Distribution').Properties;
  const keys = distribution.CacheBehaviors.find(
    ({ PathPattern }: { PathPattern: string }) => PathPattern === '*/keys/*.key',
  );
  const origin = distribution.Origins.find(({ Id }: { Id: string }) => Id === keys.TargetOriginId);

  test('opens content keys alone, though masters are under the same key', () => {
    const { KeyPolicy } = made.one('AWS::KMS::Key', 'MasteringKey').Properties;
    const denied = KeyPolicy.Statement.find(({ Effect }: Statement) => Effect === 'Deny');
    expect(denied).toMatchObject({
      Action: 'kms:Decrypt',
      Condition: { StringNotEquals: { 'kms:EncryptionContext:purpose': contentKeyContext('k1').purpose } },
    });
    expect(text(denied.Principal)).toContain('keyserverRole');
  });

  test('answers signed requests of distributions of this account, and nobody else', () => {
    expect(made.one('AWS::Lambda::Url').Properties.AuthType).toBe('AWS_IAM');
    const permissions = made
      .of('AWS::Lambda::Permission')
      .filter(({ Properties }) => Properties.Principal === 'cloudfront.amazonaws.com')
      .map(({ Properties: p }) => [p.Action, written(p.SourceArn), p.FunctionUrlAuthType, p.InvokedViaFunctionUrl]);
    const ofThisAccount = 'arn:aws:cloudfront::123456789012:distribution/*';
    expect(permissions).toEqual([
      ['lambda:InvokeFunctionUrl', ofThisAccount, 'AWS_IAM', undefined],
      ['lambda:InvokeFunction', ofThisAccount, undefined, true],
    ]);
    expect(
      made.one('AWS::CloudFront::OriginAccessControl', 'KeyServer').Properties.OriginAccessControlConfig,
    ).toMatchObject({ OriginAccessControlOriginType: 'lambda', SigningBehavior: 'always' });
    expect(text(origin.OriginAccessControlId)).toContain('KeyServerAccess');
    expect(origin.CustomOriginConfig.OriginProtocolPolicy).toBe('https-only');
  });

  test('is behind the same token as media: without it everybody gets every key', () => {
    expect(keys.FunctionAssociations).toEqual(distribution.DefaultCacheBehavior.FunctionAssociations);
    expect(keys.OriginRequestPolicyId).toEqual(distribution.DefaultCacheBehavior.OriginRequestPolicyId);
    expect(keys.ViewerProtocolPolicy).toBe('https-only');
  });

  test('is asked once a minute for a key, by its path alone; failures are not held', () => {
    const {
      Name: _,
      Comment: __,
      ParametersInCacheKeyAndForwardedToOrigin: parameters,
      ...times
    } = made.one('AWS::CloudFront::CachePolicy', 'KeyCache').Properties.CachePolicyConfig;
    expect(times).toEqual({ MinTTL: 60, DefaultTTL: 60, MaxTTL: 60 });
    expect(parameters).toMatchObject({
      HeadersConfig: { HeaderBehavior: 'none' },
      CookiesConfig: { CookieBehavior: 'none' },
      QueryStringsConfig: { QueryStringBehavior: 'none' },
    });
    expect(distribution.CustomErrorResponses).toEqual([
      { ErrorCode: 500, ErrorCachingMinTTL: 0 },
      { ErrorCode: 503, ErrorCachingMinTTL: 0 },
    ]);
  });

  test('has the permissions of its row', () => {
    const { Statement } = made.one('AWS::IAM::Policy', 'keyserver').Properties.PolicyDocument;
    expect(new Set(Statement.flatMap(({ Action }: Statement) => Action))).toEqual(
      new Set(['logs:CreateLogStream', 'logs:PutLogEvents', 's3:GetObject', 's3:ListBucket', 'kms:Decrypt']),
    );
  });
});
