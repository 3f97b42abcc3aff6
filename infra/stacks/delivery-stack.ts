import {
  Annotations,
  CfnDynamicReference,
  CfnDynamicReferenceService,
  CfnOutput,
  Duration,
  Stack,
  type StackProps,
  Validations,
} from 'aws-cdk-lib';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as cloudfront from 'aws-cdk-lib/aws-cloudfront';
import { HttpOrigin, S3BucketOrigin } from 'aws-cdk-lib/aws-cloudfront-origins';
import * as s3 from 'aws-cdk-lib/aws-s3';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import * as wafv2 from 'aws-cdk-lib/aws-wafv2';
import type { Construct } from 'constructs';
import { ruleGroupName } from '../../config/deployment.ts';
import type { Configuration } from '../../config/schema.ts';
import type { ORIGIN_SECRET_HEADER } from '../../token-api/http/viewer.ts';
import type { Artefacts } from '../artefacts.ts';
import { Console } from '../console.ts';
import { Handler } from '../handler.ts';
import { LogDelivery } from '../log-delivery.ts';
import { apiDomainName, bucketName, RULE_GROUP_PARAMETERS, viewerRequestArn, viewerRequestName } from '../names.ts';
import type { EdgeStack } from './edge-stack.ts';

/** What the delivery stack is made of. */
export interface DeliveryStackProps extends StackProps {
  configuration: Configuration;
  artefacts: Artefacts;
  edge: EdgeStack;
  /** The HTTP API, if there is one. */
  httpApiId: string | undefined;
  /** Host name of the key server, if there is one. */
  keyServerDomainName: string | undefined;
}

/** Compiles only while it is the header that the API reads. */
const SECRET_HEADER: typeof ORIGIN_SECRET_HEADER = 'x-origin-secret';

/** Paths of keys, as viewers ask for them: with the token still in it (docs/key-delivery.md). */
const KEYS = '*/keys/*.key';

/** The distribution, when an origin is configured, and the web ACL of revoked sessions. In us-east-1, after the keys are published. */
export class DeliveryStack extends Stack {
  /** Absent without `aws.delivery.origin`. */
  readonly distribution: cloudfront.Distribution | undefined;
  /** Whose access logs are delivered and looked at: its own, or one that was there before (`aws.delivery.distributionId`). */
  watchedDistributionId: string | undefined;

  constructor(scope: Construct, id: string, { configuration, artefacts, ...rest }: DeliveryStackProps) {
    const { edge, httpApiId, keyServerDomainName, ...props } = rest;
    super(scope, id, props);
    const { aws } = configuration;
    const { origin, domainNames, certificateArn, priceClass } = aws.delivery;
    // What a behaviour is made of whose requests carry a token.
    const behindToken: cloudfront.AddBehaviorOptions = {
      // A redirect would come after the token went over the wire in clear.
      viewerProtocolPolicy: cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
      allowedMethods: cloudfront.AllowedMethods.ALLOW_GET_HEAD_OPTIONS,
      cachePolicy: edge.mediaCache,
      originRequestPolicy: edge.mediaRequest,
      responseHeadersPolicy: edge.mediaResponse,
      functionAssociations: [
        {
          eventType: cloudfront.FunctionEventType.VIEWER_REQUEST,
          function: this.#viewerRequest(configuration),
        },
      ],
    };
    const { waf } = configuration.revocation;
    const webAcl = waf.publish ? this.#webAcl(ruleGroupName(waf)) : undefined;
    if (origin === undefined) {
      this.#deliverLogs(configuration, artefacts, aws.delivery.distributionId);
      return;
    }

    this.distribution = new cloudfront.Distribution(this, 'Distribution', {
      comment: 'Portcullis: media behind tokens in the path',
      defaultBehavior: { origin: this.#mediaOrigin(origin, aws.region), ...behindToken },
      ...(httpApiId !== undefined && {
        additionalBehaviors: {
          '/v1/*': {
            origin: new HttpOrigin(apiDomainName(httpApiId, aws.region), {
              protocolPolicy: cloudfront.OriginProtocolPolicy.HTTPS_ONLY,
              // A dynamic reference: CloudFormation reads the secret when it makes the distribution.
              customHeaders: { [SECRET_HEADER]: edge.originSecret.secretValue.unsafeUnwrap() },
            }),
            viewerProtocolPolicy: cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
            allowedMethods: cloudfront.AllowedMethods.ALLOW_ALL,
            cachePolicy: edge.apiCache,
            originRequestPolicy: edge.apiRequest,
          },
        },
      }),
      ...(webAcl && { webAclId: webAcl.attrArn }),
      ...(certificateArn !== undefined && {
        domainNames,
        certificate: acm.Certificate.fromCertificateArn(this, 'Certificate', certificateArn),
      }),
      minimumProtocolVersion: cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021,
      httpVersion: cloudfront.HttpVersion.HTTP2_AND_3,
      // CloudFront would hold these for ten seconds, whatever the key server says of them (docs/key-delivery.md).
      errorResponses: [500, 503].map((httpStatus) => ({ httpStatus, ttl: Duration.seconds(0) })),
      priceClass: priceClass as cloudfront.PriceClass,
    });
    // Packages elsewhere have their keys elsewhere too.
    if (keyServerDomainName !== undefined && origin === 'packages') {
      this.distribution.addBehavior(KEYS, this.#keyServer(keyServerDomainName), {
        ...behindToken,
        cachePolicy: edge.keyCache,
      });
    }
    if (aws.modules.includes('console')) {
      new Console(this, { configuration, artefacts, distribution: this.distribution });
    }
    this.#acknowledge(this.distribution, certificateArn !== undefined);
    this.#deliverLogs(configuration, artefacts, this.distribution.distributionId);
    new CfnOutput(this, 'DistributionId', { value: this.distribution.distributionId });
    new CfnOutput(this, 'DistributionDomainName', { value: this.distribution.distributionDomainName });
    if (httpApiId !== undefined) {
      this.#rotateOriginSecret(configuration, artefacts, edge, this.distribution, webAcl);
    }
  }

  #deliverLogs(configuration: Configuration, artefacts: Artefacts, distributionId: string | undefined): void {
    this.watchedDistributionId = distributionId;
    if (distributionId === undefined || !configuration.aws.modules.includes('revocation')) return;
    new LogDelivery(this, { configuration, artefacts, distributionId });
  }

  #mediaOrigin(origin: string, region: string): cloudfront.IOrigin {
    if (origin !== 'packages') {
      return new HttpOrigin(origin, { protocolPolicy: cloudfront.OriginProtocolPolicy.HTTPS_ONLY });
    }
    // Of another stack, perhaps in another region: its policy there lets the distributions of this account read it.
    const bucket = s3.Bucket.fromBucketAttributes(this, 'Packages', {
      bucketName: bucketName('packages', region),
      region,
    });
    const read = S3BucketOrigin.withOriginAccessControl(bucket);
    Annotations.of(this).acknowledgeWarning(
      '@aws-cdk/aws-cloudfront-origins:updateImportedBucketPolicyOac',
      'The policy is made with the bucket',
    );
    return read;
  }

  /** The key server, which takes requests that CloudFront signed alone. */
  #keyServer(domainName: string): cloudfront.IOrigin {
    const access = new cloudfront.CfnOriginAccessControl(this, 'KeyServerAccess', {
      originAccessControlConfig: {
        name: 'portcullis-key-server',
        originAccessControlOriginType: 'lambda',
        signingBehavior: 'always',
        signingProtocol: 'sigv4',
      },
    });
    return new HttpOrigin(domainName, {
      protocolPolicy: cloudfront.OriginProtocolPolicy.HTTPS_ONLY,
      originAccessControlId: access.attrId,
    });
  }

  /** By its name: an export of its ARN could not go while this stack uses it, which another `aws.keys.at` asks for. */
  #viewerRequest(configuration: Configuration): cloudfront.IFunctionRef {
    const functionArn = viewerRequestArn(configuration);
    const functionName = viewerRequestName(configuration);
    return cloudfront.Function.fromFunctionAttributes(this, 'ViewerRequest', { functionName, functionArn });
  }

  /**
   * Blocks what the rule group blocks, and nothing else (docs/waf.md). The handler `deployment` writes the ARN of each group into a
   * parameter of its name, so that another group is another reference.
   */
  #webAcl(ruleGroup: string): wafv2.CfnWebACL {
    const parameter = `${RULE_GROUP_PARAMETERS}/${ruleGroup}`;
    const arn = new CfnDynamicReference(CfnDynamicReferenceService.SSM, parameter).toString();
    const metrics = (metricName: string) => ({
      metricName,
      cloudWatchMetricsEnabled: true,
      // Samples hold paths, and those hold tokens.
      sampledRequestsEnabled: false,
    });
    return new wafv2.CfnWebACL(this, 'WebAcl', {
      name: 'portcullis',
      description: 'Blocks revoked sessions',
      scope: 'CLOUDFRONT',
      defaultAction: { allow: {} },
      rules: [
        {
          name: 'revoked-sessions',
          priority: 0,
          statement: { ruleGroupReferenceStatement: { arn } },
          overrideAction: { none: {} },
          visibilityConfig: metrics('portcullis-revoked-sessions'),
        },
      ],
      visibilityConfig: metrics('portcullis'),
    });
  }

  /** Rotates what the distribution proves itself with, in the distribution and for the API. */
  #rotateOriginSecret(
    configuration: Configuration,
    artefacts: Artefacts,
    { originSecret }: EdgeStack,
    distribution: cloudfront.Distribution,
    webAcl: wafv2.CfnWebACL | undefined,
  ): void {
    const handler = new Handler(this, 'origin-secret-rotation', {
      configuration,
      artefacts,
      arns: {
        originSecret: [originSecret.secretArn],
        distribution: [distribution.distributionArn],
        webAcl: webAcl ? [webAcl.attrArn] : [],
      },
      settings: {
        originSecret: originSecret.secretArn,
        distributionId: distribution.distributionId,
        domainName: distribution.distributionDomainName,
      },
    });
    handler.allowInvocation('SecretsManager', 'secretsmanager.amazonaws.com', originSecret.secretArn);
    const schedule = new secretsmanager.CfnRotationSchedule(this, 'Rotation', {
      secretId: originSecret.secretArn,
      rotationLambdaArn: handler.function.functionArn,
      rotationRules: { automaticallyAfterDays: configuration.aws.keys.rotationDays },
      rotateImmediatelyOnUpdate: false,
    });
    schedule.node.addDependency(handler);
  }

  #acknowledge(distribution: cloudfront.Distribution, hasCertificate: boolean): void {
    const reasons = {
      'AwsSolutions-CFR1': 'Where media may be seen is in tokens and asset blocks (docs/edge.md)',
      'AwsSolutions-CFR2':
        'The function checks every request; WAF is charged by request, and is a setting (docs/waf.md)',
      'AwsSolutions-CFR3':
        'Standard logs v2 in its stead, by the module revocation: these redact tokens, v1 logs cannot',
      ...(!hasCertificate && {
        'AwsSolutions-CFR4':
          "CloudFront's own certificate comes with its own TLS policy: set aws.delivery.certificateArn",
      }),
    };
    for (const [id, reason] of Object.entries(reasons)) Validations.of(distribution).acknowledge({ id, reason });
  }
}
