import { ConditionalCheckFailedException, type CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import {
  BatchGetCommand,
  type BatchGetCommandOutput,
  BatchWriteCommand,
  type BatchWriteCommandOutput,
  DeleteCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  UpdateCommand,
} from '@aws-sdk/lib-dynamodb';
import { sendInBatches } from '../batches.ts';
import type { DetectionRun, DetectionRuns } from './detection-runs.ts';
import type { Ledger } from './log-objects.ts';

/** The ledger: one item a log object, with the version that was dealt with; time to live: `expiresAt`. */
export const LOG_OBJECTS_TABLE = {
  TableName: 'portcullis-log-objects',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'objectName', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'objectName', KeyType: 'HASH' }],
} satisfies CreateTableCommandInput;

/** The runs: an item `running` as long as there is one, and `latest`, what the last one did. */
export const DETECTIONS_TABLE = {
  TableName: 'portcullis-detections',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
} satisfies CreateTableCommandInput;

/** Largest number of keys in one BatchGetItem, and of items in one BatchWriteItem (DynamoDB API reference). */
const READ_BATCH = 100;
const WRITE_BATCH = 25;

/**
 * How long an object stays in the ledger, in days: longer than any run looks back, which is the longest lifetime of a token
 * (31 days), a day of late delivery and the look-back.
 */
const LEDGER_DAYS = 60;

type Writes = NonNullable<BatchWriteCommandOutput['UnprocessedItems']>[string];

/** The ledger in DynamoDB. An item that was deleted, or committed by a slower run, costs one more look at an object: no more. */
export function dynamoDbLedger(client: DynamoDBDocumentClient): Ledger {
  const { TableName } = LOG_OBJECTS_TABLE;
  return {
    async unseen(objects) {
      const versions = new Map<string, string>();
      const names = [...new Set(objects.map(({ name }) => name))];
      await sendInBatches(
        names.map((objectName) => ({ objectName })),
        READ_BATCH,
        async (Keys) => {
          // A read may lag: what it misses is looked at once more, and reading costs half of a consistent one.
          const page: BatchGetCommandOutput = await client.send(
            new BatchGetCommand({ RequestItems: { [TableName]: { Keys } } }),
          );
          for (const { objectName, version } of page.Responses?.[TableName] ?? []) versions.set(objectName, version);
          return (page.UnprocessedKeys?.[TableName]?.Keys ?? []) as typeof Keys;
        },
      );
      return objects.filter(({ name, version }) => versions.get(name) !== version);
    },
    async commit(objects, now) {
      const expiresAt = now + LEDGER_DAYS * 86_400;
      // By name: DynamoDB refuses a batch that names a key twice.
      const unique = [...new Map(objects.map((object) => [object.name, object])).values()];
      const writes: Writes = unique.map(({ name, version, bytes, hour, refused }) => ({
        PutRequest: { Item: { objectName: name, version, bytes, hour, refused, committedAt: now, expiresAt } },
      }));
      await sendInBatches(writes, WRITE_BATCH, async (batch) => {
        const { UnprocessedItems } = await client.send(new BatchWriteCommand({ RequestItems: { [TableName]: batch } }));
        return UnprocessedItems?.[TableName] ?? [];
      });
    },
  };
}

/** The runs in DynamoDB. Whoever dies while running blocks others until its time is over, and no longer. */
export function dynamoDbDetectionRuns(client: DynamoDBDocumentClient): DetectionRuns {
  const { TableName } = DETECTIONS_TABLE;

  /** Keeps a result as the latest, or of a run that had nothing to do when it was, unless it is the first of all. */
  async function keep(result: DetectionRun): Promise<void> {
    const { ranAt, checkedAt, objects } = result;
    if (objects === 0 && (await conditionally(client.send(new UpdateCommand(checked(checkedAt)))))) return;
    await conditionally(
      client.send(
        new PutCommand({
          TableName,
          // As text: its numbers and its depth are of no interest to the database.
          Item: { id: 'latest', ranAt, checkedAt, result: JSON.stringify(result) },
          ConditionExpression:
            objects === 0 ? 'attribute_not_exists(id)' : 'attribute_not_exists(id) OR ranAt <= :ranAt',
          ...(objects > 0 && { ExpressionAttributeValues: { ':ranAt': ranAt } }),
        }),
      ),
    );
  }

  const checked = (checkedAt: number) => ({
    TableName,
    Key: { id: 'latest' },
    UpdateExpression: 'SET checkedAt = :checkedAt',
    ConditionExpression: 'checkedAt <= :checkedAt',
    ExpressionAttributeValues: { ':checkedAt': checkedAt },
  });

  return {
    begin: (run, now, until) =>
      conditionally(
        client.send(
          new PutCommand({
            TableName,
            Item: { id: 'running', run, runsUntil: until },
            ConditionExpression: 'attribute_not_exists(id) OR runsUntil <= :now OR run = :run',
            ExpressionAttributeValues: { ':now': now, ':run': run },
          }),
        ),
      ),
    async finish(run, result) {
      if (result) await keep(result);
      await conditionally(
        client.send(
          new DeleteCommand({
            TableName,
            Key: { id: 'running' },
            ConditionExpression: 'run = :run',
            ExpressionAttributeValues: { ':run': run },
          }),
        ),
      );
    },
    async latest() {
      const { Item } = await client.send(new GetCommand({ TableName, Key: { id: 'latest' }, ConsistentRead: true }));
      return Item && { ...(JSON.parse(Item.result) as DetectionRun), checkedAt: Item.checkedAt };
    },
    async isRunning(now) {
      const { Item } = await client.send(new GetCommand({ TableName, Key: { id: 'running' }, ConsistentRead: true }));
      return Item !== undefined && Item.runsUntil > now;
    },
  };
}

/** Whether a conditional write took place. */
async function conditionally(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return false;
    throw error;
  }
}
