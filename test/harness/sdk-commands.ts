import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type KeyValueStore, StoreError } from '../../edge-functions/store/key-value-store.ts';
import { type CloudFrontFunctions, cloudFrontCall } from './cloudfront-functions.ts';
import type { Fault } from './function-service.ts';

/** A command that a client of the AWS SDK sent. */
export interface SentCommand {
  /** IAM action (Service Authorization Reference): `service:Action`. */
  action: string;
  /** What it acts on, as the command names it: a table, an ARN, the URL of a queue, a bucket. */
  resource: string;
}

/** Where the commands of each service go; one that is not there is answered 501. */
export interface Backends {
  /** Socket of dynalite. */
  dynamoDb?: string;
  /** Stands for CloudFront KeyValueStore, which nothing else simulates. */
  keyValueStore?: KeyValueStore;
  /** Stands for the functions of CloudFront. */
  functions?: CloudFrontFunctions;
  /** URL of moto_server, for all others. */
  moto?: string;
}

/** One address for every service (`AWS_ENDPOINT_URL`), which writes down what is sent to it. */
export interface AwsEndpoint {
  url: string;
  /** Every command since the start, oldest first. */
  sent: SentCommand[];
  /** Runs before each command, which it may hold up, or make fail. Set by tests. */
  before: (command: SentCommand) => Fault | undefined | Promise<undefined>;
  stop(): void;
}

/** Commands that need another permission than that of their name, or one besides. */
const ACTIONS: Record<string, string[]> = {
  // Without s3:ListBucket, S3 answers 403 for an object that is not there.
  's3:GetObject': ['s3:GetObject', 's3:ListBucket'],
  'sqs:ChangeMessageVisibilityBatch': ['sqs:ChangeMessageVisibility'],
};

/** Listens on loopback. The service of a request is that of its signature's credential scope (AWS, "Signature Version 4"). */
export async function startAwsEndpoint({ dynamoDb, keyValueStore, functions, moto }: Backends): Promise<AwsEndpoint> {
  const sent: SentCommand[] = [];
  const server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const service = serviceOf(request);
    for (const command of commandsOf(service, request, body)) {
      sent.push(command);
      const fault = await endpoint.before(command);
      if (fault === 'before') return void request.socket.destroy();
      if (fault === 'after') loseReply(request, response);
    }
    if (service === 'cloudfront' && functions) {
      const { status = 200, headers, body: content } = await functions.answer(request, body.toString());
      return void response.writeHead(status, { 'content-type': 'text/xml', ...headers }).end(content);
    }
    if (service === 'cloudfront-keyvaluestore') {
      if (keyValueStore) return answerKeyValueStore(keyValueStore, request, body, response);
    } else if (service === 'dynamodb' ? dynamoDb : moto) {
      const { hostname, port } = new URL(moto ?? 'http://localhost');
      const target = service === 'dynamodb' ? { socketPath: dynamoDb } : { hostname, port };
      const { method, url: path, headers } = request;
      const onward = http.request(
        { ...target, method, path, headers, agent: false } as http.RequestOptions,
        (reply) => {
          response.writeHead(reply.statusCode ?? 502, reply.headers);
          reply.pipe(response);
        },
      );
      onward.on('error', () => response.destroy());
      return void onward.end(body);
    }
    response.writeHead(501).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const endpoint: AwsEndpoint = {
    url: `http://localhost:${(server.address() as AddressInfo).port}`,
    sent,
    before: () => undefined,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
  return endpoint;
}

/** Does something once, before the next command of this kind that a client sends: another client is faster then. */
export function beforeNext(endpoint: AwsEndpoint, next: SentCommand, act: () => Promise<unknown>): void {
  endpoint.before = async ({ action, resource }) => {
    if (action !== next.action || resource !== next.resource) return undefined;
    endpoint.before = () => undefined;
    await act();
    return undefined;
  };
}

/** The command takes effect, and nobody hears of it. */
function loseReply(request: http.IncomingMessage, response: http.ServerResponse): void {
  response.writeHead = () => response;
  response.write = () => true;
  response.end = () => {
    request.socket.destroy();
    return response;
  };
}

/** The permissions that these commands need, by resource as `nameOf` calls it, sorted. */
export function permissionsFor(sent: SentCommand[], nameOf: (resource: string) => string): Record<string, string[]> {
  const needed: Record<string, Set<string>> = {};
  for (const { action, resource } of sent) {
    const name = nameOf(resource);
    needed[name] ??= new Set();
    for (const each of ACTIONS[action] ?? [action]) needed[name].add(each);
  }
  return Object.fromEntries(Object.entries(needed).map(([name, actions]) => [name, [...actions].sort()]));
}

function serviceOf({ headers }: http.IncomingMessage): string {
  const [, scope = ''] = /Credential=([^,\s]+)/.exec(headers.authorization ?? '') ?? [];
  return scope.split('/').at(-2) ?? '';
}

function commandsOf(service: string, request: http.IncomingMessage, body: Buffer): SentCommand[] {
  if (service === 's3') return [s3Command(request)];
  if (service === 'cloudfront-keyvaluestore') return [keyValueStoreCommand(request)];
  if (service === 'cloudfront') {
    const { operation, name } = cloudFrontCall(request, body.toString());
    return [{ action: `cloudfront:${operation}`, resource: name }];
  }
  const [, operation = ''] = String(request.headers['x-amz-target'] ?? '').split('.');
  const input = JSON.parse(body.toString() || '{}');
  const named =
    input.TableName ?? input.SecretId ?? input.KeyId ?? input.QueueUrl ?? input.stateMachineArn ?? input.Name ?? '';
  const resources = service === 'dynamodb' && input.RequestItems ? Object.keys(input.RequestItems) : [named];
  return resources.map((resource) => ({ action: `${service}:${operation}`, resource }));
}

/** Of the path-style addresses that stand-ins have. */
function s3Command({ method, url = '/' }: http.IncomingMessage): SentCommand {
  const { pathname, searchParams } = new URL(url, 'http://localhost');
  const [, bucket = '', ...key] = pathname.split('/');
  const isList = method === 'GET' && (key.join('/') === '' || searchParams.has('list-type'));
  const verbs: Record<string, string> = {
    GET: 'GetObject',
    HEAD: 'GetObject',
    PUT: 'PutObject',
    DELETE: 'DeleteObject',
  };
  return { action: `s3:${isList ? 'ListBucket' : verbs[method ?? '']}`, resource: bucket };
}

/** Paths of the Amazon CloudFront API Reference, "Amazon CloudFront KeyValueStore". */
const STORE_PATH = /^\/key-value-stores\/([^/]+)(?:\/(keys)(?:\/([^/]+))?)?\/?$/;

function keyValueStoreCommand({ method, url = '/' }: http.IncomingMessage): SentCommand & { key: string } {
  const [, arn = '', keys, key = ''] = STORE_PATH.exec(new URL(url, 'http://localhost').pathname) ?? [];
  const onKeys = method === 'POST' ? 'UpdateKeys' : key === '' ? 'ListKeys' : 'GetKey';
  const action = `cloudfront-keyvaluestore:${keys ? onKeys : 'DescribeKeyValueStore'}`;
  return { action, resource: decodeURIComponent(arn), key: decodeURIComponent(key) };
}

async function answerKeyValueStore(
  store: KeyValueStore,
  request: http.IncomingMessage,
  body: Buffer,
  response: http.ServerResponse,
): Promise<void> {
  const answer = (status: number, content: object, etag?: string) => {
    response.writeHead(status, { 'content-type': 'application/json', ...(etag && { etag }) });
    response.end(JSON.stringify(content));
  };
  const { action, resource, key } = keyValueStoreCommand(request);
  try {
    if (action.endsWith('DescribeKeyValueStore')) {
      const description = { ItemCount: 0, TotalSizeInBytes: 0, KvsARN: resource, Created: 0 };
      return answer(200, description, await store.etag());
    }
    if (action.endsWith('ListKeys')) {
      const { entries } = await store.list();
      return answer(200, { Items: [...entries].map(([Key, Value]) => ({ Key, Value })) });
    }
    if (action.endsWith('GetKey')) {
      const Value = (await store.list()).entries.get(key);
      if (Value !== undefined) return answer(200, { Key: key, Value, ItemCount: 0, TotalSizeInBytes: 0 });
      response.setHeader('x-amzn-errortype', 'ResourceNotFoundException');
      return answer(404, { Message: 'Key was not found.' });
    }
    const { Puts = [], Deletes = [] } = JSON.parse(body.toString());
    const update = {
      puts: Puts.map(({ Key, Value }: { Key: string; Value: string }) => ({ key: Key, value: Value })),
      deletes: Deletes.map(({ Key }: { Key: string }) => Key),
    };
    const etag = await store.update(update, String(request.headers['if-match']));
    return answer(200, { ItemCount: 0, TotalSizeInBytes: 0 }, etag);
  } catch (error) {
    const isStale = error instanceof StoreError && error.code === 'ERR_STORE_ETAG';
    response.setHeader('x-amzn-errortype', isStale ? 'ConflictException' : 'ValidationException');
    return answer(isStale ? 409 : 400, { Message: (error as Error).message });
  }
}
