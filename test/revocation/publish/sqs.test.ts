import { type SendMessageCommandInput, SQSClient } from '@aws-sdk/client-sqs';
import { describe, expect, test } from 'vitest';
import type { RevocationKey } from '../../../revocation/list/revocation-list.ts';
import { queuedPublication, readPublication } from '../../../revocation/publish/sqs.ts';

/** The messages that say what changed, as the client is given them. */
async function messagesOf(changed: RevocationKey[]): Promise<SendMessageCommandInput[]> {
  const sent: SendMessageCommandInput[] = [];
  const client = new SQSClient({ region: 'us-east-1' });
  const keep = async ({ input }: { input: object }) => {
    sent.push(input as SendMessageCommandInput);
    return { output: { $metadata: {} }, response: undefined };
  };
  client.middlewareStack.add(() => keep, { step: 'initialize' });
  await queuedPublication(client, 'https://sqs.example/queue.fifo').publish(changed);
  return sent;
}
const sessions = (count: number): RevocationKey[] =>
  Array.from({ length: count }, (_, i) => ({ kind: 'session', id: `Session${i}` }));

describe('a message about changes', () => {
  /** Of a routed id, which may be any 128 characters: the longest in JSON, and in bytes. */
  test.each(['\u0000', '\ud83d', '漢', '"', '\u007f', 'x'])('fits with 200 ids of %j', async (character) => {
    const changed = sessions(450).map(({ kind }, i) => ({ kind, id: `${i}${character.repeat(125)}` }));
    const messages = await messagesOf(changed);
    expect(messages).toHaveLength(3);
    for (const { MessageBody = '' } of messages) expect(Buffer.byteLength(MessageBody)).toBeLessThan(256 * 1024);
    expect(messages.flatMap(({ MessageBody = '' }) => readPublication(MessageBody))).toEqual(changed);
  });

  test.each([0, 1, 199, 200, 201, 400])('names %i changes, each once', async (count) => {
    const messages = await messagesOf(sessions(count));
    expect(messages).toHaveLength(Math.ceil(count / 200));
    expect(messages.flatMap(({ MessageBody = '' }) => readPublication(MessageBody))).toEqual(sessions(count));
  });

  test('is of the one group, and never taken for another: ids are what SQS takes', async () => {
    const messages = [...(await messagesOf(sessions(401))), ...(await messagesOf(sessions(401)))];
    expect(messages).toHaveLength(6);
    expect(new Set(messages.map(({ MessageGroupId }) => MessageGroupId))).toEqual(new Set(['revocations']));
    const ids = messages.map(({ MessageDeduplicationId = '' }) => MessageDeduplicationId);
    expect(new Set(ids).size).toBe(6);
    // Amazon SQS API Reference, SendMessage: 128 characters, letters, digits and punctuation.
    for (const id of [...ids, 'revocations']) expect(id).toMatch(/^[!-~]{1,128}$/);
  });

  test('says nothing of an entry but which it is', async () => {
    const entry = { kind: 'subject', id: 'viewer-1', by: 'operator-1', reasons: ['shared'] } as RevocationKey;
    const [message] = await messagesOf([entry]);
    expect(JSON.parse(message?.MessageBody ?? '')).toEqual({ changed: [{ kind: 'subject', id: 'viewer-1' }] });
  });
});

test.each([
  ['no id', { kind: 'session', id: '' }, false],
  ['the longest that the list takes', { kind: 'subject', id: 'x'.repeat(680) }, true],
  ['one that is longer', { kind: 'subject', id: 'x'.repeat(681) }, false],
  ['an id that is none', { kind: 'session', id: 1 }, false],
  ['another kind', { kind: 'everything', id: 'x' }, false],
  ['something besides', { kind: 'session', id: 'x', ttl: 1 }, false],
])('of a message with %s', (_, key, isRead) => {
  const read = () => readPublication(JSON.stringify({ changed: [key] }));
  if (isRead) expect(read()).toEqual([key]);
  else expect(read).toThrow();
});
