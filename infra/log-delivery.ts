import { Aws, RemovalPolicy } from 'aws-cdk-lib';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { EDGE_REGION } from '../config/deployment.ts';
import type { Configuration } from '../config/schema.ts';
import { DECISIONS, DENIALS_NAMESPACE } from './alarms.ts';
import type { Artefacts } from './artefacts.ts';
import { LOG_PREFIX } from './log-bucket.ts';
import { bucketName, distributionArn } from './names.ts';

/** What the delivery of access logs is made of. */
export interface LogDeliveryProps {
  configuration: Configuration;
  artefacts: Artefacts;
  distributionId: string;
}

const DECISIONS_LOG = '/aws/vendedlogs/portcullis-decisions';

/** ARN of something of CloudWatch Logs in us-east-1. */
const ofAccount = (resource: string) => `arn:${Aws.PARTITION}:logs:${EDGE_REGION}:${Aws.ACCOUNT_ID}:${resource}`;

/**
 * Standard logs v2 of a distribution (CloudFront Developer Guide, "Standard logging (v2)"), in us-east-1: Parquet to the log bucket, which
 * detection reads; and what the function decided, alone, to CloudWatch, which counts denials by reason. Nothing else
 * there could: metric filters read no buckets, and CloudFront's own metrics know the status, not the reason.
 */
export class LogDelivery extends Construct {
  constructor(scope: Construct, { configuration, artefacts, distributionId }: LogDeliveryProps) {
    super(scope, 'LogDelivery');
    const { aws } = configuration;
    const { fields, addressField, decisionField, suffixPath } = artefacts.accessLogs;
    const source = new logs.CfnDeliverySource(this, 'Source', {
      name: 'portcullis-access-logs',
      logType: 'ACCESS_LOGS',
      resourceArn: distributionArn(distributionId),
    });

    const toBucket = new logs.CfnDeliveryDestination(this, 'ToBucket', {
      name: 'portcullis-access-logs',
      outputFormat: 'parquet',
      destinationResourceArn: `arn:${Aws.PARTITION}:s3:::${bucketName('logs', aws.region)}/${LOG_PREFIX}`,
    });
    const delivery = new logs.CfnDelivery(this, 'OfRequests', {
      deliverySourceName: source.name,
      deliveryDestinationArn: toBucket.attrArn,
      recordFields: aws.accessLogs.includeUri ? [...fields, addressField] : [...fields],
      s3SuffixPath: suffixPath,
      // The partitions of the table are by that path, without names in it.
      s3EnableHiveCompatiblePath: false,
    });
    delivery.addResourceDependency(source);

    const decisions = new logs.LogGroup(this, 'Decisions', {
      logGroupName: DECISIONS_LOG,
      // For its metrics alone: the bucket has the same for longer.
      retention: logs.RetentionDays.ONE_DAY,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const policy = new logs.CfnResourcePolicy(this, 'DecisionsPolicy', {
      policyName: 'portcullis-decisions',
      policyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { Service: 'delivery.logs.amazonaws.com' },
            Action: ['logs:CreateLogStream', 'logs:PutLogEvents'],
            Resource: ofAccount(`log-group:${DECISIONS_LOG}:log-stream:*`),
            Condition: {
              StringEquals: { 'aws:SourceAccount': Aws.ACCOUNT_ID },
              ArnLike: { 'aws:SourceArn': ofAccount('delivery-source:*') },
            },
          },
        ],
      }),
    });
    const toCloudWatch = new logs.CfnDeliveryDestination(this, 'ToCloudWatch', {
      name: 'portcullis-decisions',
      outputFormat: 'json',
      // Without the `:*` that CloudFormation ends the ARN of a group in.
      destinationResourceArn: ofAccount(`log-group:${DECISIONS_LOG}`),
    });
    toCloudWatch.node.addDependency(decisions);
    const counted = new logs.CfnDelivery(this, 'OfDecisions', {
      deliverySourceName: source.name,
      deliveryDestinationArn: toCloudWatch.attrArn,
      recordFields: [decisionField],
    });
    counted.addResourceDependency(source);
    counted.addResourceDependency(policy);
    // A source takes one change at a time.
    counted.addResourceDependency(delivery);

    const count = (metricName: string, value: string) =>
      new logs.MetricFilter(this, `Count-${metricName}`, {
        logGroup: decisions,
        filterName: metricName,
        filterPattern: logs.FilterPattern.literal(`{ $.${decisionField} = "${value}" }`),
        metricNamespace: DENIALS_NAMESPACE,
        metricName,
        metricValue: '1',
      });
    count(DECISIONS, '*,*,*');
    for (const reason of artefacts.edge.denialReasons) count(reason, `*,${reason},*`);
  }
}
