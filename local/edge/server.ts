import type { IncomingMessage, RequestListener } from 'node:http';
import { Pool } from 'undici';
import type { LoadedFunction } from '../../edge-functions/runtime/vm.ts';
import type { EdgeRequest, EdgeResponse } from '../../edge-functions/viewer-request/event.ts';
import type { Decision } from '../../revocation/http/decisions.ts';
import { type Fields, parse, readClaims, redact } from '../../token/index.ts';
import { ORIGIN_SECRET_HEADER } from '../../token-api/http/viewer.ts';
import { PROBE_ASSET } from '../../token-api/key-ring/probe.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import type { Session } from '../../token-api/sessions/sessions.ts';
import type { AccessLog } from './access-log.ts';
import { answerFromCache, EdgeCache, MAX_OBJECT_BYTES, originTarget } from './cache.ts';
import { viewerRequestEvent } from './event.ts';
import { type Exchange, logExchange, openExchange, send, stream } from './exchange.ts';
import type { RuleGroup } from './rule-group.ts';
import { generatedHeaders, type Viewers } from './viewers.ts';

/** What the edge server is made of. */
export interface EdgeOptions {
  /** The built viewer-request function. */
  viewerRequest: LoadedFunction;
  ruleGroup: RuleGroup;
  viewers: Viewers;
  /** Path before the token, begins and ends with a slash. */
  tokenPrefix: string;
  /** Headers that the origin request policy of the default behaviour has CloudFront generate. */
  generatedHeaders: string[];
  /** Base URLs. */
  apiUrl: string;
  originUrl: string;
  originSecret: string;
  log: AccessLog;
  /** Told of every decision about a media request. */
  onDecision: (decision: Decision) => void;
  /** Told of every allowed media request whose token could be read. */
  onSeen: (session: Session, seenAt: number) => void;
}

/** An edge that answers requests. */
export interface Edge {
  listener: RequestListener;
  /** Ends its connections to API and origin. */
  close(): Promise<void>;
}

/** CloudFront's limit on path and query together, in characters. */
const MAX_URI_LENGTH = 8192;
/** What a viewer may wait for between two pieces of a streamed body: as long as it likes, decisions are rare. */
const NO_TIMEOUT = 0;
const MEDIA_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);
/** Headers of one connection only (RFC 9110 §7.6.1), never forwarded. */
const HOP_BY_HOP = new Set(
  'connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade host expect'.split(
    ' ',
  ),
);
/** The response headers policy of the default behaviour: pages anywhere may read media that a token opened. */
const MEDIA_CORS = { 'access-control-allow-origin': '*', 'access-control-expose-headers': 'x-portcullis-reason' };

/** The delivery edge on this machine, shaped like a CloudFront distribution: rule group → behaviour → function → cache → origin. */
export function createEdge(options: EdgeOptions): Edge {
  const api = new Pool(options.apiUrl, { bodyTimeout: NO_TIMEOUT, headersTimeout: 30_000 });
  const origin = new Pool(options.originUrl);
  const cache = new EdgeCache();

  const listener: RequestListener = (request, response) => {
    const exchange = openExchange(request, response, options.viewers);
    response.once('close', () => logExchange(options.log, exchange));
    handle(exchange).catch(() => {
      if (response.headersSent) response.destroy();
      else send(exchange, 502, { 'cache-control': 'no-store' }, '');
    });
  };
  return {
    listener,
    async close() {
      await Promise.all([api.destroy(), origin.destroy()]);
    },
  };

  async function handle(exchange: Exchange): Promise<void> {
    const { request, path, query, viewer } = exchange;
    if (path.length + query.length > MAX_URI_LENGTH) return send(exchange, 414, {}, '');
    const block = options.ruleGroup({
      method: request.method ?? '',
      path,
      query,
      headers: request.headers,
      country: viewer.country,
    });
    if (block) {
      exchange.resultType = 'Error';
      send(exchange, block.status, block.headers, '');
      return decided(exchange, block.status, 'waf-blocked');
    }
    if (path.startsWith('/v1/')) return forwardToApi(exchange);
    return serveMedia(exchange);
  }

  /** Behaviour `/v1/*`: all methods, no cache, the origin secret and what the edge knows of the viewer added. */
  async function forwardToApi(exchange: Exchange): Promise<void> {
    const { request, viewer, ip, port } = exchange;
    const headers = endToEndHeaders(request);
    const known = generatedHeaders(viewer, ip, port);
    for (const name of ['cloudfront-viewer-address', ...options.generatedHeaders]) headers[name] = known[name];
    // In place of whatever the viewer sent under that name.
    headers[ORIGIN_SECRET_HEADER] = options.originSecret;
    const hasBody = request.method !== 'GET' && request.method !== 'HEAD';
    const answer = await api.request({
      method: request.method as 'GET',
      path: request.url ?? '/',
      headers,
      body: hasBody ? request : null,
    });
    await stream(exchange, answer.statusCode, responseHeaders(answer.headers), answer.body);
  }

  /** The default behaviour: viewer-request function, then cache, then origin. */
  async function serveMedia(exchange: Exchange): Promise<void> {
    const { request, path, query, ip, port, viewer, requestId } = exchange;
    if (!MEDIA_METHODS.has(request.method ?? '')) return send(exchange, 403, { 'cache-control': 'no-store' }, '');
    const known = generatedHeaders(viewer, ip, port);
    const generated = Object.fromEntries(options.generatedHeaders.map((name) => [name, known[name]]));
    const result = options.viewerRequest.invoke(viewerRequestEvent(request, path, query, ip, generated, requestId));
    exchange.logData = result.log;
    // CloudFront answers 503 when a function throws.
    if ('error' in result) return send(exchange, 503, { 'cache-control': 'no-store' }, '');
    const outcome = result.value as EdgeRequest | EdgeResponse;
    if ('statusCode' in outcome) {
      exchange.resultType = 'FunctionGeneratedResponse';
      const headers = plainHeaders(outcome.headers);
      send(exchange, outcome.statusCode, headers, '');
      return decided(exchange, outcome.statusCode, headers['x-portcullis-reason'] ?? '');
    }
    await serveFromCache(exchange, originTarget(outcome.uri, query));
  }

  async function serveFromCache(exchange: Exchange, target: string): Promise<void> {
    const { request } = exchange;
    const cached = request.method === 'OPTIONS' ? undefined : cache.get(target);
    if (cached) {
      exchange.resultType = 'Hit';
      const answer = answerFromCache(cached, request.headers);
      decided(exchange, answer.status, loggedReason(exchange));
      return send(exchange, answer.status, answer.headers, answer.body);
    }
    const answer = await origin.request({
      method: request.method as 'GET',
      path: target,
      headers: { ...conditionalHeaders(request), [ORIGIN_SECRET_HEADER]: options.originSecret },
    });
    // Before the body, which may take as long as the viewer likes.
    decided(exchange, answer.statusCode, loggedReason(exchange));
    const headers: Record<string, string> = { ...responseHeaders(answer.headers), ...MEDIA_CORS };
    const length = Number(headers['content-length']);
    const cacheable = request.method === 'GET' && answer.statusCode === 200 && length <= MAX_OBJECT_BYTES;
    const keep = (body: Buffer) => {
      if (body.length === length) cache.put(target, { status: 200, headers, body });
    };
    await stream(exchange, answer.statusCode, headers, answer.body, cacheable ? keep : undefined);
  }

  /** Reports a decision, and that a session was seen when the request was allowed. */
  function decided(exchange: Exchange, status: number, reason: string): void {
    const { path, request } = exchange;
    const parsed = parse(path, options.tokenPrefix, nodeCrypto);
    const token = typeof parsed === 'string' ? undefined : parsed;
    const time = Date.now() / 1000;
    options.onDecision({
      time,
      method: request.method ?? '',
      status,
      reason,
      sessionId: token?.sid ?? '',
      kid: token?.kid ?? '',
      uri: redact(path),
    });
    // Only what the function verified: a preflight, or a mode that looks at nothing, proves no claim.
    if (!token || loggedDecision(exchange) !== 'allowed') return;
    const claims = readClaims(nodeCrypto.decode(token.payload));
    if (!claims) return;
    const { sid, aid, sub, sst, exp } = claims;
    // A probe of a rotation is nobody's session.
    if (aid === PROBE_ASSET) return;
    const session = { sessionId: sid, asset: aid, subject: sub, startedAt: sst, expiresAt: exp, kid: token.kid };
    options.onSeen(session, Math.floor(time));
  }
}

/** Why a request that went on would have been denied; '' when it was allowed. Modes other than `enforce` let it through. */
function loggedReason(exchange: Exchange): string {
  const decision = loggedDecision(exchange);
  return decision === undefined || decision === 'allowed' ? '' : decision;
}

/** What the function logged, of `<session>,<decision>,<path>`: `allowed` or a denial reason; undefined when it logged nothing. */
function loggedDecision({ logData }: Exchange): string | undefined {
  return logData?.split(',')[1];
}

/** Request headers that go on to an origin, without those only CloudFront may set. */
function endToEndHeaders(request: IncomingMessage): Record<string, string | string[] | undefined> {
  const entries = Object.entries(request.headers);
  return Object.fromEntries(entries.filter(([name]) => !HOP_BY_HOP.has(name) && !name.startsWith('cloudfront-')));
}

/** What of a media request may change the origin's answer: ranges and validators. */
function conditionalHeaders(request: IncomingMessage): Record<string, string> {
  const names = ['range', 'if-range', 'if-none-match', 'if-modified-since'];
  return Object.fromEntries(
    names.flatMap((name) => (typeof request.headers[name] === 'string' ? [[name, request.headers[name]]] : [])),
  );
}

function responseHeaders(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const kept = Object.entries(headers).filter(([name, value]) => value !== undefined && !HOP_BY_HOP.has(name));
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]));
}

function plainHeaders(fields: Fields): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).map(([name, { value }]) => [name, value]));
}
