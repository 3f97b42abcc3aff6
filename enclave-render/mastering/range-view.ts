import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import parseRange from 'range-parser';
import type { MasterReader } from './master-reader.ts';

/** The plaintext of a master under a URL, for a program that wants to seek in it and can read HTTP, such as ffmpeg. */
export interface RangeView {
  /** Of this machine alone, with 32 random bytes in its path. */
  url: string;
  /** Why a read failed, when one did: the program only sees a broken connection. */
  readonly failure: unknown;
  /** Ends all connections. The reader stays open. */
  close(): Promise<void>;
}

const PIECE_BYTES = 1 << 20;

/**
 * Serves a master on 127.0.0.1, whole or by a Range (RFC 9110 §14), until it is closed; nothing of it touches the disk. Arguments of a
 * process can be read by everybody on the machine, and so can a URL among them: connections of other users are refused.
 */
export async function openRangeView(reader: MasterReader): Promise<RangeView> {
  const path = `/${randomBytes(32).toString('base64url')}`;
  let failure: unknown;
  const server = createServer((request, response) => {
    answer(reader, path, request, response).catch((error) => {
      failure ??= error;
      // Not an end: the program has to see that something is missing.
      response.destroy();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${path}`,
    get failure() {
      return failure;
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(
  reader: MasterReader,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { method, url, headers, socket } = request;
  response.setHeader('cache-control', 'no-store');
  if (url !== path || !(await isOwnUser(socket))) return void response.writeHead(404).end();
  if (method !== 'GET' && method !== 'HEAD') return void response.writeHead(405, { allow: 'GET, HEAD' }).end();
  response.setHeader('accept-ranges', 'bytes');
  response.setHeader('content-type', 'application/octet-stream');
  const ranges = headers.range === undefined ? -2 : parseRange(reader.size, headers.range);
  if (ranges === -1) return void response.writeHead(416, { 'content-range': `bytes */${reader.size}` }).end();
  // A header that cannot be read is as none; of several ranges nobody has asked for, all is given (RFC 9110 §14.2).
  const single = Array.isArray(ranges) && ranges.type === 'bytes' && ranges.length === 1 ? ranges[0] : undefined;
  const { start, end } = single ?? { start: 0, end: reader.size - 1 };
  const length = end - start + 1;
  const contentRange = single ? { 'content-range': `bytes ${start}-${end}/${reader.size}` } : {};
  response.writeHead(single ? 206 : 200, { 'content-length': length, ...contentRange });
  if (method === 'HEAD') return void response.end();
  await send(reader, start, length, response);
}

async function send(reader: MasterReader, start: number, length: number, response: ServerResponse): Promise<void> {
  const closed = once(response, 'close').then(() => false);
  for (let done = 0; done < length; ) {
    const piece = await reader.read(start + done, Math.min(PIECE_BYTES, length - done));
    if (piece.length === 0) throw new Error('the master ended before its length');
    done += piece.length;
    if (response.write(piece)) continue;
    const drained = once(response, 'drain').then(() => true);
    // The program has what it wants, and is gone.
    if (!(await Promise.race([drained, closed]))) return;
  }
  response.end();
}

/**
 * Whether the other end of a connection on this machine belongs to our user, by the kernel's table of connections (proc(5),
 * /proc/net/tcp). Where there is no such table the unguessable path is all.
 */
async function isOwnUser({ remotePort, localPort }: Socket): Promise<boolean> {
  const tables = ['/proc/net/tcp', '/proc/net/tcp6'].map((file) => readFile(file, 'latin1').catch(() => undefined));
  const [ipv4, ipv6] = await Promise.all(tables);
  if (ipv4 === undefined) return true;
  const port = (number = 0) => number.toString(16).toUpperCase().padStart(4, '0');
  const row = new RegExp(
    `^ *\\d+: [0-9A-F]+:${port(remotePort)} [0-9A-F]+:${port(localPort)} \\S+ \\S+ \\S+ \\S+ +(\\d+) `,
    'm',
  );
  const [, uid] = row.exec(`${ipv4}${ipv6 ?? ''}`) ?? [];
  return uid !== undefined && Number(uid) === process.geteuid?.();
}
