import type { RequestListener } from 'node:http';
import { isSameSecret } from '../token-api/http/secret.ts';
import { ORIGIN_SECRET_HEADER } from '../token-api/http/viewer.ts';
import { sendFile } from './send-file.ts';

/** What the origin is made of. */
export interface OriginOptions {
  /** Folder of a title, by the first name of the path; undefined when there is none. */
  titleFolder: (title: string) => string | undefined;
  /** Answers `/<title>/keys/…`. */
  keyServer: RequestListener;
  originSecret: string;
}

/** Files that players fetch. All else in the folder of a title, its key table above all, is not there for anybody. */
const MEDIA = /\.(?:m3u8|mpd|m4s|mp4|ts|vtt|jpg)$/;

/**
 * The origin: packaged titles as static files and their content keys, for the edge only, as a bucket with origin access control
 * and a key server behind the same secret would be.
 */
export function createOrigin({ titleFolder, keyServer, originSecret }: OriginOptions): RequestListener {
  return (request, response) => {
    if (!isSameSecret(String(request.headers[ORIGIN_SECRET_HEADER] ?? ''), originSecret)) {
      response.writeHead(403).end();
      return;
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
      return;
    }
    const [, title = '', file = ''] = /^\/(\w[\w-]*)(\/.*)$/.exec(decodedPath(request.url)) ?? [];
    if (file.startsWith('/keys/')) return keyServer(request, response);
    const root = MEDIA.test(file) ? titleFolder(title) : undefined;
    if (root === undefined) {
      response.writeHead(404).end();
      return;
    }
    sendFile(request, response, encodeURI(file), { root, index: false, maxAge: 60_000 }, (stream) => {
      stream.on('error', (error: { status?: number }) => response.writeHead(error.status ?? 500).end());
      stream.on('directory', () => response.writeHead(404).end());
    });
  };
}

/** The path with its escapes undone, once; '' when they are none. */
function decodedPath(url = '/'): string {
  try {
    return decodeURIComponent(url.split('?', 1)[0] ?? '');
  } catch {
    return '';
  }
}
