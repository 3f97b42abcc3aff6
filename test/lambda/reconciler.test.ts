import { CreateQueueCommand, DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { CreateRuleGroupCommand, UpdateRuleGroupCommand, WAFV2Client } from '@aws-sdk/client-wafv2';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FileKeyValueStore } from '../../edge-functions/store/file.ts';
import { type KeyValueStore, StoreError } from '../../edge-functions/store/key-value-store.ts';
import { revocationName } from '../../edge-functions/store/names.ts';
import { HANDLERS } from '../../lambda/handlers.ts';
import { type DataDirectory, openDataDirectory } from '../../local/data-directory.ts';
import { type LocalDynamoDb, startDynamoDb } from '../../local/dynamodb.ts';
import { dynamoDbRevocationList, REVOCATION_TABLES } from '../../revocation/list/dynamodb.ts';
import { queuedPublication } from '../../revocation/publish/sqs.ts';
import { wafRuleGroup } from '../../revocation/publish/waf.ts';
import { type RunningLambda, startLambda } from '../harness/lambda.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';
import { type AwsEndpoint, permissionsFor, startAwsEndpoint } from '../harness/sdk-commands.ts';

const EDGE_STORE = 'arn:aws:cloudfront::123456789012:key-value-store/54947df8-0e9e-4471-a2f9-9af509fb5889';
const GROUP = { name: 'portcullis-revoked-sessions', scope: 'CLOUDFRONT' as const };
const now = () => Math.floor(Date.now() / 1000);
const session = (id: string) => ({ kind: 'session', id }) as const;

describe.skipIf(!HAS_MOTO)(
  `handler reconciler${HAS_MOTO ? '' : ' (needs moto_server, which is not installed)'}`,
  () => {
    const moto = useMoto();
    let data: DataDirectory;
    let database: LocalDynamoDb;
    let store: FileKeyValueStore;
    /** Whether the edge store is away. */
    let isDown = false;
    let aws: AwsEndpoint;
    let sqs: SQSClient;
    let queueUrl: string;
    let waf: WAFV2Client;
    let groupId: string;
    let lambda: RunningLambda;

    beforeAll(async () => {
      data = await openDataDirectory(undefined);
      database = await startDynamoDb(data, REVOCATION_TABLES);
      store = await FileKeyValueStore.open(data.path('edge-store.json'));
      const reached = () => {
        if (isDown) throw new StoreError('ERR_STORE_UNAVAILABLE', 'the store is away');
        return store;
      };
      const keyValueStore: KeyValueStore = {
        list: async () => reached().list(),
        etag: async () => reached().etag(),
        update: async (update, etag) => reached().update(update, etag),
      };
      const access = await moto();
      sqs = new SQSClient(access);
      const Attributes = { FifoQueue: 'true', VisibilityTimeout: '300' };
      const queue = await sqs.send(new CreateQueueCommand({ QueueName: 'portcullis-publications.fifo', Attributes }));
      queueUrl = queue.QueueUrl ?? '';
      waf = new WAFV2Client(access);
      const VisibilityConfig = { SampledRequestsEnabled: false, CloudWatchMetricsEnabled: true, MetricName: 'revoked' };
      const input = { Name: GROUP.name, Scope: GROUP.scope, Capacity: 300, VisibilityConfig };
      groupId = (await waf.send(new CreateRuleGroupCommand(input))).Summary?.Id ?? '';
      aws = await startAwsEndpoint({ dynamoDb: data.path('dynamodb.sock'), keyValueStore, moto: access.endpoint });
      const settings = {
        publications: `${aws.url}${new URL(queueUrl).pathname}`,
        edgeStore: EDGE_STORE,
        ruleGroup: { ...GROUP, tokenPrefix: '/', allowedOrigins: [] },
      };
      lambda = startLambda('reconciler', settings, aws.url);
    });
    afterAll(async () => {
      lambda?.stop();
      aws?.stop();
      await database?.close();
      await data?.close();
    });

    const list = () => dynamoDbRevocationList(database.client);
    const group = () => wafRuleGroup(waf, { ...GROUP, id: groupId });
    const revoke = async (id: string) => {
      const entry = { ...session(id), source: 'manual' as const, reasons: [], by: 'operator-1' };
      await list().add({ ...entry, revokedAt: now(), expiresAt: now() + 3600 });
    };
    const isAtEdge = (id: string) => store.get(revocationName(id)) !== undefined;
    const isInGroup = async (id: string) => JSON.stringify((await group().get()).rules).includes(id);
    /** What Lambda hands the function of what is in the queue. */
    const received = async () => {
      const { Messages = [] } = await sqs.send(
        new ReceiveMessageCommand({ QueueUrl: queueUrl, MaxNumberOfMessages: 10, WaitTimeSeconds: 0 }),
      );
      const Records = Messages.map(({ MessageId: messageId, ReceiptHandle: receiptHandle, Body: body }) => ({
        ...{ messageId, receiptHandle, body },
      }));
      return { Records };
    };
    const record = (body: string, messageId = 'message-1') => ({ messageId, receiptHandle: 'none', body });

    test('publishes what messages name to the edge store and the rule group', async () => {
      await revoke('RevokedSes01');
      await queuedPublication(sqs, queueUrl).publish([session('RevokedSes01'), session('RestoredSe01')]);
      const event = await received();
      expect(event.Records).toHaveLength(1);
      expect(await lambda.invoke(event)).toEqual({ batchItemFailures: [] });
      for (const { receiptHandle: ReceiptHandle } of event.Records) {
        await sqs.send(new DeleteMessageCommand({ QueueUrl: queueUrl, ReceiptHandle }));
      }
      expect([isAtEdge('RevokedSes01'), await isInGroup('RevokedSes01')]).toEqual([true, true]);
      expect([isAtEdge('RestoredSe01'), await isInGroup('RestoredSe01')]).toEqual([false, false]);
    });

    test('what was taken back goes, whatever the message was sent for', async () => {
      // moto_server takes no rules for those that are there.
      await revoke('StaysRevoked');
      await list().remove('session', 'RevokedSes01', 'operator-1', now());
      const body = JSON.stringify({ changed: [session('RevokedSes01')] });
      // A repeated message, and several in one batch, do no harm.
      expect(await lambda.invoke({ Records: [record(body), record(body, 'message-2')] })).toEqual({
        batchItemFailures: [],
      });
      expect([isAtEdge('RevokedSes01'), await isInGroup('RevokedSes01')]).toEqual([false, false]);
    });

    test.each([
      ['the schedule', '{"reconcile":"2026-11-23T00:00:00Z"}'],
      ['somebody else', 'not JSON'],
      ['somebody who makes up a kind', '{"changed":[{"kind":"everything","id":"x"}]}'],
    ])('a message of %s has the whole list published', async (_, body) => {
      const id = `WholeList${body.length}Sessn`;
      await revoke(id);
      expect(await lambda.invoke({ Records: [record(body)] })).toEqual({ batchItemFailures: [] });
      expect([isAtEdge(id), await isInGroup(id)]).toEqual([true, true]);
      expect(lambda.log()).toContain('"RuleGroupWcu":3');
    });

    test('a message whose change the edge store cannot be told comes again, soon', async () => {
      await revoke('TriedAgain01');
      await queuedPublication(sqs, queueUrl).publish([session('TriedAgain01')]);
      const event = await received();
      isDown = true;
      const failed = await lambda.invoke(event);
      isDown = false;
      expect(failed).toEqual({
        batchItemFailures: event.Records.map(({ messageId }) => ({ itemIdentifier: messageId })),
      });
      expect(failed.batchItemFailures).toHaveLength(1);
      expect(lambda.log()).toContain('"PublicationFailed":1');
      // The visibility timeout is five minutes; the rule group has it already.
      expect([isAtEdge('TriedAgain01'), await isInGroup('TriedAgain01')]).toEqual([false, true]);
      expect(aws.sent.filter(({ action }) => action === 'sqs:ChangeMessageVisibilityBatch')).toHaveLength(1);
      expect(await lambda.invoke(event)).toEqual({ batchItemFailures: [] });
      expect(isAtEdge('TriedAgain01')).toBe(true);
    });

    test('a rule group that cannot be written keeps nothing from the edge, and is counted', async () => {
      const { rules, lockToken } = await group().get();
      const foreign = {
        Name: 'somebody-elses',
        Priority: 999,
        Statement: { GeoMatchStatement: { CountryCodes: ['DE' as const] } },
        Action: { Block: {} },
        VisibilityConfig: { SampledRequestsEnabled: false, CloudWatchMetricsEnabled: false, MetricName: 'other' },
      };
      const VisibilityConfig = { SampledRequestsEnabled: false, CloudWatchMetricsEnabled: true, MetricName: 'revoked' };
      const known = { Name: GROUP.name, Id: groupId, Scope: GROUP.scope, LockToken: lockToken, VisibilityConfig };
      await waf.send(new UpdateRuleGroupCommand({ ...known, Rules: [...rules, foreign] }));
      await revoke('EdgeAlone001');
      const body = JSON.stringify({ changed: [session('EdgeAlone001')] });
      expect(await lambda.invoke({ Records: [record(body)] })).toEqual({ batchItemFailures: [] });
      expect(isAtEdge('EdgeAlone001')).toBe(true);
      expect(lambda.log()).toContain('"target":"WAF rule group"');
      expect(lambda.log()).toContain("the rule 'somebody-elses' is not ours");
    });

    test('the commands that it sends are those that its role permits', () => {
      const names: Record<string, string> = { '': '*', [GROUP.name]: 'ruleGroup', [EDGE_STORE]: 'edgeStore' };
      const nameOf = (resource: string) =>
        names[resource] ?? (resource.startsWith('http') ? 'publications' : `table:${resource}`);
      const { publications, ...permitted } = HANDLERS.reconciler.permissions;
      const { publications: sent, ...others } = permissionsFor(aws.sent, nameOf);
      expect(others).toEqual(permitted);
      const ofLambda = ['sqs:DeleteMessage', 'sqs:GetQueueAttributes', 'sqs:ReceiveMessage'];
      expect([...(sent ?? []), ...ofLambda]).toEqual(publications);
    });

    test('has to have something to publish to', async () => {
      const idle = startLambda('reconciler', { publications: queueUrl }, aws.url);
      await expect(idle.invoke({ Records: [] })).rejects.toThrow('nowhere to publish to');
      idle.stop();
    });
  },
);
