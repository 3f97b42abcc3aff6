import { RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import type * as kms from 'aws-cdk-lib/aws-kms';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import type { Documents } from './artefacts.ts';
import { deployed } from './documents.ts';
import { bucketName } from './names.ts';

/** What a bucket is made with. */
export interface PrivateBucketProps extends Pick<s3.BucketProps, 'lifecycleRules' | 'objectLockDefaultRetention'> {
  documents: Documents;
  /** Name within the deployment. */
  name: string;
  /** The only KMS key that objects may be encrypted with; without one S3 encrypts with its own. */
  key?: kms.IKey;
  /** Statements beside those of `portcullis storage policy`. `bucket` is its ARN. */
  statements?: (bucket: string) => object[];
}

/** What stands for bucket and key where the policy is made: it is made for a name and an ARN. */
const BUCKET = 'portcullis-bucket';
const KEY = 'arn:aws:kms:us-east-1:111111111111:key/portcullis-key';

/**
 * A bucket that is closed to the public, keeps what was overwritten for a while, and has the policy of `portcullis storage policy`:
 * TLS 1.2, the encryption of the bucket, no keys of customers. It stays when its stack is deleted.
 */
export class PrivateBucket extends Construct {
  readonly bucket: s3.Bucket;

  constructor(scope: Construct, id: string, props: PrivateBucketProps) {
    super(scope, id);
    const { documents, name, key, statements, ...options } = props;
    this.bucket = new s3.Bucket(this, 'Bucket', {
      bucketName: bucketName(name, Stack.of(this).region),
      blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
      objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
      versioned: true,
      removalPolicy: RemovalPolicy.RETAIN,
      ...(key
        ? { encryption: s3.BucketEncryption.KMS, encryptionKey: key, bucketKeyEnabled: true }
        : { encryption: s3.BucketEncryption.S3_MANAGED }),
      ...options,
    });
    const { bucketArn } = this.bucket;
    const { Version, Statement } = deployed(documents.bucketPolicy({ bucket: BUCKET, kmsKey: key && KEY }), {
      [`arn:aws:s3:::${BUCKET}`]: bucketArn,
      ...(key && { [KEY]: key.keyArn }),
    });
    new s3.CfnBucketPolicy(this, 'Policy', {
      bucket: this.bucket.bucketName,
      policyDocument: { Version, Statement: [...Statement, ...(statements?.(bucketArn) ?? [])] },
    });
    Validations.of(this.bucket).acknowledge({
      id: 'AwsSolutions-S1',
      reason:
        'Server access logs are best effort: data events of CloudTrail say who read what, for the account to turn on',
    });
  }
}
