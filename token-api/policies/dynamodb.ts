import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import { DeleteCommand, type DynamoDBDocumentClient, GetCommand, PutCommand, ScanCommand } from '@aws-sdk/lib-dynamodb';
import { decodeCursor, encodeCursor } from '../pages/page.ts';
import type { NamedPolicy, PolicyCatalogue } from './policies.ts';

/** The table of policies: one item a policy. */
export const POLICIES_TABLE = {
  TableName: 'portcullis-policies',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
} satisfies CreateTableCommandInput;

/** The policies in DynamoDB. */
export function dynamoDbPolicies(client: DynamoDBDocumentClient): PolicyCatalogue {
  const { TableName } = POLICIES_TABLE;
  return {
    async put(policy) {
      const { Attributes } = await client.send(new PutCommand({ TableName, Item: policy, ReturnValues: 'ALL_OLD' }));
      return Attributes === undefined;
    },
    async get(id) {
      // What was stored a moment ago counts: whoever stores a policy refers to it at once.
      const { Item } = await client.send(new GetCommand({ TableName, Key: { id }, ConsistentRead: true }));
      return (Item as NamedPolicy | undefined)?.policy;
    },
    async remove(id) {
      const { Attributes } = await client.send(new DeleteCommand({ TableName, Key: { id }, ReturnValues: 'ALL_OLD' }));
      return Attributes !== undefined;
    },
    async page({ limit, cursor }) {
      const ExclusiveStartKey = decodeCursor('policies', { id: 'string' }, cursor);
      const { Items = [], LastEvaluatedKey } = await client.send(
        new ScanCommand({ TableName, Limit: limit, ExclusiveStartKey }),
      );
      const items = (Items as NamedPolicy[]).sort((a, b) => a.id.localeCompare(b.id));
      return { items, next: encodeCursor('policies', LastEvaluatedKey) };
    },
  };
}
