import { CfnOutput, Duration, Stack, type StackProps, Validations } from 'aws-cdk-lib';
import * as cloudfront from 'aws-cdk-lib/aws-cloudfront';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import type { Construct } from 'constructs';
import type { Artefacts } from '../artefacts.ts';
import { NAMES } from '../names.ts';

/** What the edge stack is made of. */
export interface EdgeStackProps extends StackProps {
  artefacts: Artefacts;
}

/** Parameters of low-latency HLS, which change what a playlist answers (RFC 8216bis §6.2.5). The cache sees no others. */
const HLS_PARAMETERS = ['_HLS_msn', '_HLS_part', '_HLS_skip'];

/**
 * Headers of callers that the API reads. Authorization cannot be in an origin request policy, and those named in a cache policy
 * go to the origin too, so all are here: at most ten (AWS, "Quotas on policies"), beside ten in the other policy.
 */
const API_HEADERS = [
  'access-control-request-headers',
  'access-control-request-method',
  'authorization',
  'content-type',
  'idempotency-key',
  'origin',
  'referer',
  'user-agent',
];

/** What CloudFront runs and reads at every request: functions, KeyValueStore, policies. In us-east-1. */
export class EdgeStack extends Stack {
  readonly keyValueStore: cloudfront.KeyValueStore;
  /** The variant that reads its keys from the store. */
  readonly viewerRequest: cloudfront.Function;
  readonly mediaCache: cloudfront.CachePolicy;
  readonly keyCache: cloudfront.CachePolicy;
  readonly mediaRequest: cloudfront.OriginRequestPolicy;
  readonly mediaResponse: cloudfront.ResponseHeadersPolicy;
  readonly apiCache: cloudfront.CachePolicy;
  readonly apiRequest: cloudfront.OriginRequestPolicy;
  /** What the API knows the distribution by: whoever has it can say where a viewer is. */
  readonly originSecret: secretsmanager.Secret;

  constructor(scope: Construct, id: string, { artefacts, ...props }: EdgeStackProps) {
    super(scope, id, props);
    const { generatedHeaders, settings } = artefacts.edge;

    this.keyValueStore = new cloudfront.KeyValueStore(this, 'Store', {
      keyValueStoreName: NAMES.edgeStore,
      comment: 'Signing keys, revoked sessions, asset blocks, modes: written by the reconcilers alone',
    });
    // It holds no key, so that CloudFormation may replace its code. The variant that does is made by the handler `deployment`.
    this.viewerRequest = new cloudfront.Function(this, 'ViewerRequest', {
      functionName: NAMES.viewerRequest,
      comment: 'Checks the token in the path of every request',
      code: cloudfront.FunctionCode.fromInline(artefacts.edgeFunction('viewer-request.js')),
      runtime: cloudfront.FunctionRuntime.JS_2_0,
      keyValueStore: this.keyValueStore,
    });

    this.mediaCache = new cloudfront.CachePolicy(this, 'MediaCache', {
      cachePolicyName: 'portcullis-media',
      comment: 'Without token and viewer: all sessions share an object',
      queryStringBehavior: cloudfront.CacheQueryStringBehavior.allowList(...HLS_PARAMETERS),
      headerBehavior: cloudfront.CacheHeaderBehavior.none(),
      cookieBehavior: cloudfront.CacheCookieBehavior.none(),
      minTtl: Duration.seconds(0),
      defaultTtl: Duration.days(1),
      maxTtl: Duration.days(365),
      enableAcceptEncodingGzip: true,
      enableAcceptEncodingBrotli: true,
    });
    // The key server says no-store, for viewers; the edge holds a key for a minute all the same, by its minimum.
    this.keyCache = new cloudfront.CachePolicy(this, 'KeyCache', {
      cachePolicyName: 'portcullis-keys',
      comment: 'Keys of packages, for a minute: all sessions share one',
      queryStringBehavior: cloudfront.CacheQueryStringBehavior.none(),
      headerBehavior: cloudfront.CacheHeaderBehavior.none(),
      cookieBehavior: cloudfront.CacheCookieBehavior.none(),
      minTtl: Duration.minutes(1),
      defaultTtl: Duration.minutes(1),
      maxTtl: Duration.minutes(1),
    });
    // `allExcept` Host would leave out what CloudFront generates, `allViewerAndWhitelistCloudFront` would send the viewer's Host,
    // which S3 and API Gateway refuse: the headers are named.
    this.mediaRequest = new cloudfront.OriginRequestPolicy(this, 'MediaRequest', {
      originRequestPolicyName: 'portcullis-media',
      comment: 'What the viewer-request function needs to know of a viewer',
      headerBehavior: cloudfront.OriginRequestHeaderBehavior.allowList(...generatedHeaders),
    });
    this.mediaResponse = new cloudfront.ResponseHeadersPolicy(this, 'MediaResponse', {
      responseHeadersPolicyName: 'portcullis-media',
      comment: 'Who may read media and denials; headers that make browsers careful',
      corsBehavior: {
        accessControlAllowOrigins: settings.allowedOrigins,
        accessControlAllowMethods: ['GET', 'HEAD', 'OPTIONS'],
        accessControlAllowHeaders: ['*'],
        accessControlExposeHeaders: ['x-portcullis-reason', 'content-length', 'content-range', 'date'],
        accessControlAllowCredentials: false,
        accessControlMaxAge: Duration.days(1),
        originOverride: true,
      },
      securityHeadersBehavior: {
        contentTypeOptions: { override: true },
        frameOptions: { frameOption: cloudfront.HeadersFrameOption.DENY, override: true },
        // The path holds a token: no other site is told of it.
        referrerPolicy: { referrerPolicy: cloudfront.HeadersReferrerPolicy.NO_REFERRER, override: true },
        strictTransportSecurity: { accessControlMaxAge: Duration.days(365), override: true },
      },
    });

    this.apiCache = new cloudfront.CachePolicy(this, 'ApiCache', {
      cachePolicyName: 'portcullis-api',
      comment: 'Caches nothing that does not ask for it; forwards headers of callers',
      queryStringBehavior: cloudfront.CacheQueryStringBehavior.all(),
      headerBehavior: cloudfront.CacheHeaderBehavior.allowList(...API_HEADERS),
      cookieBehavior: cloudfront.CacheCookieBehavior.none(),
      minTtl: Duration.seconds(0),
      defaultTtl: Duration.seconds(0),
      // With 0 CloudFront refuses to take headers into account.
      maxTtl: Duration.seconds(1),
    });
    this.apiRequest = new cloudfront.OriginRequestPolicy(this, 'ApiRequest', {
      originRequestPolicyName: 'portcullis-api',
      comment: 'What the API needs to know of a viewer to mint for it',
      headerBehavior: cloudfront.OriginRequestHeaderBehavior.allowList(
        'cloudfront-viewer-address',
        ...generatedHeaders,
      ),
    });

    this.originSecret = new secretsmanager.Secret(this, 'OriginSecret', {
      secretName: NAMES.originSecret,
      description: 'Proves to the API of Portcullis that a request came through the distribution',
      generateSecretString: { passwordLength: 48, excludePunctuation: true },
    });
    Validations.of(this.originSecret).acknowledge({
      id: 'AwsSolutions-SMG4',
      reason: 'It is rotated with the distribution that sends it, in portcullis-delivery; without one nobody uses it',
    });
    // Exported whether anybody uses them or not: CloudFormation refuses to end an export while a stack that comes later uses it.
    const policies = [this.mediaCache, this.apiCache].map(({ cachePolicyId }) => cachePolicyId);
    const requests = [this.mediaRequest, this.apiRequest].map(({ originRequestPolicyId }) => originRequestPolicyId);
    const { responseHeadersPolicyId } = this.mediaResponse;
    for (const value of [...policies, ...requests, responseHeadersPolicyId, this.originSecret.secretArn]) {
      this.exportValue(value);
    }
    new CfnOutput(this, 'EdgeStoreArn', { value: this.keyValueStore.keyValueStoreArn });
    new CfnOutput(this, 'ViewerRequestArn', { value: this.viewerRequest.functionArn });
  }
}
