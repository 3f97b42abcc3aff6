import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import {
  DeleteCommand,
  type DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
  ScanCommand,
} from '@aws-sdk/lib-dynamodb';
import { decodeCursor, encodeCursor } from '../pages/page.ts';
import type { Asset, AssetCatalogue } from './assets.ts';

const BY_POLICY = 'by-policy';

/** The table of assets: one item an asset; the index finds those that refer to a policy. */
export const ASSETS_TABLE = {
  TableName: 'portcullis-assets',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [
    { AttributeName: 'id', AttributeType: 'S' },
    { AttributeName: 'policy', AttributeType: 'S' },
  ],
  KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
  GlobalSecondaryIndexes: [
    {
      IndexName: BY_POLICY,
      KeySchema: [
        { AttributeName: 'policy', KeyType: 'HASH' },
        { AttributeName: 'id', KeyType: 'RANGE' },
      ],
      Projection: { ProjectionType: 'KEYS_ONLY' },
    },
  ],
} satisfies CreateTableCommandInput;

/** The asset catalogue in DynamoDB. */
export function dynamoDbAssets(client: DynamoDBDocumentClient): AssetCatalogue {
  const { TableName } = ASSETS_TABLE;
  return {
    async put(asset) {
      const { Attributes } = await client.send(new PutCommand({ TableName, Item: asset, ReturnValues: 'ALL_OLD' }));
      return Attributes === undefined;
    },
    async get(id) {
      const { Item } = await client.send(new GetCommand({ TableName, Key: { id }, ConsistentRead: true }));
      return Item as Asset | undefined;
    },
    async remove(id) {
      const { Attributes } = await client.send(new DeleteCommand({ TableName, Key: { id }, ReturnValues: 'ALL_OLD' }));
      return Attributes !== undefined;
    },
    async page({ limit, cursor }) {
      const ExclusiveStartKey = decodeCursor('assets', { id: 'string' }, cursor);
      const { Items = [], LastEvaluatedKey } = await client.send(
        new ScanCommand({ TableName, Limit: limit, ExclusiveStartKey }),
      );
      const items = (Items as Asset[]).sort((a, b) => a.id.localeCompare(b.id));
      return { items, next: encodeCursor('assets', LastEvaluatedKey) };
    },
    async withPolicy(policyId, limit) {
      const { Items = [] } = await client.send(
        new QueryCommand({
          TableName,
          IndexName: BY_POLICY,
          KeyConditionExpression: '#policy = :policy',
          ExpressionAttributeNames: { '#policy': 'policy' },
          ExpressionAttributeValues: { ':policy': policyId },
          Limit: limit,
        }),
      );
      return Items.map(({ id }) => id as string);
    },
  };
}
