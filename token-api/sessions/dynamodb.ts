import type { CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import { type DynamoDBDocumentClient, PutCommand, paginateScan, UpdateCommand } from '@aws-sdk/lib-dynamodb';
import { LIVE_SECONDS, type Session, type Sessions } from './sessions.ts';

/** The table of sessions: one item a session. */
export const SESSIONS_TABLE = {
  TableName: 'portcullis-sessions',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'sessionId', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'sessionId', KeyType: 'HASH' }],
} satisfies CreateTableCommandInput;

/** The playback sessions in DynamoDB. Expiry is checked here: DynamoDB's own may lag by days. */
export function dynamoDbSessions(client: DynamoDBDocumentClient): Sessions {
  const { TableName } = SESSIONS_TABLE;
  return {
    async start(session) {
      await client.send(new PutCommand({ TableName, Item: session }));
    },
    async seen(session, seenAt) {
      const subject = session.subject === undefined ? '' : ', subject = :subject';
      await client.send(
        new UpdateCommand({
          TableName,
          Key: { sessionId: session.sessionId },
          UpdateExpression: `SET asset = :asset, startedAt = :startedAt, expiresAt = :expiresAt, lastSeenAt = :seenAt${subject}`,
          ExpressionAttributeValues: {
            ':asset': session.asset,
            ':startedAt': session.startedAt,
            ':expiresAt': session.expiresAt,
            ':seenAt': seenAt,
            ...(session.subject === undefined ? {} : { ':subject': session.subject }),
          },
        }),
      );
    },
    async live(now) {
      const sessions: Session[] = [];
      const pages = paginateScan(
        { client },
        {
          TableName,
          FilterExpression: 'expiresAt > :now AND lastSeenAt >= :since',
          ExpressionAttributeValues: { ':now': now, ':since': now - LIVE_SECONDS },
        },
      );
      for await (const page of pages) sessions.push(...((page.Items ?? []) as Session[]));
      return sessions.sort((a, b) => (b.lastSeenAt ?? 0) - (a.lastSeenAt ?? 0));
    },
  };
}
