import { readFileSync } from 'node:fs';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';

const TYPES: Record<string, string> = {
  '.m3u8': 'application/vnd.apple.mpegurl',
  '.mpd': 'application/dash+xml',
  '.m4s': 'video/mp4',
  '.mp4': 'video/mp4',
  '.ts': 'video/mp2t',
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
};

/** A loopback server of a test. */
export interface TitleServer {
  url: string;
  /** What was asked for, in order. */
  asked: { path: string; status: number }[];
  close(): Promise<void>;
}

/** What answers before files do; undefined leaves it to them. */
export type Answer = (
  path: string,
  request: IncomingMessage,
) =>
  | { status: number; type?: string; body: string | Uint8Array }
  | undefined
  | Promise<{ status: number; type?: string; body: string | Uint8Array } | undefined>;

/** Serves the files of folders, by the prefix of their URLs, to any origin; and what else `answer` says. */
export async function serveFolders(
  folders: Record<string, string>,
  answer: Answer = () => undefined,
): Promise<TitleServer> {
  const asked: TitleServer['asked'] = [];
  const respond = async (request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '/', 'http://loopback');
    const finish = (status: number, type: string, body: string | Uint8Array = '') => {
      asked.push({ path: url.pathname, status });
      response.writeHead(status, { 'content-type': type, 'access-control-allow-origin': '*' }).end(body);
    };
    const answered = await answer(`${url.pathname}${url.search}`, request);
    if (answered)
      return finish(
        answered.status,
        answered.type ?? TYPES[extname(url.pathname)] ?? 'application/octet-stream',
        answered.body,
      );
    const [prefix] = Object.keys(folders).filter((each) => url.pathname.startsWith(each));
    const path = prefix === undefined ? undefined : normalize(url.pathname.slice(prefix.length));
    try {
      const body = readFileSync(join(folders[prefix ?? ''] ?? '', path ?? ''));
      finish(200, TYPES[extname(path ?? '')] ?? 'application/octet-stream', body);
    } catch {
      finish(404, 'text/plain');
    }
  };
  const server = http.createServer((request, response) => void respond(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
