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
import type { RevocationEntry, RevocationList } from './revocation-list.ts';

/** The table of revocations: one item an entry; time to live: `expiresAt`. The id first, so that entries spread. */
export const REVOCATIONS_TABLE = {
  TableName: 'portcullis-revocations',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [
    { AttributeName: 'id', AttributeType: 'S' },
    { AttributeName: 'kind', AttributeType: 'S' },
  ],
  KeySchema: [
    { AttributeName: 'id', KeyType: 'HASH' },
    { AttributeName: 'kind', KeyType: 'RANGE' },
  ],
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
            ConditionExpression: 'attribute_not_exists(id) OR expiresAt <= :now',
            ExpressionAttributeValues: { ':now': entry.revokedAt },
          }),
        );
        return { entry, added: true };
      } catch (error) {
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
        const { id, kind } = entry;
        const { Item } = await client.send(new GetCommand({ TableName, Key: { id, kind }, ConsistentRead: true }));
        return { entry: (Item as RevocationEntry | undefined) ?? entry, added: false };
      }
    },
    async remove(kind, id) {
      const { Attributes } = await client.send(
        new DeleteCommand({ TableName, Key: { id, kind }, ReturnValues: 'ALL_OLD' }),
      );
      return Attributes !== undefined;
    },
    async revoked(kind, ids, now) {
      const found = new Set<string>();
      const unique = [...new Set(ids)];
      for (let i = 0; i < unique.length; i += BATCH) {
        let keys = unique.slice(i, i + BATCH).map((id) => ({ id, kind }));
        while (keys.length > 0) {
          const page: BatchGetCommandOutput = await client.send(
            new BatchGetCommand({ RequestItems: { [TableName]: { Keys: keys, ConsistentRead: true } } }),
          );
          for (const { id, expiresAt } of (page.Responses?.[TableName] ?? []) as RevocationEntry[]) {
            if (expiresAt === undefined || expiresAt > now) found.add(id);
          }
          keys = (page.UnprocessedKeys?.[TableName]?.Keys ?? []) as typeof keys;
        }
      }
      return found;
    },
    async active(kind, now) {
      const entries: RevocationEntry[] = [];
      const pages = paginateScan(
        { client },
        {
          TableName,
          // What is not read here is let through at the edge.
          ConsistentRead: true,
          FilterExpression: 'kind = :kind AND (attribute_not_exists(expiresAt) OR expiresAt > :now)',
          ExpressionAttributeValues: { ':kind': kind, ':now': now },
        },
      );
      for await (const page of pages) entries.push(...((page.Items ?? []) as RevocationEntry[]));
      return entries;
    },
  };
}
