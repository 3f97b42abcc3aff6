import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import { type DynamoDBDocumentClient, GetCommand, PutCommand, paginateScan } from '@aws-sdk/lib-dynamodb';
import type { Asset, AssetCatalogue } from './assets.ts';

/** The table of assets: one item an asset. */
export const ASSETS_TABLE = {
  TableName: 'portcullis-assets',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
} satisfies CreateTableCommandInput;

/** The asset catalogue in DynamoDB. */
export function dynamoDbAssets(client: DynamoDBDocumentClient): AssetCatalogue {
  const { TableName } = ASSETS_TABLE;
  return {
    async put(asset) {
      await client.send(new PutCommand({ TableName, Item: asset }));
    },
    async get(id) {
      const { Item } = await client.send(new GetCommand({ TableName, Key: { id } }));
      return Item as Asset | undefined;
    },
    async list() {
      const assets: Asset[] = [];
      for await (const page of paginateScan({ client }, { TableName })) assets.push(...((page.Items ?? []) as Asset[]));
      return assets.sort((a, b) => a.id.localeCompare(b.id));
    },
  };
}
