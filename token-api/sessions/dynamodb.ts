import { ConditionalCheckFailedException, type CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import { type DynamoDBDocumentClient, QueryCommand, UpdateCommand } from '@aws-sdk/lib-dynamodb';
import { CursorError, decodeCursor, encodeCursor, type Page, type PageRequest } from '../pages/page.ts';
import { LIVE_SECONDS, type Session, type Sessions } from './sessions.ts';

const SEEN = 'seen';

/**
 * The table of sessions: one item a session; time to live: `expiresAt`. The index has those that were seen, by when that
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

/** Partitions of the index: each takes 1,000 sightings a second (DynamoDB developer guide, partition throughput). */
const SHARDS = 4;
const CURSOR = { sessionId: 'string', shard: 'number', lastSeenAt: 'number' } as const;

/** The playback sessions in DynamoDB. Expiry is checked here: DynamoDB's own may lag by days. */
export function dynamoDbSessions(client: DynamoDBDocumentClient): Sessions {
  const { TableName } = SESSIONS_TABLE;

  /** Writes what is known of a session; `more` of the update beside it, `condition` under which it is made. */
  async function update(session: Session, values: Record<string, string | number>, condition?: string): Promise<void> {
    const { asset, startedAt, expiresAt, subject } = session;
    const all = { asset, startedAt, expiresAt, ...(subject !== undefined && { subject }), ...values };
    const names = Object.keys(all);
    await client.send(
      new UpdateCommand({
        TableName,
        Key: { sessionId: session.sessionId },
        UpdateExpression: `SET ${names.map((name) => `#${name} = :${name}`).join(', ')}`,
        ExpressionAttributeNames: Object.fromEntries(names.map((name) => [`#${name}`, name])),
        ExpressionAttributeValues: Object.fromEntries(Object.entries(all).map(([name, value]) => [`:${name}`, value])),
        ...(condition !== undefined && { ConditionExpression: condition }),
      }),
    );
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
      items.push(...Items.map(({ shard: _, ...session }) => session as Session));
      if (LastEvaluatedKey) return { items: items.sort(latestFirst), next: encodeCursor('sessions', LastEvaluatedKey) };
      startKey = undefined;
    }
    return { items: items.sort(latestFirst), next: undefined };
  }

  return {
    async record(session) {
      await update(session, {}, 'attribute_not_exists(expiresAt) OR expiresAt < :expiresAt').catch((error) => {
        // There already, and for longer: another device has a later token.
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
      });
    },
    async seen(session, seenAt) {
      const { kid, sessionId } = session;
      await update(session, { lastSeenAt: seenAt, shard: shardOf(sessionId), ...(kid !== undefined && { kid }) });
    },
    live,
    async countWithKey(kid, now) {
      let count = 0;
      let cursor: string | undefined;
      do {
        const { items, next } = await live(now, { limit: 1000, cursor });
        count += items.filter((session) => session.kid === kid).length;
        cursor = next;
      } while (cursor !== undefined);
      return count;
    },
  };
}

function latestFirst(a: Session, b: Session): number {
  return (b.lastSeenAt ?? 0) - (a.lastSeenAt ?? 0);
}

/** The partition of a session in the index: its id is random, so any part of it spreads evenly. */
function shardOf(sessionId: string): number {
  return sessionId.charCodeAt(sessionId.length - 1) % SHARDS;
}
