import { Aws, Duration } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import type * as sns from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import { EDGE_REGION } from '../config/deployment.ts';
import type { Configuration } from '../config/schema.ts';
import {
  type AlarmDescription,
  alarmsOf,
  DECISIONS,
  DENIALS_NAMESPACE,
  type MetricDescription,
  NAMESPACE,
  thresholdOf,
  type Watched,
} from './alarms.ts';

/** Where it is written what to do about an alarm. */
const RUNBOOKS = 'docs/operations.md';

/** What is watched, and who is told. */
export interface MonitoringProps {
  configuration: Configuration;
  watched: Watched;
  topic: sns.ITopic;
}

function metricOf(
  { namespace, name, dimensions, statistic }: MetricDescription,
  watched: Watched,
  minutes: number,
  region?: string,
): cloudwatch.Metric {
  return new cloudwatch.Metric({
    namespace,
    metricName: name,
    dimensionsMap: dimensions(watched),
    statistic,
    period: Duration.minutes(minutes),
    ...(region !== undefined && { region }),
  });
}

/** What an alarm looks at: a metric, or the share of one in another, of at least so many. */
function watchedMetric(
  { metric, shareOf, minutes }: AlarmDescription,
  watched: Watched,
  region?: string,
): cloudwatch.IMetric {
  const counted = metricOf(metric, watched, minutes, region);
  if (!shareOf) return counted;
  return new cloudwatch.MathExpression({
    // Never divides by zero: below `from` nothing is a share.
    expression: `IF(FILL(every, 0) >= ${shareOf.from}, 100 * FILL(counted, 0) / every, 0)`,
    usingMetrics: { counted, every: metricOf(shareOf.metric, watched, minutes, region) },
    label: metric.name,
    period: Duration.minutes(minutes),
    ...(region !== undefined && { searchRegion: region }),
  });
}

/** The alarms of one of the two places (`alarms.ts`), in the region of their metrics. */
export class Alarms extends Construct {
  constructor(scope: Construct, at: AlarmDescription['at'], { configuration, watched, topic }: MonitoringProps) {
    super(scope, `alarms-at-${at}`);
    for (const [name, alarm] of alarmsOf(configuration, at, watched)) {
      new cloudwatch.Alarm(this, name, {
        alarmName: `portcullis-${name}`,
        alarmDescription: `${alarm.why}. ${RUNBOOKS}#${name}`,
        metric: watchedMetric(alarm, watched),
        threshold: thresholdOf(alarm, configuration),
        comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
        evaluationPeriods: alarm.periods,
        treatMissingData:
          alarm.missing === 'bad' ? cloudwatch.TreatMissingData.BREACHING : cloudwatch.TreatMissingData.NOT_BREACHING,
      }).addAlarmAction(new SnsAction(topic));
    }
  }
}

/** Graphs beside those of alarms: what goes on when all is well. */
function traffic(configuration: Configuration, denialReasons: string[], watched: Watched): cloudwatch.IWidget[][] {
  const { region, modules } = configuration.aws;
  const { distributionId = '' } = watched;
  const five = Duration.minutes(5);
  const atTheEdge = (metricName: string, namespace: string, dimensionsMap: Record<string, string>, statistic: string) =>
    new cloudwatch.Metric({ namespace, metricName, dimensionsMap, statistic, period: five, region: EDGE_REGION });
  const ours = (metricName: string, service: string, statistic: string) =>
    new cloudwatch.Metric({
      ...{ namespace: NAMESPACE, metricName, dimensionsMap: { service }, statistic, period: five, region },
    });
  const ofDistribution = (metricName: string, statistic: string) =>
    atTheEdge(metricName, 'AWS/CloudFront', { DistributionId: distributionId, Region: 'Global' }, statistic);
  const isDelivered = watched.distributionId !== undefined;
  const hasDecisions = isDelivered && modules.includes('revocation');
  const has = (when: boolean, widgets: () => cloudwatch.IWidget[]) => (when ? [widgets()] : []);
  return [
    ...has(isDelivered, () => [
      graph('Requests of viewers', EDGE_REGION, [ofDistribution('Requests', 'Sum')]),
      graph('Errors, % of requests', EDGE_REGION, [
        ofDistribution('4xxErrorRate', 'Average'),
        ofDistribution('5xxErrorRate', 'Average'),
      ]),
    ]),
    ...has(hasDecisions, () => [
      graph(
        'Denials by reason (in mode log: what would be denied)',
        EDGE_REGION,
        denialReasons.map((reason) => atTheEdge(reason, DENIALS_NAMESPACE, {}, 'Sum')),
        true,
      ),
      graph('Decisions of the function', EDGE_REGION, [atTheEdge(DECISIONS, DENIALS_NAMESPACE, {}, 'Sum')]),
    ]),
    ...has(modules.includes('api'), () => [
      graph('Tokens minted', region, [ours('TokensMinted', 'api', 'Sum'), ours('RateLimited', 'api', 'Sum')]),
      graph('Time until the API answers', region, [ours('Latency', 'api', 'p50'), ours('Latency', 'api', 'p99')]),
    ]),
    ...has(modules.includes('revocation'), () => [
      graph('Detection', region, [
        ours('SuspiciousSessions', 'detection', 'Maximum'),
        ours('AutoRevocations', 'detection', 'Sum'),
      ]),
    ]),
  ];
}

function graph(title: string, region: string, left: cloudwatch.IMetric[], stacked = false): cloudwatch.GraphWidget {
  return new cloudwatch.GraphWidget({ title, region, left, stacked, width: 12, height: 6 });
}

/** The dashboard `portcullis`: what goes on at the edge and behind it, and below that every alarm's metric with its threshold. */
export class Dashboard extends Construct {
  constructor(scope: Construct, { configuration, watched }: Omit<MonitoringProps, 'topic'>, denialReasons: string[]) {
    super(scope, 'Overview');
    const places = { edge: EDGE_REGION, region: configuration.aws.region } as const;
    const alarms = (['edge', 'region'] as const).flatMap((at) =>
      alarmsOf(configuration, at, watched).map(([name, alarm]) => {
        const threshold = thresholdOf(alarm, configuration);
        return new cloudwatch.GraphWidget({
          title: name,
          region: places[at],
          left: [watchedMetric(alarm, watched, places[at])],
          leftAnnotations: [{ value: threshold, label: `alarm above ${threshold} ${alarm.unit}`.trim() }],
          width: 6,
          height: 4,
        });
      }),
    );
    const rows = Array.from({ length: Math.ceil(alarms.length / 4) }, (_, row) => alarms.slice(4 * row, 4 * row + 4));
    new cloudwatch.Dashboard(this, 'Dashboard', {
      dashboardName: 'portcullis',
      widgets: [
        ...traffic(configuration, denialReasons, watched),
        [
          new cloudwatch.TextWidget({
            markdown: `## Alarms\nOf account ${Aws.ACCOUNT_ID}; what to do about each is in \`${RUNBOOKS}\`.`,
            width: 24,
            height: 2,
          }),
        ],
        ...rows,
      ],
    });
  }
}
