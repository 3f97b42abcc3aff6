import { type ChildProcess, spawn } from 'node:child_process';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { vi } from 'vitest';
import { freePort } from './stack.ts';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
/** What moto_server takes for credentials. */
export const MOTO_ENVIRONMENT = {
  AWS_ACCESS_KEY_ID: 'test',
  AWS_SECRET_ACCESS_KEY: 'test',
  AWS_REGION: 'us-east-1',
  AWS_EC2_METADATA_DISABLED: 'true',
};

/** S3 by moto_server (5.2.1), of which nothing is left when it is stopped. */
export interface MotoS3 {
  endpoint: string;
  client: S3Client;
  makeBucket(name: string): Promise<void>;
  stop(): void;
}

export async function startMotoS3(): Promise<MotoS3> {
  const port = await freePort();
  const server: ChildProcess = spawn('moto_server', ['-H', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' });
  const endpoint = `http://127.0.0.1:${port}`;
  await vi.waitFor(() => fetch(`${endpoint}/moto-api/`), { timeout: 60_000, interval: 200 });
  const client = clientOf(endpoint);
  return {
    endpoint,
    client,
    makeBucket: async (Bucket) => {
      await client.send(new CreateBucketCommand({ Bucket }));
    },
    stop: () => server.kill(),
  };
}

/** A client of a stand-in, which tries each call as often as is said. */
export function clientOf(endpoint: string, maxAttempts = 1): S3Client {
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  return new S3Client({ endpoint, region: 'us-east-1', credentials, forcePathStyle: true, maxAttempts });
}

/** A request on its way to S3, and what is done about it. */
export interface Passing {
  method: string;
  /** Path and query. */
  url: URL;
  headers: http.IncomingHttpHeaders;
}
export type Fault =
  | 'cut before'
  | 'lose the reply'
  | 'cut the reply'
  | 'flip a bit of the reply'
  | 'never reply'
  | { status: number; body: string };

/** A proxy before S3 that does harm to the requests that `decide` names. */
export async function startFaultyProxy(endpoint: string, decide: (passing: Passing) => Fault | undefined) {
  const { hostname, port } = new URL(endpoint);
  const server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '/', endpoint);
    const fault = decide({ method: request.method ?? '', url, headers: request.headers });
    if (fault === 'never reply') return void request.resume();
    if (fault === 'cut before') return void request.socket.destroy();
    if (typeof fault === 'object') {
      request.resume().once('end', () => {
        response.writeHead(fault.status, { 'content-type': 'application/xml' }).end(fault.body);
      });
      return;
    }
    const { method, headers } = request;
    const onward = http.request({ hostname, port, method, path: request.url, headers }, (reply) => {
      if (fault === 'lose the reply') return void request.socket.destroy();
      response.writeHead(reply.statusCode ?? 502, reply.headers);
      let isFirst = true;
      reply.on('data', (chunk: Buffer) => {
        if (isFirst && fault === 'flip a bit of the reply') chunk[0] = (chunk[0] ?? 0) ^ 1;
        if (isFirst && fault === 'cut the reply') {
          response.write(chunk.subarray(0, Math.floor(chunk.length / 2)), () => request.socket.destroy());
        } else response.write(chunk);
        isFirst = false;
      });
      reply.once('end', () => {
        if (fault !== 'cut the reply') response.end();
      });
    });
    onward.on('error', () => request.socket.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
