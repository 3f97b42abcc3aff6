import { Aws, Duration, RemovalPolicy, Validations } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { EDGE_REGION } from '../config/deployment.ts';
import type { Configuration } from '../config/schema.ts';
import { bucketName } from './names.ts';

/** What keys of access logs begin with. */
export const LOG_PREFIX = 'cloudfront';

/** A bucket that only this account reads, by TLS alone, and whose objects go after some days. */
export function expiringBucket(
  scope: Construct,
  id: string,
  name: string,
  days: number,
  removal: RemovalPolicy,
): s3.Bucket {
  const bucket = new s3.Bucket(scope, id, {
    bucketName: name,
    encryption: s3.BucketEncryption.S3_MANAGED,
    blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
    objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
    enforceSSL: true,
    lifecycleRules: [
      { id: 'expiry', expiration: Duration.days(days), abortIncompleteMultipartUploadAfter: Duration.days(1) },
    ],
    removalPolicy: removal,
  });
  Validations.of(bucket).acknowledge({
    id: 'AwsSolutions-S1',
    reason: 'CloudTrail says who read it, where it records data events; logs about logs need a bucket of their own',
  });
  return bucket;
}

/**
 * The bucket that CloudFront delivers access logs to. It is there before the delivery is, and outlives the deployment. With
 * `aws.accessLogs.includeUri` it holds bearer tokens.
 */
export class LogBucket extends Construct {
  constructor(scope: Construct, { aws }: Configuration) {
    super(scope, 'Logs');
    const name = bucketName('logs', aws.region);
    const bucket = expiringBucket(this, 'Bucket', name, aws.logRetentionDays, RemovalPolicy.RETAIN);
    // Amazon CloudWatch Logs User Guide, "Logs sent to Amazon S3".
    bucket.addToResourcePolicy(
      new iam.PolicyStatement({
        principals: [new iam.ServicePrincipal('delivery.logs.amazonaws.com')],
        actions: ['s3:PutObject'],
        resources: [bucket.arnForObjects(`${LOG_PREFIX}/*`)],
        conditions: {
          StringEquals: { 's3:x-amz-acl': 'bucket-owner-full-control', 'aws:SourceAccount': Aws.ACCOUNT_ID },
          ArnLike: {
            'aws:SourceArn': `arn:${Aws.PARTITION}:logs:${EDGE_REGION}:${Aws.ACCOUNT_ID}:delivery-source:*`,
          },
        },
      }),
    );
  }
}
