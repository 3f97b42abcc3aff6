import { createHash, timingSafeEqual } from 'node:crypto';
import type { RequestListener } from 'node:http';
import sirv from 'sirv';
import { ORIGIN_SECRET_HEADER } from '../token-api/http/viewer.ts';

const digest = (text: string) => createHash('sha256').update(text).digest();

/** The origin: packaged titles as static files, for the edge only, as a bucket with origin access control would be. */
export function createOrigin(directory: string, originSecret: string): RequestListener {
  const files = sirv(directory, { etag: true, dev: false, extensions: [], maxAge: 60 });
  return (request, response) => {
    const presented = String(request.headers[ORIGIN_SECRET_HEADER] ?? '');
    if (!timingSafeEqual(digest(presented), digest(originSecret))) {
      response.writeHead(403).end();
      return;
    }
    files(request, response, () => void response.writeHead(404, { 'cache-control': 'max-age=5' }).end());
  };
}
