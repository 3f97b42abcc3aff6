import { randomUUID } from 'node:crypto';
import { SendMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import * as v from 'valibot';
import { REVOCATION_KINDS, type RevocationKey } from '../list/revocation-list.ts';
import type { Publication } from './publication.ts';

/** All changes are one group: the queue hands out the next messages when the reconciler has dealt with those before. */
const MESSAGE_GROUP = 'revocations';
/** Changes in a message: below 256 KiB with ids of 128 characters, the longest that routes take, escaped in JSON. */
const CHANGES = 200;

/** Characters of an id at most, as in `revocation/list/dynamodb.ts`. */
const MAX_ID = 680;

const Message = v.strictObject({
  changed: v.array(
    v.strictObject({ kind: v.picklist(REVOCATION_KINDS), id: v.pipe(v.string(), v.minLength(1), v.maxLength(MAX_ID)) }),
  ),
});

/** A client for the account and region of the environment. */
export function sqsClient(): SQSClient {
  return new SQSClient({});
}

/**
 * Publication by whoever reads a FIFO queue of Amazon SQS: resolves to false when the queue has the change, as nobody is told yet.
 * A message names what changed, not how: the reader looks at the list, so that a late or repeated one does no harm.
 */
export function queuedPublication(client: SQSClient, queueUrl: string): Publication {
  return {
    async publish(changed) {
      for (let i = 0; i < changed.length; i += CHANGES) {
        const part = changed.slice(i, i + CHANGES).map(({ kind, id }) => ({ kind, id }));
        await client.send(
          new SendMessageCommand({
            QueueUrl: queueUrl,
            MessageBody: JSON.stringify({ changed: part }),
            MessageGroupId: MESSAGE_GROUP,
            // Never by content: what was revoked, restored and revoked again within five minutes is three changes.
            MessageDeduplicationId: randomUUID(),
          }),
        );
      }
      return false;
    },
  };
}

/** What a message says has changed. Throws when it is not one that `queuedPublication` sends. */
export function readPublication(body: string): RevocationKey[] {
  return v.parse(Message, JSON.parse(body)).changed;
}
