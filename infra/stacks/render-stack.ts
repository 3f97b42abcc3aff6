import { Aws, CfnOutput, Duration, RemovalPolicy, Stack, type StackProps, Validations } from 'aws-cdk-lib';
import * as autoscaling from 'aws-cdk-lib/aws-autoscaling';
import * as ec2 from 'aws-cdk-lib/aws-ec2';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as logs from 'aws-cdk-lib/aws-logs';
import * as s3 from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';
import type { Configuration } from '../../config/schema.ts';
import { AlarmTopic } from '../alarm-topic.ts';
import { PARENT_EVENTS, PARENTS_NAMESPACE } from '../alarms.ts';
import type { Artefacts, Documents } from '../artefacts.ts';
import { deployed, policyStatements, SOME_ACCOUNT } from '../documents.ts';
import { acknowledgeWildcards, Handler, OBJECTS, type Wildcard } from '../handler.ts';
import { logGroupArn, NAMES, parentsArn } from '../names.ts';
import { PrivateBucket } from '../private-bucket.ts';
import { StateMachine } from '../state-machine.ts';

/** What the render stack is made of. */
export interface RenderStackProps extends StackProps {
  configuration: Configuration;
  artefacts: Artefacts;
}

type RenderSettings = NonNullable<Configuration['aws']['render']>;

/** Where the operator puts what a parent runs: program, unit and enclave image in one zip (docs/enclave.md). */
const ARTEFACTS = 'artefacts/parent.zip';
/** Log group of parents. */
const LOG_GROUP = '/portcullis/render-parents';
/** Packages of Amazon Linux 2023, which its instances install by (AL2023 User Guide, "Gateway endpoint for Amazon S3"). */
const PACKAGES = (region: string) => `arn:${Aws.PARTITION}:s3:::al2023-repos-${region}-de612dc2/*`;
/** Ciphertext of the largest job twice. */
const DISK_GIB = 500;

const FAILURES: Wildcard = {
  resource: /^<JobsBucket\w*\.Arn>\/jobs\/\*\/failure\.json$/,
  reason: 'The name of a job is in it',
};
const PARENT_STREAMS: Wildcard = {
  resource: /:log-group:\/portcullis\/render-parents:\*$/,
  reason: 'A stream has the id of its instance',
};
const PARENT_GROUP: Wildcard = {
  resource: /:autoScalingGroup:\*:autoScalingGroupName\/portcullis-render$/,
  reason: 'AWS gives the id of a group',
};

/**
 * Attested rendering: a network without internet, the parent of enclaves in it, keys that decrypt for one enclave image alone, and the
 * bucket of receipts that nobody can delete. In the region of the configuration.
 */
export class RenderStack extends Stack {
  constructor(scope: Construct, id: string, { configuration, artefacts, ...props }: RenderStackProps) {
    super(scope, id, props);
    const { aws } = configuration;
    const { region, render } = aws;
    if (!render) throw new Error('aws.render is not set: config/contradictions.ts refuses that');
    const documents = artefacts.documents();
    const { bucket: jobs } = new PrivateBucket(this, 'Jobs', {
      documents,
      name: 'render-jobs',
      lifecycleRules: [
        {
          noncurrentVersionExpiration: Duration.days(30),
          abortIncompleteMultipartUploadAfter: Duration.days(7),
        },
      ],
    });
    const { bucket: audit } = new PrivateBucket(this, 'Audit', {
      documents,
      name: 'render-audit',
      objectLockDefaultRetention: s3.ObjectLockRetention.compliance(Duration.days(render.auditRetentionDays)),
    });

    const role = new iam.Role(this, 'ParentRole', {
      description: 'The parent of enclaves: relays ciphertext, opens nothing',
      assumedBy: new iam.ServicePrincipal('ec2.amazonaws.com'),
    });
    const key = this.#jobKey(documents, render, role);
    const log = new logs.LogGroup(this, 'ParentLog', {
      logGroupName: LOG_GROUP,
      retention: aws.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    for (const event of PARENT_EVENTS) {
      new logs.MetricFilter(this, `Count-${event}`, {
        logGroup: log,
        filterName: event,
        filterPattern: logs.FilterPattern.stringValue('$.event', '=', event),
        metricNamespace: PARENTS_NAMESPACE,
        metricName: event,
        metricValue: '1',
      });
    }
    const policy = new iam.Policy(this, 'ParentPolicy', {
      roles: [role],
      statements: policyStatements(
        documents.parentStatements({
          bucket: jobs.bucketArn,
          keys: [key.attrArn],
          artefacts: jobs.arnForObjects(ARTEFACTS),
          logGroup: logGroupArn(LOG_GROUP, region),
        }),
      ),
    });
    acknowledgeWildcards(policy, [OBJECTS, FAILURES, PARENT_STREAMS]);

    const network = this.#network(aws.logRetentionDays);
    this.#endpoints(network, { role, jobs, key });
    const parents = this.#parents(documents, render, { ...network, role, region });
    parents.node.addDependency(policy, log);

    const alarms = new AlarmTopic(this, { email: aws.alarmEmail, name: NAMES.renderAlarms });
    if (render.owners.length > 0) this.#machine(configuration, artefacts, render, { jobs, audit, alarms });
    new CfnOutput(this, 'JobsBucket', { value: jobs.bucketName });
    new CfnOutput(this, 'AuditBucket', { value: audit.bucketName });
    new CfnOutput(this, 'JobKeyArn', { value: key.attrArn });
    new CfnOutput(this, 'ParentArtefacts', { value: jobs.s3UrlForObject(ARTEFACTS) });
  }

  /**
   * The key of job keys: it decrypts for the enclave of `aws.render.pcrs` alone. Its owner is whoever IAM lets in this account, but not to
   * decrypt. The document is that of `renderKeyPolicy`: CDK's own would give the account everything.
   */
  #jobKey(documents: Documents, { pcrs }: RenderSettings, parent: iam.Role): kms.CfnKey {
    const roles = { ownerRole: `arn:aws:iam::${SOME_ACCOUNT}:root`, parentRole: 'PARENT-ROLE' };
    const policy = documents.renderKeyPolicy(roles, { pcrs }, documents.RENDER_CONTEXT);
    const key = new kms.CfnKey(this, 'JobKey', {
      description: 'Keys of render jobs: decrypts for one enclave image alone',
      enableKeyRotation: true,
      keyPolicy: deployed(policy, { 'PARENT-ROLE': parent.roleArn }),
    });
    key.applyRemovalPolicy(RemovalPolicy.RETAIN);
    new kms.CfnAlias(this, 'JobKeyAlias', { aliasName: `alias/${NAMES.renderKey}`, targetKeyId: key.ref });
    return key;
  }

  /** Subnets with no way to the internet, and the security groups of parents and of endpoints. */
  #network(logRetentionDays: number) {
    const made = new ec2.Vpc(this, 'Vpc', {
      vpcName: 'portcullis-render',
      ipAddresses: ec2.IpAddresses.cidr('10.0.0.0/16'),
      maxAzs: 2,
      natGateways: 0,
      subnetConfiguration: [{ name: 'parents', subnetType: ec2.SubnetType.PRIVATE_ISOLATED, cidrMask: 24 }],
      flowLogs: {
        Refused: {
          trafficType: ec2.FlowLogTrafficType.REJECT,
          destination: ec2.FlowLogDestination.toCloudWatchLogs(
            new logs.LogGroup(this, 'FlowLog', {
              logGroupName: '/portcullis/render-network',
              retention: logRetentionDays,
              removalPolicy: RemovalPolicy.DESTROY,
            }),
          ),
        },
      },
    });
    // Its declaration is not made for exactOptionalPropertyTypes.
    const vpc = made as ec2.IVpc;
    const parents = new ec2.SecurityGroup(this, 'Parents', {
      vpc,
      description: 'Parents of enclaves: nobody reaches them',
      allowAllOutbound: false,
    });
    const endpoints = new ec2.SecurityGroup(this, 'Endpoints', {
      vpc,
      description: 'Endpoints of AWS services, for parents of enclaves',
      allowAllOutbound: false,
    });
    endpoints.addIngressRule(parents, ec2.Port.tcp(443), 'From parents');
    parents.addEgressRule(endpoints, ec2.Port.tcp(443), 'To KMS and CloudWatch Logs');
    return { vpc, parents, endpoints };
  }

  /** The only ways out, each for what the parent does there. */
  #endpoints(
    { vpc, parents, endpoints }: Network,
    { role, jobs, key }: { role: iam.Role; jobs: s3.Bucket; key: kms.CfnKey },
  ): void {
    const asParent = (actions: string[], resources: string[]) =>
      new iam.PolicyStatement({
        principals: [new iam.AnyPrincipal()],
        actions,
        resources,
        conditions: { ArnEquals: { 'aws:PrincipalArn': role.roleArn } },
      });
    const storage = vpc.addGatewayEndpoint('S3', { service: ec2.GatewayVpcEndpointAwsService.S3 });
    storage.addToPolicy(
      asParent(
        ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:AbortMultipartUpload', 's3:ListBucket'],
        [jobs.bucketArn, jobs.arnForObjects('*')],
      ),
    );
    storage.addToPolicy(
      new iam.PolicyStatement({
        // Packages are fetched without credentials.
        principals: [new iam.AnyPrincipal()],
        actions: ['s3:GetObject'],
        resources: [PACKAGES(this.region)],
      }),
    );
    const services: [id: string, ec2.InterfaceVpcEndpointAwsService, iam.PolicyStatement][] = [
      ['Kms', ec2.InterfaceVpcEndpointAwsService.KMS, asParent(['kms:Decrypt'], [key.attrArn])],
      [
        'Logs',
        ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
        asParent(
          ['logs:CreateLogStream', 'logs:PutLogEvents', 'logs:DescribeLogStreams'],
          [logGroupArn(LOG_GROUP, this.region), `${logGroupArn(LOG_GROUP, this.region)}:*`],
        ),
      ],
    ];
    for (const [id, service, statement] of services) {
      vpc.addInterfaceEndpoint(id, { service, securityGroups: [endpoints], open: false }).addToPolicy(statement);
    }
    // To the addresses of S3, which a gateway endpoint does not change; the route goes to the endpoint alone.
    parents.addEgressRule(ec2.Peer.anyIpv4(), ec2.Port.tcp(443), 'To S3, by its endpoint: there is no other route');
  }

  /** One parent at most, since two would both take a job; none until a job waits. Nobody can log in to it. */
  #parents(
    documents: Documents,
    render: RenderSettings,
    { vpc, parents, role, region }: Network & { role: iam.Role; region: string },
  ): autoscaling.AutoScalingGroup {
    const bucket = `portcullis-render-jobs-${SOME_ACCOUNT}-${region}`;
    const userData = documents.parentUserData({
      artefacts: { bucket, key: ARTEFACTS },
      region,
      bucket,
      owners: render.owners,
      cpus: render.enclaveCpus,
      memoryMib: render.enclaveMemoryMiB,
      logGroup: LOG_GROUP,
    });
    const launchTemplate = new ec2.LaunchTemplate(this, 'Parent', {
      launchTemplateName: 'portcullis-render',
      machineImage: ec2.MachineImage.genericLinux({ [region]: render.imageId }),
      instanceType: new ec2.InstanceType(render.instanceType),
      nitroEnclaveEnabled: true,
      httpTokens: ec2.LaunchTemplateHttpTokens.REQUIRED,
      httpPutResponseHopLimit: 1,
      associatePublicIpAddress: false,
      securityGroup: parents,
      role,
      userData: ec2.UserData.custom(deployed(userData)),
      blockDevices: [
        {
          deviceName: '/dev/xvda',
          volume: ec2.BlockDeviceVolume.ebs(DISK_GIB, {
            encrypted: true,
            volumeType: ec2.EbsDeviceVolumeType.GP3,
            deleteOnTermination: true,
          }),
        },
      ],
    });
    const group = new autoscaling.AutoScalingGroup(this, 'ParentGroup', {
      autoScalingGroupName: NAMES.renderParents,
      vpc,
      vpcSubnets: { subnetType: ec2.SubnetType.PRIVATE_ISOLATED },
      launchTemplate,
      minCapacity: 0,
      maxCapacity: 1,
    });
    Validations.of(group).acknowledge({
      id: 'AwsSolutions-AS3',
      reason: 'It starts and stops with each job; a job that comes to nothing is an alarm of the state machine',
    });
    return group;
  }

  /** Jobs from the owner's manifest to a verified receipt. */
  #machine(
    configuration: Configuration,
    artefacts: Artefacts,
    { owners, pcrs }: RenderSettings,
    { jobs, audit, alarms }: { jobs: s3.Bucket; audit: s3.Bucket; alarms: AlarmTopic },
  ): void {
    const arns = {
      renderJobs: [jobs.bucketArn, jobs.arnForObjects('*')],
      auditBucket: [audit.bucketArn, audit.arnForObjects('*')],
      renderParents: [parentsArn(configuration.aws.region)],
      alarmTopic: [alarms.topic.topicArn],
      alarmTopicKey: [alarms.key.keyArn],
    };
    const settings = { jobsBucket: jobs.bucketName, auditBucket: audit.bucketName, owners, pcrs };
    const shared = { configuration, artefacts, arns };
    for (const name of ['render-register', 'render-look', 'render-verify']) {
      new Handler(this, name, { ...shared, settings, wildcards: [OBJECTS] });
    }
    const machine = new StateMachine(this, 'render', {
      ...shared,
      stateMachineName: NAMES.renderMachine,
      wildcards: [OBJECTS, PARENT_GROUP],
      names: { 'parent group name': NAMES.renderParents, 'alarm topic ARN': alarms.topic.topicArn },
    });
    new CfnOutput(this, 'RenderMachineArn', { value: machine.arn });
  }
}

/** Where parents are. */
interface Network {
  vpc: ec2.IVpc;
  parents: ec2.SecurityGroup;
  endpoints: ec2.SecurityGroup;
}
