import { CfnOutput, Duration, RemovalPolicy, Stack, type StackProps } from 'aws-cdk-lib';
import { HttpApi } from 'aws-cdk-lib/aws-apigatewayv2';
import * as events from 'aws-cdk-lib/aws-events';
import { LambdaFunction } from 'aws-cdk-lib/aws-events-targets';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import type { Construct } from 'constructs';
import type { Configuration } from '../../config/schema.ts';
import { AlarmTopic } from '../alarm-topic.ts';
import type { Artefacts } from '../artefacts.ts';
import { deploymentResource, revision } from '../deployment-resource.ts';
import { Handler, RULE_GROUPS } from '../handler.ts';
import { LogBucket } from '../log-bucket.ts';
import { apiDomainName, liveArns, NAMES, ownUrl, type ResourceArns } from '../names.ts';

/** What the base stack is made of. */
export interface BaseStackProps extends StackProps {
  configuration: Configuration;
  artefacts: Artefacts;
  edgeStoreArn: string;
}

/** How often a rotation is taken further, published or cleared (docs/keys.md). */
const ADVANCE_MINUTES = 2;

/** The key ring with its rotation, what has a live state of its own, and where alarms go. In the region of the configuration. */
export class BaseStack extends Stack {
  /** ARNs of key ring and its key. */
  readonly arns: ResourceArns;
  readonly alarms: AlarmTopic;
  /** Id of the HTTP API, with module `api`: the distribution forwards to it, and it has to know the distribution's name. */
  readonly httpApiId: string | undefined;

  constructor(scope: Construct, id: string, { configuration, artefacts, edgeStoreArn, ...props }: BaseStackProps) {
    super(scope, id, props);
    const { aws, edge, keys, revocation } = configuration;
    const key = new kms.Key(this, 'KeyRingKey', {
      alias: 'portcullis-key-ring',
      description: 'Encrypts the key ring of Portcullis',
      enableKeyRotation: true,
      removalPolicy: RemovalPolicy.RETAIN,
    });
    // Without a value: CloudFormation would put that back. The handler `deployment` gives it one when it has none.
    const keyRing = new secretsmanager.CfnSecret(this, 'KeyRing', {
      name: NAMES.keyRing,
      description: 'The keys that tokens are signed with; whoever may read it may mint anything',
      kmsKeyId: key.keyArn,
    });
    keyRing.applyRemovalPolicy(RemovalPolicy.RETAIN);
    if (aws.modules.includes('api')) {
      const description = 'Vends, renews and revokes playback tokens';
      this.httpApiId = new HttpApi(this, 'Api', {
        apiName: 'portcullis',
        description,
        createDefaultStage: false,
      }).apiId;
      new CfnOutput(this, 'ApiUrl', { value: `https://${apiDomainName(this.httpApiId, aws.region)}` });
    }
    // Before the distribution that is told to deliver its logs there.
    if (aws.modules.includes('revocation')) new LogBucket(this, configuration);
    this.alarms = new AlarmTopic(this, { email: aws.alarmEmail });

    this.arns = { keyRing: [keyRing.ref], keyRingKey: [key.keyArn] };
    const edgeUrl = ownUrl(configuration);
    const shared = { configuration, artefacts, arns: { ...this.arns, edgeStore: [edgeStoreArn] } };
    const settings = {
      edge,
      keys,
      keyRing: keyRing.ref,
      ...(edgeUrl !== undefined && { edgeUrl }),
      publish:
        aws.keys.at === 'store'
          ? { to: 'edge-store', arn: edgeStoreArn }
          : { to: 'function', name: NAMES.embeddedViewerRequest },
    };
    const rotation = new Handler(this, 'key-rotation', { ...shared, settings });
    const deployment = new Handler(this, 'deployment', {
      ...shared,
      arns: { ...shared.arns, ...liveArns(configuration) },
      wildcards: RULE_GROUPS,
      settings: { ...settings, edgeStore: edgeStoreArn, revocation, revocations: aws.modules.includes('revocation') },
    });

    const changes = { Revision: revision(configuration, artefacts) };
    const make = (type: Parameters<typeof deploymentResource>[1], properties: Record<string, unknown>) => {
      const resource = deploymentResource(this, type, { ...properties, ...changes });
      resource.node.addDependency(deployment);
      return resource;
    };
    const ring = make('KeyRing', { SecretId: keyRing.ref });
    if (aws.keys.at === 'embedded') {
      const code = artefacts.edgeFunction('viewer-request.embedded.js');
      const embedded = make('EmbeddedFunction', { Name: NAMES.embeddedViewerRequest, Code: code });
      // The ring is published into the function.
      ring.node.addDependency(embedded);
    }
    if (revocation.waf.publish) {
      const { name, scope: of, capacityWcu } = revocation.waf;
      make('RuleGroup', { Name: name, Scope: of, CapacityWcu: capacityWcu });
    }

    rotation.allowInvocation('SecretsManager', 'secretsmanager.amazonaws.com', keyRing.ref);
    const schedule = new secretsmanager.CfnRotationSchedule(this, 'Rotation', {
      secretId: keyRing.ref,
      rotationLambdaArn: rotation.function.functionArn,
      rotationRules: { automaticallyAfterDays: aws.keys.rotationDays },
      // The first key is there already, and another one at every change of the schedule helps nobody.
      rotateImmediatelyOnUpdate: false,
    });
    schedule.node.addDependency(ring, rotation);
    new events.Rule(this, 'Advance', {
      description: 'Takes the key ring further: publishes what is missing, makes baked keys current, retires old ones',
      schedule: events.Schedule.rate(Duration.minutes(ADVANCE_MINUTES)),
      targets: [new LambdaFunction(rotation.function, { retryAttempts: 0 })],
    });
  }
}
