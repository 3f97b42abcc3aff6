import { Annotations, CfnOutput, Duration, Stack } from 'aws-cdk-lib';
import * as cloudfront from 'aws-cdk-lib/aws-cloudfront';
import { S3BucketOrigin } from 'aws-cdk-lib/aws-cloudfront-origins';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { consoleContentSecurityPolicy } from '../config/console.ts';
import type { Configuration } from '../config/schema.ts';
import type { Artefacts } from './artefacts.ts';
import { bucketName, distributionArn, loginUrl } from './names.ts';
import { PrivateBucket } from './private-bucket.ts';

/** Paths of the page, which are its object keys too. */
export const CONSOLE_PATHS = 'console/*';

/** What the console is made of. */
export interface ConsoleProps {
  configuration: Configuration;
  artefacts: Artefacts;
  distribution: cloudfront.Distribution;
}

/**
 * The console page behind a distribution: its bucket, which that distribution alone reads, and its behaviour. No function checks
 * tokens there: the page holds no secret, and whoever opens it logs in at the issuer. Its files are put there after the
 * deployment (docs/deployment.md).
 */
export class Console extends Construct {
  constructor(scope: Construct, { configuration, artefacts, distribution }: ConsoleProps) {
    super(scope, 'Console');
    const { region } = Stack.of(this);
    const { bucket } = new PrivateBucket(this, 'Page', {
      documents: artefacts.documents(),
      name: 'console',
      lifecycleRules: [{ noncurrentVersionExpiration: Duration.days(30) }],
      statements: (arn) => [
        {
          Sid: 'DistributionReads',
          Effect: 'Allow',
          Principal: { Service: 'cloudfront.amazonaws.com' },
          Action: ['s3:GetObject'],
          Resource: [`${arn}/${CONSOLE_PATHS}`],
          Condition: { StringEquals: { 'aws:SourceArn': distributionArn(distribution.distributionId) } },
        },
      ],
    });
    // By its name, so that CDK adds no second policy to the bucket.
    const named = s3.Bucket.fromBucketAttributes(this, 'Named', { bucketName: bucketName('console', region), region });
    distribution.addBehavior(`/${CONSOLE_PATHS}`, S3BucketOrigin.withOriginAccessControl(named), {
      viewerProtocolPolicy: cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
      allowedMethods: cloudfront.AllowedMethods.ALLOW_GET_HEAD,
      // A few people open it; after an update nobody should see half of the old one.
      cachePolicy: cloudfront.CachePolicy.CACHING_DISABLED,
      responseHeadersPolicy: this.#headers(configuration),
    });
    Annotations.of(this).acknowledgeWarning(
      '@aws-cdk/aws-cloudfront-origins:updateImportedBucketPolicyOac',
      'The policy is made with the bucket',
    );
    new CfnOutput(Stack.of(this), 'ConsoleBucket', { value: bucket.bucketName });
  }

  #headers({ aws }: Configuration): cloudfront.ResponseHeadersPolicy {
    const issuer = aws.identity
      ? [new URL(aws.identity.issuer).origin]
      : // The pool is described at one address and logs people in at another.
        [`https://cognito-idp.${aws.region}.${Stack.of(this).urlSuffix}`, loginUrl(aws.region)];
    return new cloudfront.ResponseHeadersPolicy(this, 'Headers', {
      responseHeadersPolicyName: 'portcullis-console',
      comment: 'The console page: its own scripts, its API and its issuer',
      securityHeadersBehavior: {
        contentSecurityPolicy: { contentSecurityPolicy: consoleContentSecurityPolicy(issuer), override: true },
        contentTypeOptions: { override: true },
        frameOptions: { frameOption: cloudfront.HeadersFrameOption.DENY, override: true },
        referrerPolicy: { referrerPolicy: cloudfront.HeadersReferrerPolicy.NO_REFERRER, override: true },
        strictTransportSecurity: { accessControlMaxAge: Duration.days(365), override: true },
      },
      customHeadersBehavior: { customHeaders: [{ header: 'cache-control', value: 'no-cache', override: true }] },
    });
  }
}
