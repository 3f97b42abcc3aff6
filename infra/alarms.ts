import type { ModuleName } from '../config/deployment.ts';
import type { Configuration } from '../config/schema.ts';
import type { METRICS } from '../token-api/telemetry/telemetry.ts';

/** Where metrics of edge decisions are, by reason, and the one that counts them all (`log-delivery.ts`). */
export const DENIALS_NAMESPACE = 'Portcullis/Edge';
export const DECISIONS = 'decisions';
/** Where the handlers count (`token-api/telemetry/powertools.ts`). */
export const NAMESPACE = 'Portcullis';
/** Where events of the parents of enclaves are counted, by the filters of their log group (`stacks/render-stack.ts`). */
export const PARENTS_NAMESPACE = 'Portcullis/RenderParents';
/** Events of a parent that somebody has to know of (`enclave-render/host/`), each a metric. */
export const PARENT_EVENTS = ['job-failed', 'not-read', 'not-started'] as const;

/** What alarms are about, whose names are known when this is deployed only. */
export interface Watched {
  /** Absent when no distribution is known. */
  distributionId: string | undefined;
  viewerRequest: string;
  stateMachineArn: (name: 'detection' | 'render') => string;
}

/** A metric of CloudWatch. */
export interface MetricDescription {
  namespace: string;
  name: string;
  dimensions: (watched: Watched) => Record<string, string>;
  statistic: 'Sum' | 'Average' | 'Maximum' | 'p99';
}

/** An alarm, as the table of docs/operations.md has it. Its runbook there has its name. */
export interface AlarmDescription {
  /** Where its metric is: at the edge is us-east-1. */
  at: 'edge' | 'region';
  module: ModuleName;
  metric: MetricDescription;
  /** Share of another metric, in percent, from so many of that in a period on: of few, one is much. */
  shareOf?: { metric: MetricDescription; from: number };
  /** In words, after the metric: `above 20 %`. */
  threshold: number | ((configuration: Configuration) => number);
  unit: '' | '%' | 's' | 'WCU';
  /** Of these many periods of so many minutes all have to be above the threshold. */
  periods: number;
  minutes: 1 | 5 | 15;
  /** What having no value means: mostly that nothing happened. */
  missing: 'good' | 'bad';
  /** Why somebody has to know. */
  why: string;
  /** Whether it is about a distribution or its logs: without one that is known there is neither. */
  needsDistribution?: true;
  /** Whether this configuration has what it is about; it has, unless this says no. */
  isFor?: (configuration: Configuration) => boolean;
}

type Counted = keyof typeof METRICS;

/** A metric that a handler counts: with its name alone, or a target too (`lambda/metrics.ts`). */
const counted = (
  name: Counted,
  service: 'api' | 'detection' | 'key-rotation' | 'reconciler' | 'render',
  statistic: MetricDescription['statistic'],
  more: { target?: string } = {},
): MetricDescription => ({ namespace: NAMESPACE, name, dimensions: () => ({ service, ...more }), statistic });
/** CloudFront's metrics are in us-east-1 with the region `Global`. */
const ofFunction = (name: string, statistic: MetricDescription['statistic']): MetricDescription => ({
  namespace: 'AWS/CloudFront',
  name,
  dimensions: ({ viewerRequest }) => ({ FunctionName: viewerRequest, Region: 'Global' }),
  statistic,
});
const ofDistribution = (name: string, statistic: MetricDescription['statistic']): MetricDescription => ({
  namespace: 'AWS/CloudFront',
  name,
  dimensions: ({ distributionId = '' }) => ({ DistributionId: distributionId, Region: 'Global' }),
  statistic,
});
const denied = (reason: string): MetricDescription => ({
  namespace: DENIALS_NAMESPACE,
  name: reason,
  dimensions: () => ({}),
  statistic: 'Sum',
});
const ofParents = (event: (typeof PARENT_EVENTS)[number]): MetricDescription => ({
  namespace: PARENTS_NAMESPACE,
  name: event,
  dimensions: () => ({}),
  statistic: 'Sum',
});
/** `Url5xxCount`: also what the handler answers itself (Lambda Developer Guide, "Monitoring Lambda function URLs"). */
const ofHandler = (name: string, metric: 'Errors' | 'Url5xxCount'): MetricDescription => ({
  namespace: 'AWS/Lambda',
  name: metric,
  dimensions: () => ({ FunctionName: `portcullis-${name}` }),
  statistic: 'Sum',
});
const ofQueue = (queue: string, name: string): MetricDescription => ({
  namespace: 'AWS/SQS',
  name,
  dimensions: () => ({ QueueName: queue }),
  statistic: 'Maximum',
});
const ofMachine = (machine: 'detection' | 'render', name: string): MetricDescription => ({
  namespace: 'AWS/States',
  name,
  dimensions: ({ stateMachineArn }) => ({ StateMachineArn: stateMachineArn(machine) }),
  statistic: 'Sum',
});

/** Alarms on the share of decisions that are denials for a reason. */
const share = (reason: string, threshold: number, why: string): AlarmDescription => ({
  ...{ at: 'edge', module: 'revocation', metric: denied(reason), shareOf: { metric: denied(DECISIONS), from: 100 } },
  ...{ threshold, unit: '%', periods: 3, minutes: 5, missing: 'good', why, needsDistribution: true },
});

/** Without an owner there is no state machine that takes jobs. */
const hasOwners = ({ aws }: Configuration) => (aws.render?.owners ?? []).length > 0;
const isDetecting = ({ revocation }: Configuration) => revocation.detection.mode !== 'off';

/** Of what must not happen at all: once is enough. */
const ONCE = { threshold: 0, unit: '', periods: 1, minutes: 5, missing: 'good' } as const;

/** Metrics of denials whose reason a share can be out of the ordinary of; the rest is on the dashboard. */
const DENIALS: Record<string, AlarmDescription> = {
  'denials-token-key-unknown': share(
    'token-key-unknown',
    1,
    'The edge does not have the key of tokens that somebody mints: viewers are cut off',
  ),
  'denials-token-signature-invalid': share(
    'token-signature-invalid',
    5,
    'Somebody forges tokens, or a backend mints with a wrong key',
  ),
  'denials-token-expired': share('token-expired', 10, 'Players do not renew their tokens, or cannot'),
  'denials-binding-mismatch': share(
    'binding-mismatch',
    5,
    'Tokens are used elsewhere than they were minted for, or a policy binds what changes',
  ),
  'denials-store-unavailable': share(
    'store-unavailable',
    1,
    'The function cannot read its KeyValueStore, and denies what it cannot check',
  ),
};

/** Every alarm by name. */
export const ALARMS: Record<string, AlarmDescription> = {
  'denial-rate': {
    ...{ at: 'edge', module: 'base', metric: ofDistribution('4xxErrorRate', 'Average') },
    ...{ threshold: 20, unit: '%', periods: 3, minutes: 5, missing: 'good' },
    why: 'Of the requests of viewers more than a fifth are denied, or ask for what is not there',
    needsDistribution: true,
  },
  ...DENIALS,
  'function-errors': {
    ...{ at: 'edge', module: 'base', metric: ofFunction('FunctionExecutionErrors', 'Sum') },
    ...ONCE,
    why: 'The viewer-request function threw: those viewers got 503',
  },
  'function-validation-errors': {
    ...{ at: 'edge', module: 'base', metric: ofFunction('FunctionValidationErrors', 'Sum') },
    ...ONCE,
    why: 'The function answered what CloudFront does not take: those viewers got 502',
  },
  'function-throttled': {
    ...{ at: 'edge', module: 'base', metric: ofFunction('FunctionThrottles', 'Sum') },
    ...ONCE,
    why: 'CloudFront did not run the function for some requests, because it takes too long',
  },
  'function-compute': {
    ...{ at: 'edge', module: 'base', metric: ofFunction('FunctionComputeUtilization', 'Average') },
    ...{ threshold: 70, unit: '%', periods: 3, minutes: 5, missing: 'good' },
    why: 'The function comes near to the time it may take, from which on CloudFront throttles it',
  },
  'key-ring-stale': {
    ...{ at: 'region', module: 'api', metric: counted('KeyRingAge', 'api', 'Maximum') },
    threshold: ({ keys }) => keys.maxStaleSeconds / 2,
    ...{ unit: 's', periods: 2, minutes: 1, missing: 'good' },
    why: 'The API cannot read the key ring: it mints with the one it has for as long again, then not at all',
  },
  'rotation-failed': {
    ...{ at: 'region', module: 'base', metric: counted('RotationFailed', 'key-rotation', 'Sum') },
    ...ONCE,
    why: 'A rotation of the key ring failed or got stuck: there is no new key, and the old one is minted with for longer',
  },
  'key-ring-not-advanced': {
    ...{ at: 'region', module: 'base', metric: ofHandler('key-rotation', 'Errors') },
    ...{ threshold: 1, unit: '', periods: 3, minutes: 5, missing: 'good' },
    why: 'What is due every two minutes fails: keys are not published, made current or retired',
  },
  'origin-secret-rotation-failed': {
    ...{ at: 'edge', module: 'api', metric: ofHandler('origin-secret-rotation', 'Errors') },
    ...ONCE,
    why: 'The secret that the distribution proves itself with was not rotated, or half',
    isFor: ({ aws }) => aws.delivery.origin !== undefined,
  },
  'api-failed': {
    ...{ at: 'region', module: 'api', metric: counted('Failed', 'api', 'Sum') },
    ...{ threshold: 5, unit: '', periods: 2, minutes: 5, missing: 'good' },
    why: 'The API fails on our side: players get no tokens, and cannot renew',
  },
  'api-errors': {
    ...{ at: 'region', module: 'api', metric: ofHandler('api', 'Errors') },
    ...{ threshold: 0, unit: '', periods: 2, minutes: 5, missing: 'good' },
    why: 'The handler of the API did not start, or ended before it answered',
  },
  'edge-list-near-capacity': {
    ...{ at: 'region', module: 'revocation' },
    metric: counted('RevocationsPublished', 'reconciler', 'Maximum', { target: 'edge store' }),
    threshold: 160_000,
    ...{ unit: '', periods: 2, minutes: 5, missing: 'good' },
    why: 'The edge store is half full of revoked sessions: it has room for 345,000 of 12 characters, fewer of longer ids',
    isFor: ({ aws }) => aws.keys.at === 'store',
  },
  'edge-list-full': {
    ...{ at: 'region', module: 'revocation' },
    metric: counted('RevocationsOmitted', 'reconciler', 'Maximum', { target: 'edge store' }),
    ...ONCE,
    why: 'Revocations have no room in the edge store: these viewers are not cut off',
    isFor: ({ aws }) => aws.keys.at === 'store',
  },
  'rule-group-near-capacity': {
    ...{ at: 'region', module: 'revocation' },
    metric: counted('RuleGroupWcu', 'reconciler', 'Maximum', { target: 'WAF rule group' }),
    threshold: ({ revocation }) => Math.floor(0.8 * revocation.waf.capacityWcu),
    ...{ unit: 'WCU', periods: 2, minutes: 5, missing: 'good' },
    why: 'Four fifths of the rule group are used: it has room for 7,000 sessions of 12 characters in 1,500 WCU',
    isFor: ({ revocation }) => revocation.waf.publish,
  },
  'rule-group-full': {
    ...{ at: 'region', module: 'revocation' },
    metric: counted('RevocationsOmitted', 'reconciler', 'Maximum', { target: 'WAF rule group' }),
    ...ONCE,
    why: 'Revoked sessions have no room in the rule group; the newest are in it',
    isFor: ({ revocation }) => revocation.waf.publish,
  },
  'edge-store-not-told': {
    ...{ at: 'region', module: 'revocation' },
    metric: counted('PublicationFailed', 'reconciler', 'Sum', { target: 'edge store' }),
    ...{ threshold: 2, unit: '', periods: 1, minutes: 5, missing: 'good' },
    why: 'Revocations do not reach the edge store: revoked viewers play on',
    isFor: ({ aws }) => aws.keys.at === 'store',
  },
  'rule-group-not-told': {
    ...{ at: 'region', module: 'revocation' },
    metric: counted('PublicationFailed', 'reconciler', 'Sum', { target: 'WAF rule group' }),
    ...{ threshold: 2, unit: '', periods: 1, minutes: 5, missing: 'good' },
    why: 'Revoked sessions do not reach the rule group',
    isFor: ({ revocation }) => revocation.waf.publish,
  },
  'publications-behind': {
    ...{ at: 'region', module: 'revocation' },
    metric: ofQueue('portcullis-publications.fifo', 'ApproximateAgeOfOldestMessage'),
    ...{ threshold: 180, unit: 's', periods: 3, minutes: 1, missing: 'good' },
    why: 'The reconciler is not running, or slower than changes come in: revoked viewers play on',
  },
  'dead-letters': {
    ...{ at: 'region', module: 'revocation' },
    metric: ofQueue('portcullis-publications-dead.fifo', 'ApproximateNumberOfMessagesVisible'),
    ...ONCE,
    why: 'A change was given up after many attempts; the list still has it',
  },
  'detection-failed': {
    ...{ at: 'region', module: 'revocation', metric: counted('DetectionFailed', 'detection', 'Sum') },
    ...ONCE,
    why: 'A run of detection failed: nothing was recorded or revoked by it',
    needsDistribution: true,
    isFor: isDetecting,
  },
  'detection-execution-failed': {
    ...{ at: 'region', module: 'revocation', metric: ofMachine('detection', 'ExecutionsFailed') },
    ...ONCE,
    why: 'An execution of detection failed, perhaps before it could say so itself',
    needsDistribution: true,
    isFor: isDetecting,
  },
  'detection-timed-out': {
    ...{ at: 'region', module: 'revocation', metric: ofMachine('detection', 'ExecutionsTimedOut') },
    ...ONCE,
    why: 'A run of detection took longer than an hour, and could say nothing any more',
    needsDistribution: true,
    isFor: isDetecting,
  },
  'detection-lag': {
    ...{ at: 'region', module: 'revocation', metric: counted('DetectionLag', 'detection', 'Maximum') },
    ...{ threshold: 10_800, unit: 's', periods: 4, minutes: 15, missing: 'bad' },
    why: 'Detection does not keep up with the logs, or does not run',
    needsDistribution: true,
    isFor: isDetecting,
  },
  'detection-cap-hit': {
    ...{ at: 'region', module: 'revocation', metric: counted('DetectionCapHit', 'detection', 'Sum') },
    ...ONCE,
    why: 'Detection would have revoked more than its cap, and revoked nothing',
    needsDistribution: true,
    isFor: isDetecting,
  },
  'key-server-failed': {
    ...{ at: 'region', module: 'mastering', metric: ofHandler('key-server', 'Url5xxCount') },
    ...{ threshold: 0, unit: '', periods: 2, minutes: 5, missing: 'good' },
    why: 'Keys of packaged titles are not served: players that begin cannot decrypt',
  },
  'receipt-refused': {
    ...{ at: 'region', module: 'render', metric: counted('ReceiptRefused', 'render', 'Sum') },
    ...ONCE,
    why: 'The receipt of a render job was refused: it may not be what was ordered',
    isFor: hasOwners,
  },
  'render-failed': {
    ...{ at: 'region', module: 'render', metric: ofMachine('render', 'ExecutionsFailed') },
    ...ONCE,
    why: 'An execution of a render job failed, perhaps before it could say so itself',
    isFor: hasOwners,
  },
  'render-timed-out': {
    ...{ at: 'region', module: 'render', metric: ofMachine('render', 'ExecutionsTimedOut') },
    ...ONCE,
    why: 'A render job took longer than 48 hours, and could say nothing any more: a parent may run on',
    isFor: hasOwners,
  },
  'render-aborted': {
    ...{ at: 'region', module: 'render', metric: ofMachine('render', 'ExecutionsAborted') },
    ...ONCE,
    why: 'Somebody stopped the execution of a render job: a parent may run on',
    isFor: hasOwners,
  },
  'parent-job-failed': {
    ...{ at: 'region', module: 'render', metric: ofParents('job-failed') },
    ...ONCE,
    why: 'A parent of enclaves could not render a job, or not yet',
  },
  'parent-not-read': {
    ...{ at: 'region', module: 'render', metric: ofParents('not-read') },
    ...{ threshold: 0, unit: '', periods: 3, minutes: 5, missing: 'good' },
    why: 'A parent of enclaves runs and cannot list its bucket: it takes no jobs',
  },
  'parent-not-started': {
    ...{ at: 'region', module: 'render', metric: ofParents('not-started') },
    ...ONCE,
    why: 'A parent of enclaves runs and takes no jobs: its settings or its enclave image are none',
  },
};

/** The alarms of a configuration in one of the two places, by name. */
export function alarmsOf(
  configuration: Configuration,
  at: AlarmDescription['at'],
  watched: Watched,
): [string, AlarmDescription][] {
  return Object.entries(ALARMS).filter(
    ([, alarm]) =>
      alarm.at === at &&
      configuration.aws.modules.includes(alarm.module) &&
      (watched.distributionId !== undefined || !alarm.needsDistribution) &&
      (alarm.isFor?.(configuration) ?? true),
  );
}

/** The threshold of an alarm. */
export function thresholdOf({ threshold }: AlarmDescription, configuration: Configuration): number {
  return typeof threshold === 'number' ? threshold : threshold(configuration);
}
