import type { RequestListener } from 'node:http';
import { isSameSecret } from '../token-api/http/secret.ts';
import { ORIGIN_SECRET_HEADER } from '../token-api/http/viewer.ts';
import { sendFile } from './send-file.ts';

/** The origin: packaged titles as static files, for the edge only, as a bucket with origin access control would be. */
export function createOrigin(directory: string, originSecret: string): RequestListener {
  return (request, response) => {
    if (!isSameSecret(String(request.headers[ORIGIN_SECRET_HEADER] ?? ''), originSecret)) {
      response.writeHead(403).end();
    } else if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
    } else {
      sendFile(request, response, { root: directory, index: false, maxAge: 60_000 }, (stream) => {
        stream.on('error', (error: { status?: number }) => response.writeHead(error.status ?? 500).end());
        stream.on('directory', () => response.writeHead(404).end());
      });
    }
  };
}
