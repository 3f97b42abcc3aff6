import { Stack, type StackProps } from 'aws-cdk-lib';
import type * as sns from 'aws-cdk-lib/aws-sns';
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
  /** Where alarms of this region go; one of its own where there is none. */
  topic: sns.Topic | undefined;
  /** Whether the dashboard is here; it shows metrics of both regions. */
  hasDashboard: boolean;
}

/** Alarms of a region, and the dashboard. */
export class MonitoringStack extends Stack {
  constructor(scope: Construct, id: string, { configuration, artefacts, watched, ...rest }: MonitoringStackProps) {
    const { places, topic: given, hasDashboard, ...props } = rest;
    super(scope, id, props);
    const topic = given ?? new AlarmTopic(this, { email: configuration.aws.alarmEmail }).topic;
    for (const at of places) new Alarms(this, at, { configuration, watched, topic });
    if (hasDashboard) new Dashboard(this, { configuration, watched }, artefacts.edge.denialReasons);
  }
}
