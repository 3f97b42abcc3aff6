import { createHash, randomUUID } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { GetQueryExecutionCommand, GetQueryResultsCommand, GetWorkGroupCommand } from '@aws-sdk/client-athena';
import type { AthenaService } from './athena-service.ts';

/** Stands for what detection asks of AWS beside DynamoDB, over HTTP: S3, Amazon SQS, and Athena in memory. */
export interface DetectionServices {
  url: string;
  /** Objects by `bucket/key`. */
  objects: Map<string, Buffer>;
  /** Bodies of the messages that were sent. */
  messages: string[];
  stop(): void;
}

/** What handlers ask of Athena; queries are started by the state machine. */
const COMMANDS = {
  GetQueryExecution: GetQueryExecutionCommand,
  GetQueryResults: GetQueryResultsCommand,
  GetWorkGroup: GetWorkGroupCommand,
};

/** Of S3: PutObject, GetObject, ListObjectsV2; of SQS: SendMessage; of Athena what `AthenaService` has. */
export async function startDetectionServices(service: AthenaService): Promise<DetectionServices> {
  const objects = new Map<string, Buffer>();
  const messages: string[] = [];
  const server = http.createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const answer = (status: number, content: string | Buffer) => void response.writeHead(status).end(content);
    const [target, operation] = String(request.headers['x-amz-target'] ?? '').split('.');
    if (target === 'AmazonAthena') {
      const Command = COMMANDS[operation as keyof typeof COMMANDS] as typeof GetWorkGroupCommand;
      const command = new Command(JSON.parse(body.toString()));
      return service.client.send(command).then(
        (output) => answer(200, JSON.stringify(output)),
        ({ name, message }: Error) => answer(400, JSON.stringify({ __type: name, message })),
      );
    }
    if (target === 'AmazonSQS') {
      const { MessageBody } = JSON.parse(body.toString());
      messages.push(MessageBody);
      const MD5OfMessageBody = createHash('md5').update(MessageBody).digest('hex');
      return answer(
        200,
        JSON.stringify({ MessageId: randomUUID(), MD5OfMessageBody, SequenceNumber: `${messages.length}` }),
      );
    }
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://localhost');
    const name = decodeURIComponent(pathname.slice(1));
    if (request.method === 'PUT') {
      objects.set(name, body);
      return answer(200, '');
    }
    if (searchParams.has('list-type')) return answer(200, listing(objects, name.replace(/\/$/, ''), searchParams));
    const object = objects.get(name);
    if (object) return answer(200, object);
    return answer(404, '<Error><Code>NoSuchKey</Code></Error>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    objects,
    messages,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** One page of ListObjectsV2. */
function listing(objects: Map<string, Buffer>, bucket: string, query: URLSearchParams): string {
  const prefix = `${bucket}/${query.get('prefix') ?? ''}`;
  const after = `${bucket}/${query.get('start-after') ?? ''}`;
  const contents = [...objects]
    .filter(([name]) => name.startsWith(prefix) && name > after)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { length }]) => {
      const etag = createHash('md5')
        .update(objects.get(name) ?? '')
        .digest('hex');
      return `<Contents><Key>${name.slice(bucket.length + 1)}</Key><Size>${length}</Size><ETag>"${etag}"</ETag></Contents>`;
    });
  return `<ListBucketResult><IsTruncated>false</IsTruncated>${contents.join('')}</ListBucketResult>`;
}
