import http, { type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { StackError } from './errors.ts';

/** A port that was taken on loopback. */
export interface OpenPort {
  url: string;
  /** From now on requests go to `listener`; until then they are answered 503. */
  serve(listener: RequestListener): void;
  /** Closes the port together with the connections it still has. */
  close(): Promise<void>;
}

const starting: RequestListener = (_request, response) => void response.writeHead(503, { 'retry-after': '1' }).end();

/**
 * Takes a port on loopback; 0 is any free one. Taken before anything is built, because the parts of a stack need each
 * other's URLs, and because a port in use should fail first. Throws `ERR_STACK_PORT`.
 */
export async function openPort(port: number): Promise<OpenPort> {
  const server = http.createServer(starting);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const message =
        error.code === 'EADDRINUSE'
          ? `port ${port} is in use; choose others with --port N (takes N, N+1 and N+2; 0 for any free ones)`
          : `cannot listen on port ${port}: ${error.code}`;
      reject(new StackError('ERR_STACK_PORT', message));
    });
    server.listen(port, '127.0.0.1', resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    serve(listener) {
      server.removeAllListeners('request');
      server.on('request', listener);
    },
    async close() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
    },
  };
}
