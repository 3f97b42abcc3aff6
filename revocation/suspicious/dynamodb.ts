import { ConditionalCheckFailedException, type CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import { type DynamoDBDocumentClient, GetCommand, PutCommand, QueryCommand } from '@aws-sdk/lib-dynamodb';
import * as v from 'valibot';
import { SESSION_ID } from '../../token/index.ts';
import type { IdentityTimeline } from '../detect/detection-engine.ts';
import { decodeCursor, encodeCursor } from '../pages/cursor.ts';
import type { SuspiciousSession, SuspiciousSessions } from './suspicious-sessions.ts';

const BY_SCORE = 'by-score';

/**
 * The table of suspicious sessions: one item a session; time to live: `expiresAt`. The index has all of them by their score:
 * one partition, which takes 1,000 findings a second (DynamoDB developer guide, partition throughput).
 */
export const SUSPICIOUS_SESSIONS_TABLE = {
  TableName: 'portcullis-suspicious-sessions',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [
    { AttributeName: 'sessionId', AttributeType: 'S' },
    { AttributeName: 'list', AttributeType: 'S' },
    { AttributeName: 'score', AttributeType: 'N' },
  ],
  KeySchema: [{ AttributeName: 'sessionId', KeyType: 'HASH' }],
  GlobalSecondaryIndexes: [
    {
      IndexName: BY_SCORE,
      KeySchema: [
        { AttributeName: 'list', KeyType: 'HASH' },
        { AttributeName: 'score', KeyType: 'RANGE' },
      ],
      Projection: { ProjectionType: 'ALL' },
    },
  ],
} satisfies CreateTableCommandInput;

/** Value of `list`: there is but one. */
const LIST = 'suspicious';
/** Findings that are written at the same time. */
const WRITES_AT_ONCE = 25;
/** Bytes of what was found, of the 400 KB that an item may have (DynamoDB developer guide, item size). */
const FINDING_BYTES = 200_000;

/** Where a page begins: the score and the id of the last session of the page before. */
const Place = v.strictTuple([
  // A tenth at the finest, as scores are: DynamoDB takes no number that is too small.
  v.pipe(
    v.number(),
    v.minValue(0),
    v.maxValue(100),
    v.check((score) => Math.round(score * 10) / 10 === score),
  ),
  v.pipe(v.string(), v.regex(SESSION_ID)),
]);

interface Item {
  sessionId: string;
  score: number;
  detectedAt: number;
  expiresAt: number;
  /** What was found, as JSON: nothing in it is asked for, and numbers of any size pass. */
  finding: string;
}

/** The suspicious sessions in DynamoDB. Expiry is checked here: DynamoDB's own may lag by days. */
export function dynamoDbSuspiciousSessions(client: DynamoDBDocumentClient): SuspiciousSessions {
  const { TableName } = SUSPICIOUS_SESSIONS_TABLE;

  /** Writes a finding, unless there is a later one: a slow run must not undo what a quick one found. */
  async function write({ sessionId, score, detectedAt, expiresAt, ...found }: SuspiciousSession): Promise<void> {
    const item: Item = { sessionId, score, detectedAt, expiresAt, finding: findingText(found) };
    await client
      .send(
        new PutCommand({
          TableName,
          Item: { ...item, list: LIST },
          ConditionExpression: 'attribute_not_exists(sessionId) OR detectedAt <= :detectedAt',
          ExpressionAttributeValues: { ':detectedAt': detectedAt },
        }),
      )
      .catch((error) => {
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
      });
  }

  return {
    async record(sessions) {
      for (let i = 0; i < sessions.length; i += WRITES_AT_ONCE) {
        await Promise.all(sessions.slice(i, i + WRITES_AT_ONCE).map(write));
      }
    },
    async page(now, { limit, cursor }) {
      const startKey = cursor === undefined ? undefined : decodeCursor(LIST, Place, cursor);
      // A page ends where DynamoDB ends one: what has expired, or its limit of 1 MB, may have left little on it.
      const { Items = [], LastEvaluatedKey } = await client.send(
        new QueryCommand({
          TableName,
          IndexName: BY_SCORE,
          KeyConditionExpression: '#list = :list',
          FilterExpression: 'expiresAt > :now',
          ExpressionAttributeNames: { '#list': 'list' },
          ExpressionAttributeValues: { ':list': LIST, ':now': now },
          ScanIndexForward: false,
          Limit: limit,
          ExclusiveStartKey: startKey && { list: LIST, score: startKey[0], sessionId: startKey[1] },
        }),
      );
      return {
        sessions: (Items as Item[]).map(sessionOf),
        next: LastEvaluatedKey && encodeCursor(LIST, [LastEvaluatedKey.score, LastEvaluatedKey.sessionId]),
      };
    },
    async get(sessionId, now) {
      const { Item } = await client.send(new GetCommand({ TableName, Key: { sessionId }, ConsistentRead: true }));
      const item = Item as Item | undefined;
      return item && item.expiresAt > now ? sessionOf(item) : undefined;
    },
  };
}

function sessionOf({ sessionId, score, detectedAt, expiresAt, finding }: Item): SuspiciousSession {
  return { ...JSON.parse(finding), sessionId, score, detectedAt, expiresAt };
}

/** What was found, as JSON that an item has room for: the earlier minutes of each identity go until it has. */
function findingText({ timeline, ...found }: Pick<SuspiciousSession, 'verdict' | 'reasons' | 'features' | 'timeline'>) {
  const text = (of: IdentityTimeline[]) => JSON.stringify({ ...found, timeline: of });
  let kept = timeline;
  while (Buffer.byteLength(text(kept)) > FINDING_BYTES && kept.some(({ minutes }) => minutes.length > 0)) {
    kept = kept.map(({ label, minutes }) => ({ label, minutes: minutes.slice(Math.ceil(minutes.length / 2)) }));
  }
  return text(kept);
}
