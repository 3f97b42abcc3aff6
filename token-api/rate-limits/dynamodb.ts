import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import { type DynamoDBDocumentClient, UpdateCommand } from '@aws-sdk/lib-dynamodb';
import type { RequestCounts } from './request-counts.ts';

/** The table of request counts: one item a caller and minute. Its TTL attribute is `expiresAt`. */
export const REQUEST_COUNTS_TABLE = {
  TableName: 'portcullis-request-counts',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'bucket', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'bucket', KeyType: 'HASH' }],
} satisfies CreateTableCommandInput;

/**
 * The request counts in DynamoDB: one atomic write a request. The window is part of a bucket's name, so that an item
 * which DynamoDB deletes late is never read again.
 */
export function dynamoDbRequestCounts(client: DynamoDBDocumentClient): RequestCounts {
  const { TableName } = REQUEST_COUNTS_TABLE;
  return {
    async add(bucket, expiresAt) {
      const { Attributes } = await client.send(
        new UpdateCommand({
          TableName,
          Key: { bucket },
          UpdateExpression: 'SET expiresAt = :expiresAt ADD requests :one',
          ExpressionAttributeValues: { ':expiresAt': expiresAt, ':one': 1 },
          ReturnValues: 'UPDATED_NEW',
        }),
      );
      return Attributes?.requests as number;
    },
  };
}
