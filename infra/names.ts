import { Aws } from 'aws-cdk-lib';
import {
  EDGE_REGION,
  KEY_RING_SECRET,
  type ModuleName,
  ORIGIN_SECRET,
  ruleGroupName,
  WORKGROUP,
} from '../config/deployment.ts';
import type { Configuration } from '../config/schema.ts';
import type { PARAMETERS } from '../lambda/deployment/ssm.ts';
import type { ResourceName } from '../lambda/handlers.ts';

/** Physical names: there is one deployment in an account, since the edge is global: stacks and commands know each other's resources by name. */
export const NAMES = {
  edgeStore: 'portcullis',
  viewerRequest: 'portcullis-viewer-request',
  embeddedViewerRequest: 'portcullis-viewer-request-embedded',
  keyRing: KEY_RING_SECRET,
  originSecret: ORIGIN_SECRET,
  publications: 'portcullis-publications.fifo',
  deadPublications: 'portcullis-publications-dead.fifo',
  detectionMachine: 'portcullis-detection',
  renderMachine: 'portcullis-render',
  workgroup: WORKGROUP,
  database: 'portcullis',
  accessLogs: 'access_logs',
  userPool: 'portcullis',
  masteringKey: 'portcullis-mastering',
  storageKey: 'portcullis-storage',
  renderKey: 'portcullis-render',
  renderParents: 'portcullis-render',
  renderAlarms: 'portcullis-render-alarms',
} as const;

/** Compiles only while it is where the handler `deployment` says which ARN a rule group has. */
export const RULE_GROUP_PARAMETERS: typeof PARAMETERS = '/portcullis/rule-group';

/** Name of the Lambda function of a handler. */
export function functionName(handler: string): string {
  return `portcullis-${handler}`;
}

/** Name of a bucket, which has to be the only one of that name in the world. */
export function bucketName(name: string, region: string): string {
  return `portcullis-${name}-${Aws.ACCOUNT_ID}-${region}`;
}

/** What playback URLs begin with, when it has a name of its own: that of a distribution which CloudFront names comes later. */
export function ownUrl({ aws }: Configuration): string | undefined {
  const [name] = aws.delivery.domainNames;
  return name === undefined ? undefined : `https://${name}`;
}

/** Prefix of the domain that people log in at, where no issuer is configured: the only one of that name in its region. */
export const LOGIN_DOMAIN_PREFIX = `portcullis-${Aws.ACCOUNT_ID}`;

/** Origin of the pages that people log in at, where no issuer is configured. */
export function loginUrl(region: string): string {
  return `https://${LOGIN_DOMAIN_PREFIX}.auth.${region}.amazoncognito.com`;
}

/** Host name of an HTTP API. */
export function apiDomainName(httpApiId: string, region: string): string {
  return `${httpApiId}.execute-api.${region}.${Aws.URL_SUFFIX}`;
}

const arn = (service: string, region: string, resource: string) =>
  `arn:${Aws.PARTITION}:${service}:${region}:${Aws.ACCOUNT_ID}:${resource}`;

/** ARN of a Lambda function by its handler. */
export function functionArn(handler: string, region: string): string {
  return arn('lambda', region, `function:${functionName(handler)}`);
}

/** ARN of a distribution. */
export function distributionArn(id: string): string {
  return arn('cloudfront', '', `distribution/${id}`);
}

/** ARNs of the database of access logs, of its table, and of those that a run of detection makes for itself. */
export function catalogArns(region: string): string[] {
  const { database, accessLogs } = NAMES;
  const tables = [accessLogs, `${database}_*`].map((table) => `table/${database}/${table}`);
  return ['catalog', `database/${database}`, ...tables].map((resource) => arn('glue', region, resource));
}

/** ARN of a state machine of ours. */
export function stateMachineArn(machine: 'detection' | 'render', region: string): string {
  const name = machine === 'detection' ? NAMES.detectionMachine : NAMES.renderMachine;
  return arn('states', region, `stateMachine:${name}`);
}

/** ARN of a topic. */
export function topicArn(topic: string, region: string): string {
  return arn('sns', region, topic);
}

/** ARN of a log group. */
export function logGroupArn(name: string, region: string): string {
  return arn('logs', region, `log-group:${name}`);
}

/** ARN of the group of parents of enclaves; AWS gives the id in it. */
export function parentsArn(region: string): string {
  return arn('autoscaling', region, `autoScalingGroup:*:autoScalingGroupName/${NAMES.renderParents}`);
}

/** URL of a queue. */
export function queueUrl(queue: string, region: string): string {
  return `https://sqs.${region}.${Aws.URL_SUFFIX}/${Aws.ACCOUNT_ID}/${queue}`;
}

/** ARN of a table. */
export function tableArn(table: string, region: string): string {
  return arn('dynamodb', region, `table/${table}`);
}

/** Name of the function that a distribution runs at every request, whichever of the two it is. */
export function viewerRequestName({ aws }: Configuration): string {
  return aws.keys.at === 'embedded' ? NAMES.embeddedViewerRequest : NAMES.viewerRequest;
}

/** ARN of that function. */
export function viewerRequestArn(configuration: Configuration): string {
  return arn('cloudfront', '', `function/${viewerRequestName(configuration)}`);
}

/** ARNs by what handlers call them. */
export type ResourceArns = Partial<Record<Exclude<ResourceName, `table:${string}`>, string[]>>;

/**
 * ARNs of what has a name of ours, whichever stack makes it; none of what this deployment leaves out. The others have an id
 * that AWS gives, and come from the stack that made them. A rule group's ARN ends in one, which only its maker could know.
 */
export function namedArns(configuration: Configuration): ResourceArns {
  const { aws, revocation } = configuration;
  const { region } = aws;
  const when = (isThere: boolean, named: string) => (isThere ? [named] : []);
  const has = (module: ModuleName) => aws.modules.includes(module);
  return {
    '*': ['*'],
    edgeFunction: when(aws.keys.at === 'embedded', viewerRequestArn(configuration)),
    viewerRequest: [viewerRequestArn(configuration)],
    ruleGroup: when(
      revocation.waf.publish,
      arn('wafv2', EDGE_REGION, `global/rulegroup/${ruleGroupName(revocation.waf)}/*`),
    ),
    publications: when(has('revocation'), arn('sqs', region, NAMES.publications)),
    detectionMachine: when(has('revocation'), stateMachineArn('detection', region)),
    workgroup: when(has('revocation'), arn('athena', region, `workgroup/${NAMES.workgroup}`)),
    renderMachine: when(has('render'), stateMachineArn('render', region)),
  };
}

/**
 * ARNs of what the handler `deployment` makes and removes: also of what this deployment leaves out or has with another capacity,
 * since CloudFormation has the one before removed after the role was changed.
 */
export function liveArns({ revocation }: Configuration): ResourceArns {
  const { name } = revocation.waf;
  return {
    edgeFunction: [arn('cloudfront', '', `function/${NAMES.embeddedViewerRequest}`)],
    ruleGroup: [arn('wafv2', EDGE_REGION, `global/rulegroup/${name}-*/*`)],
    ruleGroupParameter: [arn('ssm', EDGE_REGION, `parameter${RULE_GROUP_PARAMETERS}/${name}-*`)],
  };
}
