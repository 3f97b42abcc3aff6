import { setTimeout as sleep } from 'node:timers/promises';
import { ConditionalCheckFailedException, type CreateTableCommandInput } from '@aws-sdk/client-dynamodb';
import { type DynamoDBDocumentClient, GetCommand, PutCommand } from '@aws-sdk/lib-dynamodb';
import { ConcurrencyError, type ConcurrencyLimit } from './concurrency.ts';

/** The table of subjects that have sessions: one item a subject. Time to live: `expiresAt`. */
export const SUBJECTS_TABLE = {
  TableName: 'portcullis-subjects',
  BillingMode: 'PAY_PER_REQUEST',
  AttributeDefinitions: [{ AttributeName: 'subject', AttributeType: 'S' }],
  KeySchema: [{ AttributeName: 'subject', KeyType: 'HASH' }],
} satisfies CreateTableCommandInput;

interface SubjectItem {
  subject: string;
  /** Changes with every write: a write on a version that is no more fails. */
  version: number;
  /** When the latest token of each session expires, by session id. */
  sessions: Record<string, number>;
  expiresAt: number;
}

/** Of those who ask at the same time one is served at every attempt, so this many can get a place together. */
const ATTEMPTS = 12;
const BACKOFF_MS = 10;

/**
 * The limit on DynamoDB. `limit`: sessions a subject may have; 0 for any number, and then nothing is read or written.
 * `revokedSessions` tells which of some sessions are revoked: those hold no place.
 */
export function dynamoDbConcurrencyLimit(
  client: DynamoDBDocumentClient,
  limit: number,
  revokedSessions: (sessionIds: string[]) => Promise<Set<string>>,
): ConcurrencyLimit {
  const { TableName } = SUBJECTS_TABLE;

  /** Writes an item if the one there still has the version that it was made from; whether it had. */
  async function replace(item: SubjectItem, version: number): Promise<boolean> {
    try {
      await client.send(
        new PutCommand({
          TableName,
          Item: item,
          ConditionExpression: 'attribute_not_exists(subject) OR version = :version',
          ExpressionAttributeValues: { ':version': version },
        }),
      );
      return true;
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return false;
      throw error;
    }
  }

  return {
    async admit(subject, sessionId, expiresAt, now) {
      if (limit === 0) return true;
      for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
        const { Item } = await client.send(new GetCommand({ TableName, Key: { subject }, ConsistentRead: true }));
        const { version = 0, sessions = {} } = (Item ?? {}) as Partial<SubjectItem>;
        // DynamoDB forgets whole items only, and may lag by days.
        const held = new Map(Object.entries(sessions).filter(([, expiry]) => expiry > now));
        const others = [...held.keys()].filter((id) => id !== sessionId);
        if (!held.has(sessionId) && others.length >= limit) {
          const revoked = await revokedSessions(others);
          for (const id of revoked) held.delete(id);
          if (held.size >= limit) return false;
        }
        held.set(sessionId, Math.max(held.get(sessionId) ?? 0, expiresAt));
        const item: SubjectItem = {
          subject,
          version: version + 1,
          sessions: Object.fromEntries(held),
          expiresAt: Math.max(...held.values()),
        };
        if (await replace(item, version)) return true;
        await sleep(Math.random() * BACKOFF_MS * attempt);
      }
      throw new ConcurrencyError();
    },
  };
}
