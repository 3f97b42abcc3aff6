import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { describe } from 'vitest';
import { buildEdgeFunction, type EdgeFunction, type EdgeVariant } from '../../edge-functions/build/bundle.ts';
import { type EdgeSettings, EdgeSettingsSchema } from '../../edge-functions/build/settings.ts';
import { runInNjs } from '../../edge-functions/runtime/njs.ts';
import type { EdgeRuntime, InvocationResult } from '../../edge-functions/runtime/runtime.ts';
import { runInVm } from '../../edge-functions/runtime/vm.ts';
import type { EmbeddedKey } from '../../edge-functions/store/keys-line.ts';
import { keyName } from '../../edge-functions/store/names.ts';
import type { EdgeRequest, ViewerRequestEvent } from '../../edge-functions/viewer-request/event.ts';
import { packagePath } from '../../local/package-root.ts';
import { mint, REASON_DOCS, type Reason, statusOf, type VerificationKey } from '../../token/index.ts';
import { nodeCrypto } from '../../token-api/minting/crypto.ts';
import { NOW, TEST_CLAIMS, TEST_KEY, TEST_VIEWING } from './minting.ts';
import { describeWith } from './programs.ts';

/** Where the compiled sources of the edge function lie. */
export const EDGE_SOURCES = packagePath('dist', 'lib', 'edge-functions', 'viewer-request');

export const EDGE_DEFAULTS = v.parse(EdgeSettingsSchema, {});

/** The header that our own minting writes, as JSON. */
export const HEADER = { alg: 'HS256', typ: 'portcullis+jwt', kid: TEST_KEY.kid };

/** Where a viewer goes who has a token for `TEST_CLAIMS`. */
export const PATH = '/aurora/master.m3u8';

/** The keys that the function knows, by key id. */
export const TEST_KEYS: Record<string, VerificationKey> = { [TEST_KEY.kid]: TEST_KEY };

/** A JWS in compact serialisation (RFC 7515 §7.1), made with node:crypto alone: header and payload may be anything. */
export function signRaw(header: string | Buffer, payload: string | Buffer, key: string = TEST_KEY.sign): string {
  const signed = `${Buffer.from(header).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`;
  return `${signed}.${createHmac('sha256', Buffer.from(key, 'base64url')).update(signed).digest('base64url')}`;
}

/** The URI of a compact JWS: behind the session id of `TEST_CLAIMS` unless told otherwise. */
export function tokenUri(jws: string, path: string = PATH, sid: string = TEST_CLAIMS.sid): string {
  return `/${sid}.${jws}${path}`;
}

/** What our own minting makes of claims; without the session prefix it is a compact JWS. */
export function mintToken(claims: Parameters<typeof mint>[0] = TEST_CLAIMS, viewing = TEST_VIEWING): string {
  return mint(claims, TEST_KEY, viewing, nodeCrypto);
}

/** The event of a request for `uri` by the viewer of `TEST_VIEWING`. */
export function viewerRequest(uri: string, more: Partial<EdgeRequest> = {}): ViewerRequestEvent {
  return {
    version: '1.0',
    context: { distributionDomainName: 'd.example', distributionId: 'E1', eventType: 'viewer-request', requestId: 'r' },
    viewer: { ip: TEST_VIEWING.viewer.ip },
    request: { method: 'GET', uri, querystring: {}, headers: TEST_VIEWING.request.headers, cookies: {}, ...more },
  };
}

/** What the function made of an event, in one line: `allowed <uri>`, `denied <reason>`, `preflight`, or what is wrong with it. */
export function outcomeOf(result: InvocationResult | undefined): string {
  if (!result) return 'no result';
  if ('error' in result) return `threw ${result.error}`;
  const answer = result.value as Partial<EdgeRequest> & { statusCode?: number };
  if (answer === null || typeof answer !== 'object') return `returned ${JSON.stringify(answer)}`;
  if (answer.statusCode === undefined) return `allowed ${answer.uri}`;
  if (answer.statusCode === 204) return 'preflight';
  const reason = answer.headers?.['x-portcullis-reason']?.value ?? '';
  const isDenial =
    Object.hasOwn(REASON_DOCS, reason) &&
    answer.statusCode === statusOf(reason as Reason) &&
    answer.headers?.['cache-control']?.value === 'no-store' &&
    answer.uri === undefined;
  return isDenial ? `denied ${reason}` : `answered ${JSON.stringify(answer)}`;
}

export type EngineName = 'node:vm' | 'njs';
const ENGINES: Record<EngineName, EdgeRuntime> = { 'node:vm': runInVm, njs: runInNjs };

export type Variant = 'store' | 'embedded';
export const VARIANTS: Variant[] = ['store', 'embedded'];

const built = new Map<string, Promise<EdgeFunction>>();

/** A function built of the compiled sources. What tests of a file ask for again is built once: it takes a third of a second. */
export function builtFunction(
  variant: EdgeVariant,
  settings: EdgeSettings,
  keys: Record<string, EmbeddedKey>,
): Promise<EdgeFunction> {
  const name = JSON.stringify([variant, settings, keys]);
  const building = built.get(name) ?? buildEdgeFunction(EDGE_SOURCES, variant, settings, keys);
  built.set(name, building);
  return building;
}

/** The function as it ships; the embedded one with `keys` in its last line. */
export async function edgeFunction(variant: Variant, keys: Record<string, VerificationKey>): Promise<string> {
  if (variant === 'store') return readFileSync(packagePath('dist', 'edge', 'viewer-request.js'), 'utf8');
  return (await builtFunction('embedded', EDGE_DEFAULTS, keys)).code;
}

export interface EdgeOptions {
  variant?: Variant;
  keys?: Record<string, VerificationKey>;
  now?: number;
}

/** njs never gives memory back and reads all events at once: so many a process. */
const EVENTS_PER_RUN = 1000;

/** Runs any function on any events, in as few processes as is wise. */
export async function runFunction(
  engine: EngineName,
  code: string,
  events: unknown[],
  options: { now: number; store: ReadonlyMap<string, string> },
): Promise<InvocationResult[]> {
  const results: InvocationResult[] = [];
  for (let i = 0; i < events.length; i += EVENTS_PER_RUN) {
    results.push(...(await ENGINES[engine](code, events.slice(i, i + EVENTS_PER_RUN), options)));
  }
  return results;
}

/** What the built function makes of each event (`outcomeOf`), in one engine. */
export async function outcomes(engine: EngineName, events: unknown[], options: EdgeOptions = {}): Promise<string[]> {
  const { variant = 'store', keys = TEST_KEYS, now = NOW } = options;
  const store = new Map(
    Object.entries(keys).map(([kid, { sign, bind }]) => [keyName(kid), JSON.stringify({ sign, bind, before: 0 })]),
  );
  const results = await runFunction(engine, await edgeFunction(variant, keys), events, { now, store });
  return events.map((_, i) => outcomeOf(results[i]));
}

/** The same suite in each engine. */
export function describeEngines(name: string, run: (engine: EngineName) => void): void {
  describe(`${name}, node:vm`, () => run('node:vm'));
  describeWith('njs', `${name}, njs`, () => run('njs'));
}
