import { createHash, timingSafeEqual } from 'node:crypto';
import type { RequestListener } from 'node:http';
import { extname } from 'node:path';
import sirv from 'sirv';
import { ORIGIN_SECRET_HEADER } from '../token-api/http/viewer.ts';

const digest = (text: string) => createHash('sha256').update(text).digest();

/** Media types that sirv does not know: playlists (RFC 8216 §10) and CMAF segments. */
const MEDIA_TYPES: Record<string, string> = { '.m3u8': 'application/vnd.apple.mpegurl', '.m4s': 'video/mp4' };

/** The origin: packaged titles as static files, for the edge only, as a bucket with origin access control would be. */
export function createOrigin(directory: string, originSecret: string): RequestListener {
  const files = sirv(directory, {
    etag: true,
    dev: false,
    maxAge: 60,
    setHeaders(response, path) {
      const type = MEDIA_TYPES[extname(path)];
      if (type) response.setHeader('content-type', type);
    },
  });
  return (request, response) => {
    const presented = String(request.headers[ORIGIN_SECRET_HEADER] ?? '');
    if (!timingSafeEqual(digest(presented), digest(originSecret))) {
      response.writeHead(403).end();
      return;
    }
    files(request, response, () => void response.writeHead(404, { 'cache-control': 'max-age=5' }).end());
  };
}
