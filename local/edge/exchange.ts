import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { AccessLog } from './access-log.ts';
import type { EdgeViewer, Viewers } from './viewers.ts';

/** One request on its way through the edge, with what the log needs to know of it. */
export interface Exchange {
  request: IncomingMessage;
  response: ServerResponse;
  requestId: string;
  path: string;
  query: string;
  ip: string;
  port: number;
  viewer: EdgeViewer;
  startedAt: number;
  firstByteAt: number;
  /** The connection, and what it had sent before this request: it may serve many. */
  socket: Socket;
  bytesBefore: number;
  /** What the viewer-request function logged of its decision. */
  logData: string | undefined;
  resultType: 'Hit' | 'Miss' | 'Error' | 'FunctionGeneratedResponse';
}

/** Opens an exchange; path and query are kept exactly as sent. */
export function openExchange(request: IncomingMessage, response: ServerResponse, viewers: Viewers): Exchange {
  const url = request.url ?? '/';
  const question = url.indexOf('?');
  const source = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  const viewer = viewers[source] ?? {};
  return {
    request,
    response,
    requestId: randomUUID(),
    path: question < 0 ? url : url.slice(0, question),
    query: question < 0 ? '' : url.slice(question + 1),
    ip: viewer.ip ?? source,
    port: request.socket.remotePort ?? 0,
    viewer,
    startedAt: Date.now(),
    firstByteAt: 0,
    socket: request.socket,
    bytesBefore: request.socket.bytesWritten,
    logData: undefined,
    resultType: 'Miss',
  };
}

/** Sets status and headers one by one: what `writeHead` is given at once cannot be read back for the log. */
function writeHead(exchange: Exchange, status: number, headers: Record<string, string>): void {
  exchange.firstByteAt = Date.now();
  exchange.response.statusCode = status;
  for (const [name, value] of Object.entries(headers)) exchange.response.setHeader(name, value);
}

/** Streams a body to the viewer; `keep` is handed a copy of it once all of it has passed. */
export async function stream(
  exchange: Exchange,
  status: number,
  headers: Record<string, string>,
  body: Readable,
  keep?: (body: Buffer) => void,
): Promise<void> {
  writeHead(exchange, status, headers);
  exchange.response.flushHeaders();
  // One pipeline, so that a viewer who goes away ends the request to the origin too.
  await pipeline([body, ...(keep ? [tap(keep)] : []), exchange.response]).catch((error: NodeJS.ErrnoException) => {
    // Going away in the middle is ordinary.
    if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  });
}

/** Passes chunks on and hands over all of them together at the end. */
function tap(keep: (body: Buffer) => void): Transform {
  const chunks: Buffer[] = [];
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      done(null, chunk);
    },
    flush(done) {
      keep(Buffer.concat(chunks));
      done();
    },
  });
}

/** Answers with a complete body. */
export function send(exchange: Exchange, status: number, headers: Record<string, string>, body: Buffer | string): void {
  const { request, response } = exchange;
  const hasLength = status !== 204 && status !== 304;
  writeHead(exchange, status, hasLength ? { 'content-length': String(Buffer.byteLength(body)), ...headers } : headers);
  response.end(request.method === 'HEAD' ? undefined : body);
}

/** Writes the access log line of an exchange that has ended. */
export function logExchange(log: AccessLog, exchange: Exchange): void {
  const { request, response, startedAt, firstByteAt, resultType } = exchange;
  const now = new Date();
  const seconds = (milliseconds: number) => (Math.max(milliseconds, 0) / 1000).toFixed(3);
  const header = (name: string) => {
    const value = response.getHeader(name);
    return value === undefined ? undefined : String(value);
  };
  const [, rangeStart, rangeEnd] = /^bytes (\d+)-(\d+)\//.exec(header('content-range') ?? '') ?? [];
  const failed =
    !response.writableFinished || (response.statusCode >= 400 && resultType !== 'FunctionGeneratedResponse');
  const type = failed ? 'Error' : resultType;
  log.write({
    date: now.toISOString().slice(0, 10),
    time: now.toISOString().slice(11, 19),
    'x-edge-location': 'LCL50-P1',
    'sc-bytes': exchange.socket.bytesWritten - exchange.bytesBefore,
    'c-ip': exchange.ip,
    'cs-method': request.method,
    'cs(Host)': request.headers.host,
    'cs-uri-stem': exchange.path,
    'sc-status': response.statusCode,
    'cs(Referer)': request.headers.referer,
    'cs(User-Agent)': request.headers['user-agent'],
    'cs-uri-query': exchange.query,
    'x-edge-result-type': type,
    'x-edge-request-id': exchange.requestId,
    'x-host-header': request.headers.host,
    'cs-protocol': 'http',
    'cs-bytes': request.headers['content-length'] ?? 0,
    'time-taken': seconds(now.getTime() - startedAt),
    'x-edge-response-result-type': type,
    'cs-protocol-version': `HTTP/${request.httpVersion}`,
    'c-port': exchange.port,
    'time-to-first-byte': seconds((firstByteAt || now.getTime()) - startedAt),
    'x-edge-detailed-result-type': type,
    'sc-content-type': header('content-type'),
    'sc-content-len': header('content-length'),
    'sc-range-start': rangeStart,
    'sc-range-end': rangeEnd,
    'viewer-request-log-data': exchange.logData,
    asn: exchange.viewer.asn,
    'c-country': exchange.viewer.country,
  });
}
