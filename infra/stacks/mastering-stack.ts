import { Aws, CfnOutput, Duration, Fn, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import type * as s3 from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';
import type { Configuration } from '../../config/schema.ts';
import type { Artefacts, Documents } from '../artefacts.ts';
import { deployed, policyStatements, SOME_ACCOUNT } from '../documents.ts';
import { acknowledgeWildcards, Handler, OBJECTS } from '../handler.ts';
import { bucketName, NAMES } from '../names.ts';
import { PrivateBucket } from '../private-bucket.ts';

/** What the mastering stack is made of. */
export interface MasteringStackProps extends StackProps {
  configuration: Configuration;
  artefacts: Artefacts;
}

/** How long what was overwritten or deleted can be had back. */
const OVERWRITTEN = {
  noncurrentVersionExpiration: Duration.days(30),
  abortIncompleteMultipartUploadAfter: Duration.days(7),
};

/** Distributions of this account: the one that is made with this comes later, and others are attached. */
const DISTRIBUTIONS = `arn:${Aws.PARTITION}:cloudfront::${Aws.ACCOUNT_ID}:distribution/*`;

/** Masters and packages with their keys, the role of MediaConvert, and the key server. In the region of the configuration. */
export class MasteringStack extends Stack {
  /** Host name of the key server, which answers distributions of this account alone. */
  readonly keyServerDomainName: string;

  constructor(scope: Construct, id: string, { configuration, artefacts, ...props }: MasteringStackProps) {
    super(scope, id, props);
    const { region } = configuration.aws;
    const documents = artefacts.documents();
    const masteringKey = this.#key('MasteringKey', NAMES.masteringKey, 'Encrypts the keys of masters and of packages');
    // Of the store: who may read objects for that may not open them.
    const storageKey = this.#key('StorageKey', NAMES.storageKey, 'Encrypts objects of masters in S3');
    const shared = { documents, lifecycleRules: [OVERWRITTEN] };
    const { bucket: masters } = new PrivateBucket(this, 'Masters', { ...shared, name: 'masters', key: storageKey });
    const { bucket: packages } = new PrivateBucket(this, 'Packages', {
      ...shared,
      name: 'packages',
      statements: distributionsRead,
    });

    const handler = new Handler(this, 'key-server', {
      configuration,
      artefacts,
      arns: {
        packagesBucket: [packages.bucketArn, packages.arnForObjects('*')],
        masteringKey: [masteringKey.keyArn],
      },
      settings: { region, packagesBucket: bucketName('packages', region) },
      wildcards: [OBJECTS],
    });
    this.keyServerDomainName = this.#url(handler);
    // Masters are under the same key: the role opens none, whatever its policy says one day.
    masteringKey.addToResourcePolicy(
      new iam.PolicyStatement({
        sid: 'KeyServerOpensContentKeysAlone',
        effect: iam.Effect.DENY,
        principals: [new iam.ArnPrincipal(handler.role.roleArn)],
        actions: ['kms:Decrypt'],
        // In the policy of a key this is that key.
        resources: ['*'],
        conditions: {
          StringNotEquals: { 'kms:EncryptionContext:purpose': documents.contentKeyContext('any').purpose },
        },
      }),
    );
    const role = this.#mediaConvert(documents, { masters, packages, masteringKey, storageKey });
    new CfnOutput(this, 'MastersBucket', { value: masters.bucketName });
    new CfnOutput(this, 'PackagesBucket', { value: packages.bucketName });
    new CfnOutput(this, 'MasteringKeyArn', { value: masteringKey.keyArn });
    new CfnOutput(this, 'MediaConvertRoleArn', { value: role.roleArn });
    new CfnOutput(this, 'KeyServerDomainName', { value: this.keyServerDomainName });
  }

  #key(id: string, alias: string, description: string): kms.Key {
    return new kms.Key(this, id, { alias, description, enableKeyRotation: true, removalPolicy: RemovalPolicy.RETAIN });
  }

  /** A function URL that distributions of this account may ask with their signature (CloudFront, "Restrict access to a Lambda function URL"). */
  #url(handler: Handler): string {
    const { url } = handler.function.addFunctionUrl({ authType: lambda.FunctionUrlAuthType.AWS_IAM });
    const cloudFront = {
      functionName: handler.function.functionArn,
      principal: 'cloudfront.amazonaws.com',
      sourceArn: DISTRIBUTIONS,
    };
    new lambda.CfnPermission(this, 'CloudFrontAsks', {
      ...cloudFront,
      action: 'lambda:InvokeFunctionUrl',
      functionUrlAuthType: 'AWS_IAM',
    });
    // Lambda asks for both (Lambda Developer Guide, "Control access to Lambda function URLs").
    new lambda.CfnPermission(this, 'CloudFrontInvokes', {
      ...cloudFront,
      action: 'lambda:InvokeFunction',
      invokedViaFunctionUrl: true,
    });
    return Fn.select(2, Fn.split('/', url));
  }

  /** What MediaConvert decrypts masters and writes packages as: the policy that a job of it has, for whatever is in the buckets. */
  #mediaConvert(documents: Documents, { masters, packages, masteringKey, storageKey }: Reach): iam.Role {
    const key = `arn:aws:kms:${this.region}:${SOME_ACCOUNT}:key/mastering`;
    const { Statement } = deployed(
      documents.jobRolePolicy({
        inputs: [{ bucket: 'masters', key: 'anything' }],
        outputs: [{ bucket: 'packages', key: '' }],
        inputKeys: [{ arn: key, partition: 'aws', region: this.region }],
        outputKeys: [],
      }),
      {
        [key]: masteringKey.keyArn,
        'arn:aws:s3:::masters/anything': masters.arnForObjects('*'),
        'arn:aws:s3:::packages': packages.bucketArn,
      },
    );
    const role = new iam.Role(this, 'MediaConvert', {
      description: 'Reads masters, opens those that are for MediaConvert, writes packages',
      assumedBy: new iam.ServicePrincipal('mediaconvert.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': Aws.ACCOUNT_ID } },
      }),
    });
    const policy = new iam.Policy(this, 'MediaConvertPolicy', {
      roles: [role],
      statements: [
        ...policyStatements(Statement),
        new iam.PolicyStatement({
          sid: 'ReadWhatS3Encrypted',
          actions: ['kms:Decrypt'],
          resources: [storageKey.keyArn],
          conditions: { StringEquals: { 'kms:ViaService': `s3.${this.region}.${Aws.URL_SUFFIX}` } },
        }),
      ],
    });
    acknowledgeWildcards(policy, [OBJECTS]);
    return role;
  }
}

/** What MediaConvert works on. */
interface Reach {
  masters: s3.Bucket;
  packages: s3.Bucket;
  masteringKey: kms.IKey;
  storageKey: kms.IKey;
}

/** Statements that let distributions read packages, but not the tables that hold their encrypted keys. */
function distributionsRead(bucket: string): object[] {
  const Principal = { Service: 'cloudfront.amazonaws.com' };
  const Condition = { ArnLike: { 'aws:SourceArn': DISTRIBUTIONS } };
  return [
    {
      Sid: 'DistributionsRead',
      Effect: 'Allow',
      Principal,
      Action: ['s3:GetObject'],
      Resource: [`${bucket}/*`],
      Condition,
    },
    {
      Sid: 'DenyKeyTables',
      Effect: 'Deny',
      Principal,
      Action: ['s3:GetObject'],
      Resource: [`${bucket}/keys.json`, `${bucket}/*/keys.json`],
    },
  ];
}
