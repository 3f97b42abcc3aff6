import { CfnOutput, RemovalPolicy, Stack, type StackProps, Validations } from 'aws-cdk-lib';
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway';
import * as apigateway from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpJwtAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import * as logs from 'aws-cdk-lib/aws-logs';
import type { Construct } from 'constructs';
import type { Configuration } from '../../config/schema.ts';
import type { Artefacts } from '../artefacts.ts';
import { Handler } from '../handler.ts';
import { apiDomainName, NAMES, namedArns, ownUrl, queueUrl, type ResourceArns } from '../names.ts';
import { Tables } from '../tables.ts';
import { UserPool } from '../user-pool.ts';

/** What the stack of the API is made of. */
export interface ApiStackProps extends StackProps {
  configuration: Configuration;
  artefacts: Artefacts;
  /** ARNs of key ring, its key, origin secret and edge store. */
  arns: ResourceArns;
  httpApiId: string;
  /** Host name that CloudFront gave the distribution, if there is one. */
  distributionDomainName: string | undefined;
}

/** Of all callers together, in requests a second and at once: what each may do is counted by the API itself (docs/api.md). */
const THROTTLE = { rateLimit: 1000, burstLimit: 2000 };

/** The description of the API, which anybody may read; and preflights, which carry no token (Fetch §4.8). */
const OPEN_ROUTES = {
  OpenApi: { path: '/v1/openapi.json', method: apigateway.HttpMethod.GET },
  Docs: { path: '/v1/docs', method: apigateway.HttpMethod.GET },
  Preflight: { path: '/v1/{proxy+}', method: apigateway.HttpMethod.OPTIONS },
};

/** Each with a route, so that OPTIONS has none with the authoriser: ANY would take it too. */
const METHODS = (['DELETE', 'GET', 'HEAD', 'PATCH', 'POST', 'PUT'] as const).map(
  (method) => apigateway.HttpMethod[method],
);

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

/** What answers the HTTP API, who may call it, and its tables. In the region of the configuration. */
export class ApiStack extends Stack {
  constructor(scope: Construct, id: string, { configuration, artefacts, arns, ...rest }: ApiStackProps) {
    const { httpApiId, distributionDomainName, ...props } = rest;
    super(scope, id, props);
    const { aws, edge, keys, api: apiSettings, revocation } = configuration;
    // Of a distribution that Portcullis does not make nobody knows the name, unless aws.delivery.domainNames says it.
    const probeUrl = ownUrl(configuration) ?? (distributionDomainName && `https://${distributionDomainName}`);
    const edgeUrl = probeUrl ?? `https://${apiDomainName(httpApiId, aws.region)}`;
    new Tables(this, 'api', artefacts);

    const handler = new Handler(this, 'api', {
      configuration,
      artefacts,
      arns,
      settings: {
        edge,
        keys,
        api: apiSettings,
        edgeUrl,
        probeUrl,
        edgeStore: arns.edgeStore?.[0],
        keyRing: arns.keyRing?.[0],
        originSecret: arns.originSecret?.[0],
        ...(aws.modules.includes('revocation') && {
          revocation: {
            mode: revocation.detection.mode,
            publications: queueUrl(NAMES.publications, aws.region),
            detectionMachine: namedArns(configuration).detectionMachine?.[0],
          },
        }),
      },
    });

    const http = apigateway.HttpApi.fromHttpApiAttributes(this, 'Api', { httpApiId });
    const page = aws.modules.includes('console') ? `${edgeUrl}/console/index.html` : undefined;
    const userPool = aws.identity ? undefined : new UserPool(this, page);
    const { issuer, audience } = aws.identity
      ? { issuer: aws.identity.issuer, audience: [aws.identity.audience] }
      : (userPool as UserPool);
    const integration = new HttpLambdaIntegration('Handler', handler.function, { scopePermissionToRoute: false });
    const authorizer = new HttpJwtAuthorizer('Issuer', issuer, { authorizerName: 'issuer', jwtAudience: audience });
    for (const method of METHODS) {
      const routeKey = apigateway.HttpRouteKey.with('/v1/{proxy+}', method);
      new apigateway.HttpRoute(this, `${method}Route`, { httpApi: http, routeKey, integration, authorizer });
    }
    for (const [id, { path, method }] of Object.entries(OPEN_ROUTES)) {
      const routeKey = apigateway.HttpRouteKey.with(path, method);
      const route = new apigateway.HttpRoute(this, id, { httpApi: http, routeKey, integration });
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
    if (page !== undefined) {
      const clientId = aws.console?.clientId ?? userPool?.people.userPoolClientId;
      new CfnOutput(this, 'ConsoleUrl', { value: page });
      new CfnOutput(this, 'ConsoleSettings', {
        description: 'Content of console/config.json, which holds no secret',
        value: this.toJsonString({ login: 'oidc', issuer, clientId, detection: aws.modules.includes('revocation') }),
      });
    }
    if (userPool) new CfnOutput(this, 'UserPoolId', { value: userPool.pool.userPoolId });
  }
}
