import { setTimeout as sleep } from 'node:timers/promises';
import type { SQSBatchResponse, SQSEvent } from 'aws-lambda';
import * as v from 'valibot';
import { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import { AwsKeyValueStore, keyValueStoreClient } from '../../edge-functions/store/key-value-store-aws.ts';
import { dynamoDbRevocationList } from '../../revocation/list/dynamodb.ts';
import { edgePublisher } from '../../revocation/publish/edge-store.ts';
import type { Target } from '../../revocation/publish/publication.ts';
import { publishQueued } from '../../revocation/publish/queued-publication.ts';
import { ruleGroupPublisher } from '../../revocation/publish/rule-group-publisher.ts';
import { sqsClient } from '../../revocation/publish/sqs.ts';
import { namedRuleGroup, wafClient } from '../../revocation/publish/waf.ts';
import { dynamoDbClient } from '../dynamodb.ts';
import { lambdaMetrics } from '../metrics.ts';
import { readSettings } from '../settings.ts';
import { receiveAgain } from './sqs.ts';

const { publications, edgeStore, ruleGroup } = readSettings(
  v.strictObject({
    publications: v.string(),
    /** Absent when there is no edge store to publish to. */
    edgeStore: v.optional(v.string()),
    /** Absent unless sessions are published to WAF. */
    ruleGroup: v.optional(
      v.strictObject({
        name: v.string(),
        scope: v.picklist(['CLOUDFRONT', 'REGIONAL']),
        tokenPrefix: v.string(),
        allowedOrigins: v.array(v.string()),
      }),
    ),
  }),
);
const now = () => Math.floor(Date.now() / 1000);
const list = dynamoDbRevocationList(dynamoDbClient());
const queue = sqsClient();
const metric = lambdaMetrics('reconciler');
const reports = {
  report: (line: string) => console.error(line),
  countPublished: (target: string, published: number) => metric('RevocationsPublished', published, { target }),
  countOmitted: (target: string, omitted: number) => metric('RevocationsOmitted', omitted, { target }),
  countFailed: (target: string) => metric('PublicationFailed', 1, { target }),
};

const targets: Target[] = [];
if (edgeStore !== undefined) {
  const store = new EdgeStore(new AwsKeyValueStore(keyValueStoreClient(), edgeStore));
  targets.push({ name: 'edge store', publisher: edgePublisher(list, store, now) });
}
if (ruleGroup) {
  const group = namedRuleGroup(wafClient(ruleGroup.scope), ruleGroup);
  const name = 'WAF rule group';
  const reportUsed = (wcu: number) => metric('RuleGroupWcu', wcu, { target: name });
  const publisher = ruleGroupPublisher(() => list.active(now()), group, { ...ruleGroup, sleep, reportUsed });
  targets.push({ name, publisher });
}
const [first, ...others] = targets;
if (!first)
  throw new Error(
    'PORTCULLIS_SETTINGS: give the reconciler edgeStore, ruleGroup or both: it has nowhere to publish to',
  );

/** Makes edge store and rule group what the list says, of the entries that messages name or of all. */
export async function handler({ Records }: Pick<SQSEvent, 'Records'>): Promise<SQSBatchResponse> {
  const bodies = Records.map(({ body }) => body);
  if (await publishQueued([first as Target, ...others], bodies, reports)) return { batchItemFailures: [] };
  const handles = Records.map(({ receiptHandle }) => receiptHandle);
  await receiveAgain(queue, publications, handles).catch(({ message }: Error) => reports.report(message));
  return { batchItemFailures: Records.map(({ messageId }) => ({ itemIdentifier: messageId })) };
}
