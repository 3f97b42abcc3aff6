import { Aws } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as sns from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { Construct } from 'constructs';

/**
 * The topic that alarms of a region are sent to, and the address that gets them. It has a key of its own: CloudWatch may not use
 * the key that AWS manages for SNS (Amazon CloudWatch User Guide, "Notifying users on alarm changes").
 */
export class AlarmTopic extends Construct {
  readonly topic: sns.Topic;
  readonly key: kms.Key;

  constructor(scope: Construct, { email, name = 'portcullis-alarms' }: { email: string | undefined; name?: string }) {
    super(scope, 'Alarms');
    const alarms = new iam.ServicePrincipal('cloudwatch.amazonaws.com');
    const ofThisAccount = { StringEquals: { 'aws:SourceAccount': Aws.ACCOUNT_ID } };
    this.key = new kms.Key(this, 'Key', { description: 'Alarms of Portcullis', enableKeyRotation: true });
    this.key.addToResourcePolicy(
      new iam.PolicyStatement({
        principals: [alarms],
        actions: ['kms:Decrypt', 'kms:GenerateDataKey'],
        // In the policy of a key this is that key.
        resources: ['*'],
        conditions: ofThisAccount,
      }),
    );
    this.topic = new sns.Topic(this, 'Topic', { topicName: name, masterKey: this.key, enforceSSL: true });
    // A policy of one's own, such as the one about TLS, takes the place of that which lets the account's alarms publish.
    this.topic.addToResourcePolicy(
      new iam.PolicyStatement({
        principals: [alarms],
        actions: ['sns:Publish'],
        resources: [this.topic.topicArn],
        conditions: ofThisAccount,
      }),
    );
    if (email !== undefined) this.topic.addSubscription(new EmailSubscription(email));
  }
}
