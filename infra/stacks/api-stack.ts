import { Aws, RemovalPolicy, Stack, type StackProps, Validations } from 'aws-cdk-lib';
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway';
import * as apigateway from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpJwtAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
import type { Configuration } from '../../config/schema.ts';
import type { Artefacts } from '../artefacts.ts';
import { Handler } from '../handler.ts';
import { NAMES, namedArns, type ResourceArns } from '../names.ts';
import { Tables } from '../tables.ts';
import { UserPool } from '../user-pool.ts';

/** What the stack of the API is made of. */
export interface ApiStackProps extends StackProps {
  configuration: Configuration;
  artefacts: Artefacts;
  /** ARNs of key ring, its key, origin secret and edge store. */
  arns: ResourceArns;
}

/** Of all callers together, in requests a second and at once: what each may do is counted by the API itself (docs/api.md). */
const THROTTLE = { rateLimit: 1000, burstLimit: 2000 };

/** The description of the API, which anybody may read; and preflights, which carry no token (Fetch §4.8). */
const OPEN_ROUTES = [
  { path: '/v1/openapi.json', method: apigateway.HttpMethod.GET },
  { path: '/v1/docs', method: apigateway.HttpMethod.GET },
  { path: '/v1/{proxy+}', method: apigateway.HttpMethod.OPTIONS },
];

/** What of a request is logged: neither headers nor path, which may name sessions. */
const LOGGED = {
  requestId: '$context.requestId',
  time: '$context.requestTime',
  route: '$context.routeKey',
  status: '$context.status',
  error: '$context.error.message',
  authorizerError: '$context.authorizer.error',
  latencyMs: '$context.responseLatency',
};

/** The HTTP API, who may call it, and its tables. In the region of the configuration. */
export class ApiStack extends Stack {
  /** Host name of the API, which the distribution forwards to. */
  readonly domainName: string;
  /** Handler `api`. */
  readonly handler: Handler;
  /** The user pool, when no identity provider is configured. */
  readonly userPool: UserPool | undefined;

  constructor(scope: Construct, id: string, { configuration, artefacts, arns, ...props }: ApiStackProps) {
    super(scope, id, props);
    const { aws, edge, keys, api: apiSettings, revocation } = configuration;
    const hasRevocation = aws.modules.includes('revocation');
    new Tables(this, 'api', artefacts);

    this.handler = new Handler(this, 'api', {
      configuration,
      artefacts,
      arns,
      settings: {
        edge,
        keys,
        api: apiSettings,
        keyRing: NAMES.keyRing,
        originSecret: arns.originSecret?.[0],
        edgeStore: arns.edgeStore?.[0],
        ...(hasRevocation && {
          publications: `https://sqs.${aws.region}.${Aws.URL_SUFFIX}/${Aws.ACCOUNT_ID}/${NAMES.publications}`,
          detectionMachine: namedArns(configuration).detectionMachine?.[0],
          detection: revocation.detection,
        }),
      },
    });

    const http = new apigateway.HttpApi(this, 'Api', {
      apiName: 'portcullis',
      description: 'Vends, renews and revokes playback tokens',
      createDefaultStage: false,
    });
    this.domainName = `${http.apiId}.execute-api.${aws.region}.${Aws.URL_SUFFIX}`;
    this.userPool = aws.identity ? undefined : new UserPool(this);
    const { issuer, audience } = aws.identity
      ? { issuer: aws.identity.issuer, audience: [aws.identity.audience] }
      : (this.userPool as UserPool);
    const integration = new HttpLambdaIntegration('Handler', this.handler.function, { scopePermissionToRoute: false });
    http.addRoutes({
      path: '/v1/{proxy+}',
      methods: ['DELETE', 'GET', 'HEAD', 'PATCH', 'POST', 'PUT'].map((method) => method as apigateway.HttpMethod),
      integration,
      authorizer: new HttpJwtAuthorizer('Issuer', issuer, { authorizerName: 'issuer', jwtAudience: audience }),
    });
    for (const { path, method } of OPEN_ROUTES) {
      const [route] = http.addRoutes({ path, methods: [method], integration });
      if (!route) continue;
      const reason = 'Describes the API, or answers a preflight: neither says anything about anybody';
      Validations.of(route).acknowledge({ id: 'AwsSolutions-APIG4', reason });
    }
    const log = new logs.LogGroup(this, 'AccessLog', {
      logGroupName: '/aws/vendedlogs/portcullis-api',
      retention: aws.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    new apigateway.HttpStage(this, 'Stage', {
      httpApi: http,
      stageName: '$default',
      autoDeploy: true,
      throttle: THROTTLE,
      accessLogSettings: {
        destination: new apigateway.LogGroupLogDestination(log),
        format: AccessLogFormat.custom(JSON.stringify(LOGGED)),
      },
    });
  }
}
