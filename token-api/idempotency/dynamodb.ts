import { ConditionalCheckFailedException, type CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import { DeleteCommand, type DynamoDBDocumentClient, GetCommand, PutCommand } from '@aws-sdk/lib-dynamodb';
import type { AnswerEntry, Answers } from './answers.ts';

/** The table of kept answers: one item a request with an idempotency key. Its TTL attribute is `expiresAt`. */
export const ANSWERS_TABLE = {
  TableName: 'portcullis-answers',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
} satisfies CreateTableCommandInput;

/** The kept answers in DynamoDB. Expiry is checked here: DynamoDB's own may lag by days. */
export function dynamoDbAnswers(client: DynamoDBDocumentClient): Answers {
  const { TableName } = ANSWERS_TABLE;
  return {
    async begin(entry, now) {
      try {
        await client.send(
          new PutCommand({
            TableName,
            Item: entry,
            ConditionExpression: 'attribute_not_exists(id) OR expiresAt <= :now',
            ExpressionAttributeValues: { ':now': now },
          }),
        );
        return undefined;
      } catch (error) {
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
      }
      const { Item } = await client.send(new GetCommand({ TableName, Key: { id: entry.id }, ConsistentRead: true }));
      // Given back in between: whoever held it was running a moment ago, and says so.
      return (Item as AnswerEntry | undefined) ?? { ...entry, run: '' };
    },
    async finish(entry) {
      await onlyOfRun(
        client.send(
          new PutCommand({
            TableName,
            Item: entry,
            ConditionExpression: 'run = :run',
            ExpressionAttributeValues: { ':run': entry.run },
          }),
        ),
      );
    },
    async abandon(id, run) {
      await onlyOfRun(
        client.send(
          new DeleteCommand({
            TableName,
            Key: { id },
            ConditionExpression: 'run = :run',
            ExpressionAttributeValues: { ':run': run },
          }),
        ),
      );
    },
  };
}

/** Lets a command pass that found the entry of another run. */
async function onlyOfRun(command: Promise<unknown>): Promise<void> {
  await command.catch((error: Error) => {
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
  });
}
