import { ConditionalCheckFailedException, type CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import {
  BatchGetCommand,
  type BatchGetCommandOutput,
  DeleteCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  paginateScan,
} from '@aws-sdk/lib-dynamodb';
import type { RevocationList, RevokedSession } from './revocation-list.ts';

/** The table of revocations: one item a revoked session. */
export const REVOCATIONS_TABLE = {
  TableName: 'portcullis-revocations',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'sessionId', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'sessionId', KeyType: 'HASH' }],
} satisfies CreateTableCommandInput;

/** Largest number of keys in one BatchGetItem (DynamoDB API reference). */
const BATCH = 100;

/** The revocation list in DynamoDB. Expiry is checked here: DynamoDB's own may lag by days. */
export function dynamoDbRevocationList(client: DynamoDBDocumentClient): RevocationList {
  const { TableName } = REVOCATIONS_TABLE;
  return {
    async add(entry) {
      try {
        await client.send(
          new PutCommand({
            TableName,
            Item: entry,
            ConditionExpression: 'attribute_not_exists(sessionId) OR expiresAt <= :now',
            ExpressionAttributeValues: { ':now': entry.revokedAt },
          }),
        );
        return { entry, added: true };
      } catch (error) {
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
        const { Item } = await client.send(
          new GetCommand({ TableName, Key: { sessionId: entry.sessionId }, ConsistentRead: true }),
        );
        return { entry: (Item as RevokedSession | undefined) ?? entry, added: false };
      }
    },
    async remove(sessionId) {
      const { Attributes } = await client.send(
        new DeleteCommand({ TableName, Key: { sessionId }, ReturnValues: 'ALL_OLD' }),
      );
      return Attributes !== undefined;
    },
    async revoked(sessionIds, now) {
      const found = new Set<string>();
      const unique = [...new Set(sessionIds)];
      for (let i = 0; i < unique.length; i += BATCH) {
        let keys = unique.slice(i, i + BATCH).map((sessionId) => ({ sessionId }));
        while (keys.length > 0) {
          const page: BatchGetCommandOutput = await client.send(
            new BatchGetCommand({ RequestItems: { [TableName]: { Keys: keys, ConsistentRead: true } } }),
          );
          for (const item of (page.Responses?.[TableName] ?? []) as RevokedSession[]) {
            if (item.expiresAt > now) found.add(item.sessionId);
          }
          keys = (page.UnprocessedKeys?.[TableName]?.Keys ?? []) as { sessionId: string }[];
        }
      }
      return found;
    },
    async active(now) {
      const entries: RevokedSession[] = [];
      const pages = paginateScan(
        { client },
        {
          TableName,
          // What is not read here is let through at the edge.
          ConsistentRead: true,
          FilterExpression: 'expiresAt > :now',
          ExpressionAttributeValues: { ':now': now },
        },
      );
      for await (const page of pages) entries.push(...((page.Items ?? []) as RevokedSession[]));
      return entries;
    },
  };
}
