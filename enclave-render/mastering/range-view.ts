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

/** Programs open a few at a time; without a limit others could use up our file descriptors. */
const MAX_CONNECTIONS = 64;

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
  server.maxConnections = MAX_CONNECTIONS;
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
 * /proc/net/tcp). All four of addresses and ports have to be those of the connection, because another user may take the same port
 * of another address of this machine; and it has to be open, because the kernel shows what was closed as root's. Where there is no
 * such table the unguessable path is all. Rejects when there is one and it cannot be read.
 */
async function isOwnUser({ remoteAddress = '', remotePort = 0, localAddress = '', localPort = 0 }: Socket) {
  if (process.platform !== 'linux') return true;
  const [ipv4, ipv6] = await Promise.all([readTable('/proc/net/tcp'), readTable('/proc/net/tcp6')]);
  if (ipv4 === undefined) return true;
  const [theirs, ours] = [endpoint(remoteAddress, remotePort), endpoint(localAddress, localPort)];
  const row = new RegExp(`^ *\\d+: ${theirs} ${ours} ${ESTABLISHED} \\S+ \\S+ \\S+ +(\\d+) `, 'm');
  const [, uid] = row.exec(`${ipv4}${ipv6 ?? ''}`) ?? [];
  return uid !== undefined && Number(uid) === process.geteuid?.();
}

const ESTABLISHED = '01';

/** A table of the kernel; undefined where the kernel has none. */
async function readTable(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'latin1');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Pattern of an IPv4 address and port in the tables: as the word of a little-endian machine; in tcp6 mapped (RFC 4291 §2.5.5.2). */
function endpoint(address: string, port: number): string {
  const word = Buffer.from(address.split('.').map(Number)).reverse().toString('hex').toUpperCase();
  return `(?:0{16}FFFF0000)?${word}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
}
