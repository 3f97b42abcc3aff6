import { readFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { CreateSecretCommand, PutSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { CreateStateMachineCommand, ListExecutionsCommand, SFNClient } from '@aws-sdk/client-sfn';
import { CreateQueueCommand, DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadFunction } from '../../edge-functions/runtime/vm.ts';
import { EdgeStore } from '../../edge-functions/store/edge-store.ts';
import { FileKeyValueStore } from '../../edge-functions/store/file.ts';
import { HANDLERS } from '../../lambda/handlers.ts';
import { TABLES } from '../../lambda/tables.ts';
import { type DataDirectory, openDataDirectory } from '../../local/data-directory.ts';
import { type LocalDynamoDb, startDynamoDb } from '../../local/dynamodb.ts';
import { packagePath } from '../../local/package-root.ts';
import { dynamoDbDetectionRuns } from '../../revocation/detect/dynamodb.ts';
import { dynamoDbRevocationList } from '../../revocation/list/dynamodb.ts';
import { edgePublisher } from '../../revocation/publish/edge-store.ts';
import { readPublication } from '../../revocation/publish/sqs.ts';
import type { Role } from '../../token-api/http/authorize.ts';
import type { ApiDocument, DocumentedOperation } from '../../token-api/http/openapi.ts';
import { edgeStorePublisher } from '../../token-api/key-ring/key-publisher.ts';
import { createKeyRing, verificationKeys } from '../../token-api/key-ring/key-ring.ts';
import { dynamoDbSessions } from '../../token-api/sessions/dynamodb.ts';
import { EDGE_DEFAULTS } from '../harness/edge.ts';
import { type RunningLambda, startLambda } from '../harness/lambda.ts';
import { HAS_MOTO, useMoto } from '../harness/moto.ts';
import { type AwsEndpoint, beforeNext, permissionsFor, startAwsEndpoint } from '../harness/sdk-commands.ts';
import { laterThan, useStack } from '../harness/stack.ts';

const ORIGIN_SECRET = 'an origin secret of the edge, long enough';
const EDGE_STORE = 'arn:aws:cloudfront::123456789012:key-value-store/54947df8-0e9e-4471-a2f9-9af509fb5889';
const POLICY = { id: 'vod-2h', policy: { lifetime: 'PT2H' } };
const SESSIONS_PER_SUBJECT = 20;

const now = () => Math.floor(Date.now() / 1000);

interface Call {
  role?: Role | undefined;
  body?: unknown;
  headers?: Record<string, string>;
  query?: string;
  /** In place of the claims of `role`. */
  authorizer?: unknown;
}

/** An event as an HTTP API makes one (API Gateway Developer Guide, "AWS Lambda proxy integrations", payload format 2.0). */
/** A token of these claims as the gateway hands it on; its signature is checked there. */
const bearerOf = (claims: object) => ({
  authorization: `Bearer ${[{ alg: 'ES256' }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')}.c2ln`,
});
const ISSUER = 'https://issuer.example';

function httpApiEvent(method: string, path: string, { role, body, headers, query = '', authorizer }: Call): object {
  const claims = {
    sub: `a ${role}`,
    iss: ISSUER,
    aud: 'portcullis',
    exp: '4102444800',
    roles: `[${role}]`,
  };
  const verified = role && { jwt: { claims, scopes: null } };
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: decodeURIComponent(path),
    rawQueryString: query,
    headers: {
      'accept-encoding': 'gzip',
      host: 'abc123.execute-api.eu-central-1.amazonaws.com',
      'user-agent': 'Player/1.0',
      'x-forwarded-for': '203.0.113.9',
      'x-forwarded-proto': 'https',
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(role && bearerOf({ ...claims, roles: [role] })),
      ...headers,
    },
    requestContext: {
      accountId: '123456789012',
      apiId: 'abc123',
      ...((authorizer ?? verified) !== undefined && { authorizer: authorizer ?? verified }),
      domainName: 'abc123.execute-api.eu-central-1.amazonaws.com',
      domainPrefix: 'abc123',
      http: {
        method,
        path: decodeURIComponent(path),
        protocol: 'HTTP/1.1',
        sourceIp: '203.0.113.9',
        userAgent: 'Player/1.0',
      },
      requestId: 'JKJaXmPLvHcESHA=',
      routeKey: '$default',
      stage: '$default',
      time: '22/Nov/2026:23:00:00 +0000',
      timeEpoch: 1795388400000,
    },
    ...(body !== undefined && { body: JSON.stringify(body) }),
    isBase64Encoded: false,
  };
}

/** What the edge adds to a request, of a viewer in Berlin. */
const throughEdge = (secret: string) => ({
  'x-origin-secret': secret,
  'cloudfront-viewer-address': '192.0.2.1:41234',
  'cloudfront-viewer-country': 'DE',
});

describe.skipIf(!HAS_MOTO)(`handler api${HAS_MOTO ? '' : ' (needs moto_server, which is not installed)'}`, () => {
  const moto = useMoto();
  const stack = useStack({ api: { sessionsPerSubject: SESSIONS_PER_SUBJECT } });
  let data: DataDirectory;
  let database: LocalDynamoDb;
  let keyValueStore: FileKeyValueStore;
  let edge: http.Server;
  let edgeUrl: string;
  let aws: AwsEndpoint;
  let sqs: SQSClient;
  let queueUrl: string;
  let states: SFNClient;
  let secretsManager: SecretsManagerClient;
  let settings: ReturnType<typeof settingsOf>;
  let lambda: RunningLambda;
  let arns: { keyRing: string; originSecret: string; publications: string; detectionMachine: string };
  const secrets: string[] = [ORIGIN_SECRET];

  const settingsOf = (revocation: object | undefined) => ({
    edge: EDGE_DEFAULTS,
    keys: { bakeSeconds: 0, refreshSeconds: 60, maxStaleSeconds: 900 },
    api: {
      allowedOrigins: [],
      requestsPerMinute: { player: 10_000, backend: 12_000 },
      maxSessionSeconds: 86400,
      sessionsPerSubject: SESSIONS_PER_SUBJECT,
      handoffSeconds: 3600,
    },
    edgeUrl,
    probeUrl: edgeUrl,
    edgeStore: EDGE_STORE,
    keyRing: arns.keyRing,
    originSecret: arns.originSecret,
    ...(revocation && { revocation }),
  });

  beforeAll(async () => {
    data = await openDataDirectory(undefined);
    database = await startDynamoDb(data, [...TABLES.api, ...TABLES.revocation]);
    keyValueStore = await FileKeyValueStore.open(data.path('edge-store.json'));
    const ring = createKeyRing(now() - 1000);
    secrets.push(...ring.keys.map(({ secret }) => secret));
    await edgeStorePublisher(new EdgeStore(keyValueStore)).publish(async () => verificationKeys(ring));

    const access = await moto();
    secretsManager = new SecretsManagerClient(access);
    const secret = async (Name: string, SecretString: string) =>
      (await secretsManager.send(new CreateSecretCommand({ Name, SecretString }))).ARN ?? '';
    sqs = new SQSClient(access);
    const queue = { QueueName: 'portcullis-publications.fifo', Attributes: { FifoQueue: 'true' } };
    states = new SFNClient(access);
    const machine = await states.send(
      new CreateStateMachineCommand({
        name: 'portcullis-detection',
        definition: JSON.stringify({ StartAt: 'Done', States: { Done: { Type: 'Succeed' } } }),
        roleArn: 'arn:aws:iam::123456789012:role/portcullis-detection',
      }),
    );
    arns = {
      keyRing: await secret('portcullis/key-ring', JSON.stringify(ring)),
      originSecret: await secret('portcullis/origin-secret', ORIGIN_SECRET),
      publications: '',
      detectionMachine: machine.stateMachineArn ?? '',
    };
    ({ server: edge, url: edgeUrl } = await startEdge(keyValueStore));
    aws = await startAwsEndpoint({ dynamoDb: data.path('dynamodb.sock'), keyValueStore, moto: access.endpoint });
    queueUrl = (await sqs.send(new CreateQueueCommand(queue))).QueueUrl ?? '';
    // The client sends to the host of the queue's URL, wherever other services are.
    arns.publications = `${aws.url}${new URL(queueUrl).pathname}`;
    const { publications, detectionMachine } = arns;
    settings = settingsOf({ mode: 'log', publications, detectionMachine });
    lambda = startLambda('api', settings, aws.url);
  });
  afterAll(async () => {
    lambda?.stop();
    aws?.stop();
    edge?.close();
    await database?.close();
    await data?.close();
  });

  async function call(method: string, path: string, options: Call = {}, on: RunningLambda = lambda) {
    const { statusCode, headers, body } = await on.invoke(httpApiEvent(method, path, options));
    const isJson = /json/.test(headers['content-type'] ?? '');
    return { status: statusCode, headers, body: isJson ? JSON.parse(body) : undefined };
  }

  /** Puts the title of the examples into the catalogue, as a new stack has it. */
  async function putAurora(on = lambda) {
    await call('PUT', `/v1/policies/${POLICY.id}`, { role: 'backend', body: POLICY.policy }, on);
    const aurora = { title: 'Aurora', path: '/aurora/master.m3u8', policy: POLICY.id };
    await call('PUT', '/v1/assets/aurora', { role: 'backend', body: aurora }, on);
  }

  /** What the reconciler does with what is in the queue; how many messages that was. */
  async function reconcile(): Promise<number> {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl: queueUrl, MaxNumberOfMessages: 10 }),
    );
    const publisher = edgePublisher(dynamoDbRevocationList(database.client), new EdgeStore(keyValueStore), now);
    for (const { Body = '', ReceiptHandle } of Messages) {
      await publisher.publish(readPublication(Body));
      await sqs.send(new DeleteMessageCommand({ QueueUrl: queueUrl, ReceiptHandle }));
    }
    return Messages.length;
  }

  const denialOf = async (url: string) => (await fetch(url)).headers.get('x-portcullis-reason');

  test('vends a token that the edge takes, renews it, and revokes it through the queue', async () => {
    await putAurora();
    const vended = await call('POST', '/v1/playback', { role: 'player', body: { asset: 'aurora' } });
    expect(vended).toMatchObject({ status: 200, body: { playbackUrl: expect.stringContaining(`${edgeUrl}/`) } });
    expect(vended.headers['cache-control']).toBe('no-store');
    const { playbackUrl, sessionId } = vended.body;
    expect(await denialOf(playbackUrl)).toBeNull();

    await laterThan(now());
    const renewed = await call('POST', '/v1/tokens/renewal', { role: 'player', body: { token: playbackUrl } });
    expect(renewed).toMatchObject({ status: 200, body: { sessionId } });

    const revoked = await call('POST', `/v1/sessions/${sessionId}/revocation`, { role: 'security' });
    expect(revoked).toMatchObject({ status: 202, body: { sessionId, outcome: 'added', by: 'a security' } });
    expect(await reconcile()).toBe(1);
    expect(await denialOf(playbackUrl)).toBe('session-revoked');
    expect(await denialOf(renewed.body.playbackUrl)).toBe('session-revoked');
    const refused = await call('POST', '/v1/tokens/renewal', { role: 'player', body: { token: renewed.body.token } });
    expect(refused).toMatchObject({ status: 403, body: { code: 'ERR_SESSION_REVOKED', reason: 'session-revoked' } });

    expect(await call('DELETE', `/v1/sessions/${sessionId}/revocation`, { role: 'security' })).toMatchObject({
      status: 202,
    });
    expect(await reconcile()).toBe(1);
    expect(await denialOf(playbackUrl)).toBeNull();
  });

  test('a vend that is warm is seven commands, none of them to the edge store, where each costs', async () => {
    await putAurora();
    const vend = () => call('POST', '/v1/playback', { role: 'player', body: { asset: 'aurora' } });
    await vend();
    const before = aws.sent.length;
    expect((await vend()).status).toBe(200);
    const commands = aws.sent.slice(before).map(({ action, resource }) => `${action} ${resource}`);
    expect(commands.sort()).toEqual([
      'dynamodb:BatchGetItem portcullis-revocations',
      'dynamodb:GetItem portcullis-assets',
      'dynamodb:GetItem portcullis-policies',
      'dynamodb:GetItem portcullis-subjects',
      'dynamodb:PutItem portcullis-subjects',
      'dynamodb:UpdateItem portcullis-request-counts',
      'dynamodb:UpdateItem portcullis-sessions',
    ]);
  });

  test('says where the edge lets through what is revoked, by one look at the edge store', async () => {
    await call('PUT', '/v1/edge/modes', { role: 'security', body: { prefix: '/aurora/', mode: 'log' } });
    const before = aws.sent.length;
    const revoked = await call('POST', '/v1/assets/aurora/revocation', { role: 'security' });
    expect(revoked.body.unenforced).toEqual([{ prefix: '/aurora/', mode: 'log' }]);
    const looks = aws.sent.slice(before).filter(({ action }) => action.startsWith('cloudfront'));
    expect(looks.map(({ action }) => action)).toEqual(['cloudfront-keyvaluestore:GetKey']);
    await call('DELETE', '/v1/assets/aurora/revocation', { role: 'security' });
    await call('PUT', '/v1/edge/modes', { role: 'security', body: { prefix: '/aurora/', mode: null } });
    expect(await reconcile()).toBe(2);
  });

  test('believes nobody but the gateway about who calls', async () => {
    const asSecurity = (authorizer: unknown) =>
      call('GET', '/v1/revocations', {
        authorizer,
        headers: bearerOf({ sub: 'someone', iss: ISSUER, roles: ['security'] }),
      });
    const claims = { sub: 'someone', iss: ISSUER, exp: '4102444800', roles: '[security]' };
    const nobody: unknown[] = [
      {},
      { jwt: {} },
      { jwt: { claims: {} } },
      { claims },
      { iam: { userId: 'x' } },
      { lambda: claims },
      { jwt: { claims: { ...claims, sub: '' } } },
      { jwt: { claims: { ...claims, sub: undefined } } },
      { jwt: { claims: { ...claims, exp: undefined } } },
      { jwt: { claims: { ...claims, iss: undefined } } },
      // The token of the header is another one than the gateway verified.
      { jwt: { claims: { ...claims, sub: 'somebody else' } } },
      { jwt: { claims: { ...claims, iss: 'https://other.example' } } },
    ];
    for (const authorizer of nobody) {
      expect([authorizer, (await asSecurity(authorizer)).body.code]).toEqual([authorizer, 'ERR_UNAUTHENTICATED']);
    }
    // A bearer token that no authoriser looked at is nothing, however good it is.
    const headers = { authorization: `Bearer ${stack.tokens.security}` };
    expect(await call('GET', '/v1/revocations', { headers })).toMatchObject({ status: 401 });
    expect(await call('GET', '/v1/revocations', { role: 'player' })).toMatchObject({
      status: 403,
      body: { code: 'ERR_ROLE' },
    });
    expect(await call('GET', '/v1/revocations', { role: 'security' })).toMatchObject({ status: 200 });
  });

  test('takes roles from claim roles, groups and scopes, each in the form of the gateway', async () => {
    const statusOf = async (claims: object) => {
      const of = { sub: 'someone', iss: ISSUER, exp: '4102444800' };
      const { roles, ...others } = claims as { roles?: unknown };
      const flat = Array.isArray(roles) ? `[${roles.join(' ')}]` : roles;
      const authorizer = { jwt: { claims: { ...of, ...others, roles: flat }, scopes: null } };
      const headers = bearerOf({ ...of, ...claims });
      return (await call('GET', '/v1/revocations', { authorizer, headers })).status;
    };
    const grant: object[] = [
      { roles: 'security' },
      { roles: ['player', 'security'] },
      { 'cognito:groups': '[viewers security]' },
      { scope: 'openid portcullis/security' },
      { roles: ['player'], scope: 'portcullis/security' },
    ];
    for (const claims of grant) expect([claims, await statusOf(claims)]).toEqual([claims, 200]);
    const refuse: object[] = [
      {},
      { roles: '' },
      { roles: [] },
      // The gateway writes it as two.
      { roles: ['IT security'] },
      { roles: '[security]' },
      { roles: 'player security' },
      { roles: 'player,security' },
      { roles: ['insecurity', 'security2'] },
      { roles: { security: 'true' } },
      { roles: ['portcullis/security'] },
      { groups: '[security]' },
      { scope: 'security openid' },
      { scope: 'other-portcullis/security' },
      { scope: 'portcullis/security/read' },
      { 'custom:roles': '[security]' },
    ];
    for (const claims of refuse) expect([claims, await statusOf(claims)]).toEqual([claims, 403]);
  });

  test('knows where a viewer is through the edge alone, also while the origin secret rotates', async () => {
    const bound = { lifetime: 'PT1H', bindings: ['country'] };
    await call('PUT', '/v1/policies/bound', { role: 'backend', body: bound });
    const asset = { title: 'Bound', path: '/bound/master.m3u8', policy: 'bound' };
    await call('PUT', '/v1/assets/bound', { role: 'backend', body: asset });
    const codeFor = async (headers: Record<string, string>, on = lambda) =>
      (await call('POST', '/v1/playback', { role: 'player', body: { asset: 'bound' }, headers }, on)).body.code;

    expect(await codeFor(throughEdge(ORIGIN_SECRET))).toBeUndefined();
    const { 'x-origin-secret': _, ...claimed } = throughEdge(ORIGIN_SECRET);
    expect(await codeFor(claimed)).toBe('ERR_TOKEN_BINDING_MISSING');
    expect(await codeFor(throughEdge('another secret of the same length, no more'))).toBe('ERR_TOKEN_BINDING_MISSING');
    expect(await codeFor(throughEdge(''))).toBe('ERR_TOKEN_BINDING_MISSING');

    // A rotation: the next one is prepared, then made current; each time a function that begins then takes both.
    const next = 'the next origin secret of the edge, as long';
    secrets.push(next);
    const SecretId = arns.originSecret;
    const { VersionId } = await secretsManager.send(
      new PutSecretValueCommand({ SecretId, SecretString: next, VersionStages: ['AWSPENDING'] }),
    );
    const pending = startLambda('api', settings, aws.url);
    expect([await codeFor(throughEdge(ORIGIN_SECRET), pending), await codeFor(throughEdge(next), pending)]).toEqual([
      undefined,
      undefined,
    ]);
    pending.stop();
    const { VersionId: before } = await secretsManager.send(
      new PutSecretValueCommand({ SecretId, SecretString: next, VersionStages: ['AWSCURRENT'] }),
    );
    expect([VersionId, before]).toEqual([expect.any(String), expect.any(String)]);
    const rotated = startLambda('api', settings, aws.url);
    expect([await codeFor(throughEdge(ORIGIN_SECRET), rotated), await codeFor(throughEdge(next), rotated)]).toEqual([
      undefined,
      undefined,
    ]);
    rotated.stop();
  });

  /** What the API answers otherwise than that of a local stack: who is told to publish or to detect answers later. */
  const OTHERWISE: Record<string, number> = {
    'POST /v1/sessions/{id}/revocation': 202,
    'DELETE /v1/sessions/{id}/revocation': 202,
    'POST /v1/assets/{id}/revocation': 202,
    'DELETE /v1/assets/{id}/revocation': 202,
    'PUT /v1/sessions/cutoff': 202,
    'DELETE /v1/sessions/cutoff': 202,
    'POST /v1/detections': 202,
    // Its state machine is a stand-in here, which runs nothing.
    'GET /v1/detections/latest': 404,
  };

  test('answers every call as the local stack does', async () => {
    const local = async (method: string, path: string, { role, body }: Call) => {
      const answer = await fetch(`${stack.api}${path}`, {
        method,
        headers: {
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...(role && { authorization: `Bearer ${stack.tokens[role]}` }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      const text = await answer.text();
      const isJson = /json/.test(answer.headers.get('content-type') ?? '');
      return { status: answer.status, body: isJson ? JSON.parse(text) : undefined };
    };
    const both = { lambda: call, local } as const;
    await putAurora();
    const document: ApiDocument = (await call('GET', '/v1/openapi.json')).body;
    const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        name: `${method.toUpperCase()} ${path}`,
        path,
        operation,
      })),
    );
    const stackDocument: ApiDocument = (await local('GET', '/v1/openapi.json', {})).body;
    delete stackDocument.paths['/v1/decisions'];
    expect(document.paths).toEqual(stackDocument.paths);

    const bodies: Record<string, Record<string, unknown>> = { lambda: {}, local: {} };
    for (const where of ['lambda', 'local'] as const) {
      const { body } = await both[where]('POST', '/v1/playback', { role: 'player', body: { asset: 'aurora' } });
      const { keys } = (await both[where]('GET', '/v1/keys', { role: 'security' })).body;
      bodies[where] = {
        'POST /v1/tokens/renewal': { token: body.playbackUrl },
        'POST /v1/tokens/handoff': { token: body.playbackUrl, viewer: { userAgent: 'TV/1.0' } },
        'POST /v1/keys/rotation': { compromised: keys[0].kid, dryRun: true },
      };
    }
    await laterThan(now());

    for (const { name, path, operation } of operations) {
      const [method = ''] = name.split(' ');
      for (const role of [...rolesOf(operation), undefined, ...others(operation)]) {
        const answers = [];
        for (const where of ['lambda', 'local'] as const) {
          const body = bodies[where]?.[name] ?? operation.requestBody?.content['application/json']?.example;
          answers.push(await both[where](method, exampleOf(path, operation), { role, body }));
        }
        const [there, here] = answers;
        const isGranted = role === undefined ? rolesOf(operation).length === 0 : rolesOf(operation).includes(role);
        const expected = (isGranted && OTHERWISE[name]) || here?.status;
        expect([name, role, there?.status]).toEqual([name, role, expected]);
        if (/detections|openapi/.test(name)) continue;
        expect([name, role, shapeOf(there?.body)]).toEqual([name, role, shapeOf(here?.body)]);
      }
    }
    const { stateMachineArn } = { stateMachineArn: arns.detectionMachine };
    expect((await states.send(new ListExecutionsCommand({ stateMachineArn }))).executions).toHaveLength(1);
  });

  test('starts no detection where there is one, or none is wanted', async () => {
    const runs = dynamoDbDetectionRuns(database.client);
    await runs.begin('another', now(), now() + 900);
    const codeOf = async (on = lambda) => (await call('POST', '/v1/detections', { role: 'security' }, on)).body.code;
    expect(await codeOf()).toBe('ERR_DETECTION_RUNNING');
    await runs.finish('another');
    const { publications, detectionMachine } = arns;
    const off = startLambda('api', settingsOf({ mode: 'off', publications, detectionMachine }), aws.url);
    expect(await codeOf(off)).toBe('ERR_DETECTION_OFF');
    off.stop();
  });

  test('takes ids as they were before the gateway undid their escapes', async () => {
    for (const id of ['50%41', 'a b', 'a+b', 'zoë', '100%']) {
      const answer = await call('POST', `/v1/subjects/${encodeURIComponent(id)}/revocation`, { role: 'security' });
      expect(answer).toMatchObject({ status: 201, body: { subject: id } });
    }
  });

  test('says that a revocation is not at the edge yet when the queue cannot be had: it is on the list', async () => {
    const revocation = {
      mode: 'log',
      publications: 'http://localhost:9/q.fifo',
      detectionMachine: arns.detectionMachine,
    };
    const cut = startLambda('api', settingsOf(revocation), aws.url);
    const answer = await call('POST', '/v1/sessions/Unqueued0000/revocation', { role: 'security' }, cut);
    expect(answer).toMatchObject({ status: 202, body: { outcome: 'added' } });
    expect(cut.log()).toContain('1 revocations were not queued');
    cut.stop();
  });

  test('refuses a body that is too large, and takes one in base64', async () => {
    const event = httpApiEvent('POST', '/v1/playback', { role: 'player', body: { asset: 'a'.repeat(70_000) } });
    expect(await lambda.invoke(event)).toMatchObject({ statusCode: 413 });
    const small = httpApiEvent('POST', '/v1/playback', { role: 'player', body: { asset: 'nothing' } }) as {
      body: string;
    };
    const body = Buffer.from(small.body).toString('base64');
    expect(await lambda.invoke({ ...small, body, isBase64Encoded: true })).toMatchObject({ statusCode: 404 });
  });

  test('repeats an answer, and revokes at the same time as others do', async () => {
    const headers = { 'idempotency-key': '"5f0c9a7e-21b4-4d0c-9a7e-21b44d0c5f0c"' };
    const once = () => call('POST', '/v1/playback', { role: 'player', body: { asset: 'aurora' }, headers });
    const [first, again] = [await once(), await once()];
    expect(again).toMatchObject({ headers: { 'idempotent-replayed': 'true' }, body: first.body });
    const failing = { 'idempotency-key': '"6f0c9a7e-21b4-4d0c-9a7e-21b44d0c5f0c"' };
    const senseless = { role: 'player', body: { asset: 1 }, headers: failing } as const;
    expect(await call('POST', '/v1/playback', senseless)).toMatchObject({ status: 400 });

    const revoke = () => call('POST', '/v1/sessions/Contended0000/revocation', { role: 'security' });
    const outcomes = (await Promise.all(Array.from({ length: 6 }, revoke))).map(({ body }) => body.outcome);
    expect(outcomes.filter((outcome) => outcome === 'added')).toHaveLength(1);

    // Whoever was too slow looks into the history for what became of the own write.
    const session = { kind: 'session' as const, id: 'Contended0001', source: 'manual' as const, reasons: [] };
    const writeHead = { action: 'dynamodb:PutItem', resource: 'portcullis-revocations' };
    const list = dynamoDbRevocationList(database.client);
    beforeNext(aws, writeHead, () => list.add({ ...session, by: 'another', revokedAt: now() }));
    const late = await call('POST', `/v1/sessions/${session.id}/revocation`, { role: 'security' });
    expect([late.status, late.body.outcome]).toEqual([202, 'kept']);
    expect(await list.history('session', session.id)).toMatchObject([{ by: 'another' }]);
  });

  test('without the module revocation: no routes of it, no table of it, and a key that is dropped ends its sessions', async () => {
    const own = await startAwsEndpoint({
      dynamoDb: data.path('dynamodb.sock'),
      keyValueStore,
      moto: (await moto()).endpoint,
    });
    const alone = startLambda('api', settingsOf(undefined), own.url);
    const { body: document } = await call('GET', '/v1/openapi.json', {}, alone);
    expect(Object.keys(document.paths).filter((path) => /revocation|detection|edge|blocks|cutoff/.test(path))).toEqual(
      [],
    );
    expect(document.tags.map(({ name }: { name: string }) => name).sort()).not.toContain('Revocation');
    expect(await call('GET', '/v1/revocations', { role: 'security' }, alone)).toMatchObject({ status: 404 });
    await call('DELETE', '/v1/assets/aurora/blocks', { role: 'security' });
    await putAurora(alone);

    await call('POST', '/v1/keys/rotation', { role: 'security', body: {} }, alone);
    const vended = await call('POST', '/v1/playback', { role: 'player', body: { asset: 'aurora' } }, alone);
    expect(vended.status).toBe(200);
    const kid = await descendant('Descendant0001');
    const dropped = await call('POST', '/v1/keys/rotation', { role: 'security', body: { compromised: kid } }, alone);
    expect(dropped).toMatchObject({ status: 200, body: { endedSessions: expect.any(Number) } });
    expect(await denialOf(vended.body.playbackUrl)).toBe('token-key-unknown');
    expect([...(await keyValueStore.list()).entries.keys()].join(' ')).toContain('Descendant0001');
    expect(own.sent.filter(({ resource }) => /revocation|detection|suspicious|log-objects/.test(resource))).toEqual([]);
    expect(own.sent.filter(({ action }) => /^(?:sqs|states):/.test(action))).toEqual([]);
    alone.stop();
    own.stop();
  });

  test('with embedded keys: vends, refuses to rotate, and has nothing of the edge store', async () => {
    const { publications, detectionMachine } = arns;
    const { edgeStore: _, ...embedded } = settingsOf({ mode: 'log', publications, detectionMachine });
    const own = await startAwsEndpoint({ dynamoDb: data.path('dynamodb.sock'), moto: (await moto()).endpoint });
    const lambda = startLambda('api', embedded, own.url);
    const vended = await call('POST', '/v1/playback', { role: 'player', body: { asset: 'aurora' } }, lambda);
    expect(vended.status).toBe(200);
    const kid = (await call('GET', '/v1/keys', { role: 'security' }, lambda)).body.keys[0].kid;
    for (const body of [{}, { compromised: kid }]) {
      const refused = await call('POST', '/v1/keys/rotation', { role: 'security', body }, lambda);
      expect(refused).toMatchObject({ status: 409, body: { code: 'ERR_ROTATION_ELSEWHERE' } });
    }
    expect(await call('GET', '/v1/edge/modes', { role: 'security' }, lambda)).toMatchObject({ status: 404 });
    const revoked = await call('POST', '/v1/sessions/Embedded0000/revocation', { role: 'security' }, lambda);
    expect(revoked.status).toBe(202);
    expect(own.sent.filter(({ action }) => /^cloudfront|PutSecretValue/.test(action))).toEqual([]);
    lambda.stop();
    own.stop();
  });

  test('takes nobody for the edge while the origin secret cannot be read, and says so', async () => {
    const missing = arns.originSecret.replace('origin-secret', 'no-secret');
    const cut = startLambda('api', { ...settings, originSecret: missing }, aws.url);
    const headers = throughEdge('');
    const answer = await call('POST', '/v1/playback', { role: 'player', body: { asset: 'bound' }, headers }, cut);
    expect(answer).toMatchObject({ status: 422, body: { code: 'ERR_TOKEN_BINDING_MISSING' } });
    expect(cut.log()).toContain('the origin secret was not read');
    cut.stop();
    aws.sent.splice(0, Number.POSITIVE_INFINITY, ...aws.sent.filter(({ resource }) => resource !== missing));
  });

  /** A session that went on under another key than the current one; the kid of that. */
  async function descendant(sessionId: string): Promise<string> {
    const { keys } = (await call('GET', '/v1/keys', { role: 'security' })).body;
    const kid = keys.find(({ state }: { state: string }) => state === 'current').kid;
    const session = { sessionId, asset: 'aurora', startedAt: now() - 100, expiresAt: now() + 1000 };
    await dynamoDbSessions(database.client).record(session, [kid, 'another']);
    return kid;
  }

  test('rotates the keys, and drops one that somebody else has', async () => {
    const rotated = await call('POST', '/v1/keys/rotation', { role: 'security', body: {} });
    expect(rotated.status).toBe(200);
    expect(rotated.body.keys.length).toBeGreaterThan(1);
    const kid = await descendant('Descendant0002');
    const dropped = await call('POST', '/v1/keys/rotation', { role: 'security', body: { compromised: kid } });
    expect(dropped.status).toBe(200);
    const { state } = dropped.body.keys.find((key: { kid: string }) => key.kid === kid);
    expect(state).toBe('retired');
    await reconcile();
    const listed = await call('GET', '/v1/revocations', { role: 'security', query: 'kind=session' });
    expect(JSON.stringify(listed.body)).toContain('Descendant0002');
  });

  test('says of a ring that is not there yet what is missing, and answers when it is', async () => {
    const { ARN: keyRing = '' } = await secretsManager.send(
      new CreateSecretCommand({
        Name: 'portcullis/other-ring',
        SecretString: JSON.stringify({ version: 1, keys: [] }),
      }),
    );
    const early = startLambda('api', { ...settings, keyRing }, aws.url);
    await expect(call('GET', '/healthz', {}, early)).rejects.toThrow('there is no key ring yet');
    const ring = JSON.stringify(createKeyRing(now()));
    await secretsManager.send(new PutSecretValueCommand({ SecretId: keyRing, SecretString: ring }));
    expect(await call('GET', '/healthz', {}, early)).toMatchObject({ status: 200, body: { ok: true } });
    early.stop();
    aws.sent.splice(0, Number.POSITIVE_INFINITY, ...aws.sent.filter(({ resource }) => resource !== keyRing));
  });

  test('has the permissions of the commands that it sent here, and no others', () => {
    const names = new Map<string, string>([
      [EDGE_STORE, 'edgeStore'],
      ...Object.entries(arns).map(([name, arn]) => [arn, name] as const),
      ...[...TABLES.api, ...TABLES.revocation].map(({ TableName = '' }) => [TableName, `table:${TableName}`] as const),
    ]);
    const { keyRingKey, ...direct } = HANDLERS.api.permissions;
    expect(permissionsFor(aws.sent, (resource) => names.get(resource) ?? resource)).toEqual(direct);
    // Secrets Manager asks KMS in the name of the caller (User Guide, "Secret encryption and decryption").
    expect(keyRingKey).toEqual(['kms:Decrypt', 'kms:GenerateDataKey']);
  });

  test('writes no secret to its log', async () => {
    expect(lambda.log()).toContain('"route":"/v1/playback"');
    for (const secret of secrets) expect(lambda.log()).not.toContain(secret);
    expect(lambda.log()).not.toMatch(/\.ey[\w-]+\./);
  });
});

const rolesOf = ({ security }: DocumentedOperation) => security.flatMap(({ bearer = [] }) => bearer) as Role[];
const others = (operation: DocumentedOperation) =>
  (['player', 'backend', 'security'] as const).filter((role) => !rolesOf(operation).includes(role));

/** The path of an operation with the values of its examples. */
function exampleOf(path: string, { parameters }: DocumentedOperation): string {
  return parameters
    .filter((parameter) => parameter.in === 'path')
    .reduce((text, { name, example }) => text.replace(`{${name}}`, String(example)), path);
}

/** Names and types of the members; of a problem its code. Values that no two deployments share are left out. */
function shapeOf(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return typeof value;
  if (Array.isArray(value)) return 'list';
  if ('code' in value) return value.code;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, shapeOf(member)]));
}

/** The edge as viewers see it: the built function over the edge store, and an origin that has nothing. */
async function startEdge(keyValueStore: FileKeyValueStore): Promise<{ server: http.Server; url: string }> {
  const code = readFileSync(packagePath('dist', 'edge', 'viewer-request.js'), 'utf8');
  const viewerRequest = loadFunction(code, now, (key) => keyValueStore.get(key));
  const server = http.createServer((request, response) => {
    const { value } = viewerRequest.invoke({
      version: '1.0',
      context: {
        distributionDomainName: 'd.example',
        distributionId: 'E1',
        eventType: 'viewer-request',
        requestId: 'r',
      },
      viewer: { ip: '192.0.2.1' },
      request: { method: 'GET', uri: request.url, querystring: {}, headers: {}, cookies: {} },
    }) as { value: { statusCode?: number; headers?: Record<string, { value: string }> } };
    const headers = Object.entries(value.headers ?? {}).map(([name, header]) => [name, header.value]);
    response.writeHead(value.statusCode ?? 404, value.statusCode ? Object.fromEntries(headers) : {}).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}
