import { ConditionalCheckFailedException, type CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import {
  type DynamoDBDocumentClient,
  GetCommand,
  paginateScan,
  QueryCommand,
  UpdateCommand,
} from '@aws-sdk/lib-dynamodb';
import { CursorError, decodeCursor, encodeCursor, type Page, type PageRequest } from '../pages/page.ts';
import { LIVE_SECONDS, type Session, type SessionKeys, type Sessions } from './sessions.ts';

const SEEN = 'seen';

/**
 * The table of sessions: one item a session; time to live: `expiresAt`. `kids`: key ids of its tokens, a set. The index has those that were seen, by when that
 * was, so that nobody has to read past those that ended.
 */
export const SESSIONS_TABLE = {
  TableName: 'portcullis-sessions',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [
    { AttributeName: 'sessionId', AttributeType: 'S' },
    { AttributeName: 'shard', AttributeType: 'N' },
    { AttributeName: 'lastSeenAt', AttributeType: 'N' },
  ],
  KeySchema: [{ AttributeName: 'sessionId', KeyType: 'HASH' }],
  GlobalSecondaryIndexes: [
    {
      IndexName: SEEN,
      KeySchema: [
        { AttributeName: 'shard', KeyType: 'HASH' },
        { AttributeName: 'lastSeenAt', KeyType: 'RANGE' },
      ],
      Projection: { ProjectionType: 'ALL' },
    },
  ],
} satisfies CreateTableCommandInput;

type Values = Record<string, string | number>;

/** Partitions of the index: each takes 1,000 sightings a second (DynamoDB developer guide, partition throughput). */
const SHARDS = 4;
const CURSOR = { sessionId: 'string', shard: 'number', lastSeenAt: 'number' } as const;

/** The playback sessions in DynamoDB. Expiry is checked here: DynamoDB's own may lag by days. */
export function dynamoDbSessions(client: DynamoDBDocumentClient): Sessions {
  const { TableName } = SESSIONS_TABLE;

  /** Sets `values` of a session and adds `kids` to its keys. */
  async function write(sessionId: string, values: Values, kids: string[], condition?: string): Promise<void> {
    const names = Object.keys(values);
    const set = `SET ${names.map((name) => `#${name} = :${name}`).join(', ')}`;
    await client.send(
      new UpdateCommand({
        TableName,
        Key: { sessionId },
        UpdateExpression: kids.length > 0 ? `${set} ADD kids :kids` : set,
        ExpressionAttributeNames: Object.fromEntries(names.map((name) => [`#${name}`, name])),
        ExpressionAttributeValues: {
          ...Object.fromEntries(Object.entries(values).map(([name, value]) => [`:${name}`, value])),
          ...(kids.length > 0 && { ':kids': new Set(kids) }),
        },
        ...(condition !== undefined && { ConditionExpression: condition }),
      }),
    );
  }

  /** Writes what is known of a session. It expires with its latest token, which another device may have. */
  async function update(session: Session, kids: string[], values: Values = {}): Promise<void> {
    const { sessionId, asset, startedAt, expiresAt, subject } = session;
    const known = { asset, startedAt, ...(subject !== undefined && { subject }), ...values };
    const isLater = 'attribute_not_exists(expiresAt) OR expiresAt <= :expiresAt';
    await write(sessionId, { ...known, expiresAt }, kids, isLater).catch((error) => {
      if (!(error instanceof ConditionalCheckFailedException)) throw error;
      return write(sessionId, known, kids);
    });
  }

  async function live(now: number, { limit, cursor }: PageRequest): Promise<Page<Session>> {
    const since = now - LIVE_SECONDS;
    let startKey = decodeCursor('sessions', CURSOR, cursor);
    let shard = Number(startKey?.shard ?? 0);
    if (!Number.isInteger(shard) || shard < 0) throw new CursorError();
    // What follows a cursor that is older than a minute is older still; DynamoDB would refuse to begin there.
    if (startKey && Number(startKey.lastSeenAt) < since) {
      startKey = undefined;
      shard++;
    }
    const items: Session[] = [];
    // A page ends where DynamoDB ends one: a filter or its limit of 1 MB may have left little on it.
    for (; shard < SHARDS; shard++) {
      const { Items = [], LastEvaluatedKey } = await client.send(
        new QueryCommand({
          TableName,
          IndexName: SEEN,
          KeyConditionExpression: '#shard = :shard AND lastSeenAt >= :since',
          FilterExpression: 'expiresAt > :now',
          ExpressionAttributeNames: { '#shard': 'shard' },
          ExpressionAttributeValues: { ':shard': shard, ':since': since, ':now': now },
          ScanIndexForward: false,
          Limit: limit - items.length,
          ExclusiveStartKey: startKey,
        }),
      );
      items.push(...Items.map(sessionOf));
      if (LastEvaluatedKey) return { items: items.sort(latestFirst), next: encodeCursor('sessions', LastEvaluatedKey) };
      startKey = undefined;
    }
    return { items: items.sort(latestFirst), next: undefined };
  }

  return {
    record: (session, kids) => update(session, kids),
    async seen(session, seenAt) {
      const { kid, sessionId } = session;
      const sighting = { lastSeenAt: seenAt, shard: shardOf(sessionId), ...(kid !== undefined && { kid }) };
      await update(session, kid === undefined ? [] : [kid], sighting);
    },
    async get(sessionId) {
      const { Item } = await client.send(new GetCommand({ TableName, Key: { sessionId } }));
      return Item && sessionOf(Item);
    },
    live,
    async withKey(kid, now) {
      const found: SessionKeys[] = [];
      const pages = paginateScan(
        { client },
        {
          TableName,
          // A session that is not read here outlives the key.
          ConsistentRead: true,
          FilterExpression: 'contains(kids, :kid) AND expiresAt > :now',
          ProjectionExpression: 'sessionId, kids',
          ExpressionAttributeValues: { ':kid': kid, ':now': now },
        },
      );
      for await (const { Items = [] } of pages) {
        found.push(...Items.map(({ sessionId, kids }) => ({ sessionId, kids: [...kids] })));
      }
      return found;
    },
  };
}

function sessionOf({ shard: _, kids: __, ...session }: Record<string, unknown>): Session {
  return session as unknown as Session;
}

function latestFirst(a: Session, b: Session): number {
  return (b.lastSeenAt ?? 0) - (a.lastSeenAt ?? 0);
}

/** The partition of a session in the index: its id is random, so any part of it spreads evenly. */
function shardOf(sessionId: string): number {
  return sessionId.charCodeAt(sessionId.length - 1) % SHARDS;
}
