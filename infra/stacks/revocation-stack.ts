import { Aws, CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import * as athena from 'aws-cdk-lib/aws-athena';
import * as glue from 'aws-cdk-lib/aws-glue';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as s3 from 'aws-cdk-lib/aws-s3';
import * as scheduler from 'aws-cdk-lib/aws-scheduler';
import * as sqs from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import { BYTES_SCANNED_LIMIT, ruleGroupName } from '../../config/deployment.ts';
import type { Configuration } from '../../config/schema.ts';
import type { AlarmTopic } from '../alarm-topic.ts';
import type { Artefacts } from '../artefacts.ts';
import { deploymentResource, revision } from '../deployment-resource.ts';
import { Handler, OBJECTS, RULE_GROUPS, type Wildcard } from '../handler.ts';
import { expiringBucket, LOG_PREFIX } from '../log-bucket.ts';
import { bucketName, catalogArns, NAMES, queueUrl, type ResourceArns } from '../names.ts';
import { StateMachine } from '../state-machine.ts';
import { Tables } from '../tables.ts';

/** What the stack of revocation is made of. */
export interface RevocationStackProps extends StackProps {
  configuration: Configuration;
  artefacts: Artefacts;
  edgeStoreArn: string;
  /** Whose access logs are looked at; without one there is no detection. */
  distributionId: string | undefined;
  alarms: AlarmTopic;
}

const TABLES_OF_RUNS: Wildcard = {
  resource: /:table\/portcullis\/portcullis_\*$/,
  reason: 'Each run of detection makes tables of its own',
};
/** How often detection runs: CloudFront delivers every few minutes, and a run asks Athena a dozen times of which each is charged. */
const DETECTION_MINUTES = 15;
/** How often everything is published anew, so that what expires goes and what failed is made good (docs/revocation.md). */
const RECONCILE_MINUTES = 1;
/** Attempts at a change before it is given up; by then the schedule has asked for the whole list some times. */
const ATTEMPTS = 50;
/** How long results of queries and what steps hand on are kept, in days. */
const RESULTS_DAYS = 1;

/** The revocation list, what publishes it, and what finds sessions to put on it. In the region of the configuration. */
export class RevocationStack extends Stack {
  readonly #configuration: Configuration;
  readonly #artefacts: Artefacts;

  constructor(scope: Construct, id: string, { configuration, artefacts, ...rest }: RevocationStackProps) {
    const { edgeStoreArn, distributionId, alarms, ...props } = rest;
    super(scope, id, props);
    this.#configuration = configuration;
    this.#artefacts = artefacts;
    const tables = new Tables(this, 'revocation', artefacts);
    const { queue, role } = this.#publications(edgeStoreArn);
    if (distributionId !== undefined) this.#detection(distributionId, alarms, role);

    // What was revoked stays so: the deployment may have changed what enforces it.
    const reconciled = deploymentResource(this, 'Reconcile', { Revision: revision(configuration, artefacts) });
    reconciled.node.addDependency(tables);
    new CfnOutput(this, 'PublicationsUrl', { value: queue.queueUrl });
  }

  /** The queue of changes with its reader, and the schedule that has it look at the whole list. */
  #publications(edgeStoreArn: string) {
    const { edge, aws, revocation } = this.#configuration;
    const dead = new sqs.Queue(this, 'DeadPublications', {
      queueName: NAMES.deadPublications,
      fifo: true,
      encryption: sqs.QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: Duration.days(14),
    });
    const reconcilerSeconds = this.#artefacts.handlers.reconciler?.timeoutSeconds ?? 300;
    const queue = new sqs.Queue(this, 'Publications', {
      queueName: NAMES.publications,
      fifo: true,
      // The scheduler gives its messages no id of their own.
      contentBasedDeduplication: true,
      encryption: sqs.QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      // As long as the reader may take and no longer: one that dies holds up all changes for so long.
      visibilityTimeout: Duration.seconds(reconcilerSeconds),
      retentionPeriod: Duration.days(1),
      deadLetterQueue: { queue: dead, maxReceiveCount: ATTEMPTS },
    });
    const isStored = aws.keys.at === 'store';
    const reconciler = new Handler(this, 'reconciler', {
      configuration: this.#configuration,
      artefacts: this.#artefacts,
      arns: { edgeStore: isStored ? [edgeStoreArn] : [] },
      wildcards: RULE_GROUPS,
      settings: {
        publications: queueUrl(NAMES.publications, aws.region),
        ...(isStored && { edgeStore: edgeStoreArn }),
        ...(revocation.waf.publish && {
          ruleGroup: {
            name: ruleGroupName(revocation.waf),
            scope: revocation.waf.scope,
            tokenPrefix: tokenPrefix(edge),
            allowedOrigins: edge.allowedOrigins,
          },
        }),
      },
    });
    reconciler.function.addEventSourceMapping('Publications', {
      eventSourceArn: queue.queueArn,
      batchSize: 10,
      reportBatchItemFailures: true,
    });

    const role = new iam.Role(this, 'SchedulerRole', {
      description: 'Asks for reconciliations and runs of detection',
      assumedBy: new iam.ServicePrincipal('scheduler.amazonaws.com', {
        conditions: { StringEquals: { 'aws:SourceAccount': Aws.ACCOUNT_ID } },
      }),
    });
    const send = new iam.Policy(this, 'SchedulerPolicy', {
      roles: [role],
      statements: [new iam.PolicyStatement({ actions: ['sqs:SendMessage'], resources: [queue.queueArn] })],
    });
    const schedule = new scheduler.CfnSchedule(this, 'Reconcile', {
      name: 'portcullis-reconcile',
      description: 'Has the whole revocation list published anew',
      scheduleExpression: `rate(${RECONCILE_MINUTES} minute)`,
      flexibleTimeWindow: { mode: 'OFF' },
      target: {
        arn: queue.queueArn,
        roleArn: role.roleArn,
        // Another text each minute: the same would be taken for a repetition.
        input: JSON.stringify({ reconcile: '<aws.scheduler.scheduled-time>' }),
        sqsParameters: { messageGroupId: 'revocations' },
        retryPolicy: { maximumRetryAttempts: 0 },
      },
    });
    schedule.node.addDependency(send);
    return { queue, role };
  }

  /** Access logs as a table, who may ask about them and for how much, and the runs of detection. */
  #detection(distributionId: string, alarms: AlarmTopic, role: iam.Role): void {
    const { edge, aws, revocation } = this.#configuration;
    const { accessLogs } = this.#artefacts;
    const logs = s3.Bucket.fromBucketName(this, 'Logs', bucketName('logs', aws.region));
    const location = `s3://${logs.bucketName}/${LOG_PREFIX}/`;
    const name = bucketName('query-results', aws.region);
    const results = expiringBucket(this, 'Results', name, RESULTS_DAYS, RemovalPolicy.DESTROY);

    const database = new glue.CfnDatabase(this, 'Database', {
      catalogId: Aws.ACCOUNT_ID,
      databaseInput: { name: NAMES.database, description: 'Access logs of Portcullis' },
    });
    const filledIn = { Objects: `${location}${distributionId}`, Range: `NOW-${aws.logRetentionDays}DAYS,NOW` };
    const table = new glue.CfnTable(this, 'AccessLogs', {
      catalogId: Aws.ACCOUNT_ID,
      databaseName: NAMES.database,
      tableInput: {
        name: NAMES.accessLogs,
        tableType: 'EXTERNAL_TABLE',
        partitionKeys: [{ name: accessLogs.partitionColumn, type: 'string' }],
        parameters: Object.fromEntries(
          Object.entries(accessLogs.tableProperties).map(([property, value]) => [property, fillIn(value, filledIn)]),
        ),
        storageDescriptor: {
          columns: accessLogs.columns.map((column) => ({ name: column, type: 'string' })),
          location,
          inputFormat: 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat',
          outputFormat: 'org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat',
          serdeInfo: { serializationLibrary: 'org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe' },
        },
      },
    });
    table.addResourceDependency(database);
    const bytesScannedLimit = revocation.athena?.bytesScannedLimit ?? BYTES_SCANNED_LIMIT;
    const workgroup = new athena.CfnWorkGroup(this, 'Workgroup', {
      name: NAMES.workgroup,
      description: 'Detection of leaking sessions',
      recursiveDeleteOption: true,
      workGroupConfiguration: {
        enforceWorkGroupConfiguration: true,
        publishCloudWatchMetricsEnabled: true,
        bytesScannedCutoffPerQuery: bytesScannedLimit,
        engineVersion: { selectedEngineVersion: 'Athena engine version 3' },
        resultConfiguration: {
          outputLocation: `s3://${results.bucketName}/athena/`,
          encryptionConfiguration: { encryptionOption: 'SSE_S3' },
        },
      },
    });

    const arns: ResourceArns = {
      logsBucket: [logs.bucketArn, logs.arnForObjects('*')],
      resultsBucket: [results.bucketArn, results.arnForObjects('*')],
      logsCatalog: catalogArns(aws.region),
      alarmTopic: [alarms.topic.topicArn],
      alarmTopicKey: [alarms.key.keyArn],
    };
    const settings = {
      detection: revocation.detection,
      athena: {
        database: NAMES.database,
        table: NAMES.accessLogs,
        format: 'parquet',
        location,
        distributionId,
        workgroup: NAMES.workgroup,
        region: aws.region,
        bytesScannedLimit,
      },
      tokenPrefix: tokenPrefix(edge),
      revocationSeconds: edge.maxTokenLifetimeSeconds + edge.leewaySeconds,
      resultsBucket: results.bucketName,
      publications: queueUrl(NAMES.publications, aws.region),
    };
    const wildcards = [OBJECTS, TABLES_OF_RUNS];
    const shared = { configuration: this.#configuration, artefacts: this.#artefacts, arns, wildcards };
    const machine = new StateMachine(this, 'detection', {
      ...shared,
      stateMachineName: NAMES.detectionMachine,
      names: {
        'workgroup name': NAMES.workgroup,
        'database name': NAMES.database,
        'alarm topic ARN': alarms.topic.topicArn,
      },
    });
    machine.node.addDependency(workgroup, table);
    for (const handler of Object.values(this.#artefacts.stateMachines.detection?.handlers ?? {})) {
      machine.node.addDependency(new Handler(this, handler, { ...shared, settings }));
    }

    const start = new iam.Policy(this, 'StartPolicy', {
      roles: [role],
      statements: [new iam.PolicyStatement({ actions: ['states:StartExecution'], resources: [machine.arn] })],
    });
    const schedule = new scheduler.CfnSchedule(this, 'Detect', {
      name: 'portcullis-detection',
      description: 'Looks for sessions that leak',
      scheduleExpression: `rate(${DETECTION_MINUTES} minutes)`,
      flexibleTimeWindow: { mode: 'OFF' },
      state: revocation.detection.mode === 'off' ? 'DISABLED' : 'ENABLED',
      target: { arn: machine.arn, roleArn: role.roleArn, input: '{}', retryPolicy: { maximumRetryAttempts: 2 } },
    });
    schedule.node.addDependency(start);
  }
}

/** Path before the token, begins and ends with a slash. */
function tokenPrefix({ tokenPosition }: Configuration['edge']): string {
  return tokenPosition.replace('~TOKEN', '');
}

/** A text with `${Name}` replaced. */
function fillIn(text: string, values: Record<string, string>): string {
  return Object.entries(values).reduce((filled, [name, value]) => filled.replace(`\${${name}}`, () => value), text);
}
