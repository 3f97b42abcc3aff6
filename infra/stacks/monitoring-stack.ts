import { Stack, type StackProps } from 'aws-cdk-lib';
import * as sns from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';
import type { Configuration } from '../../config/schema.ts';
import { AlarmTopic } from '../alarm-topic.ts';
import type { AlarmDescription, Watched } from '../alarms.ts';
import type { Artefacts } from '../artefacts.ts';
import { Alarms, Dashboard } from '../monitoring.ts';

/** What a stack of alarms is made of. */
export interface MonitoringStackProps extends StackProps {
  configuration: Configuration;
  artefacts: Artefacts;
  watched: Watched;
  /** Whose alarms: CloudWatch has alarms in the region of their metrics only. */
  places: AlarmDescription['at'][];
  /** Where alarms of this region go; absent where no other stack has a topic: this one makes it then. */
  topicArn?: string;
  /** Whether the dashboard is here; it shows metrics of both regions. */
  hasDashboard: boolean;
}

/** Alarms of a region, and the dashboard. */
export class MonitoringStack extends Stack {
  constructor(scope: Construct, id: string, { configuration, artefacts, watched, ...rest }: MonitoringStackProps) {
    const { places, topicArn, hasDashboard, ...props } = rest;
    super(scope, id, props);
    const topic =
      topicArn === undefined
        ? new AlarmTopic(this, { email: configuration.aws.alarmEmail }).topic
        : sns.Topic.fromTopicArn(this, 'GivenAlarms', topicArn);
    for (const at of places) new Alarms(this, at, { configuration, watched, topic });
    if (hasDashboard) new Dashboard(this, { configuration, watched }, artefacts.edge.denialReasons);
  }
}
