import { type MintingKey, mint, type VerificationKey } from '../../token/index.ts';
import { nodeCrypto } from '../minting/crypto.ts';
import { sessionIds } from '../minting/session-id.ts';
import { RotationError } from './rotation.ts';

/** Asset id (claim `aid`) of the tokens that probe the edge. */
export const PROBE_ASSET = 'portcullis-probe';
/** Where they ask, behind the token's place: nothing has to be there. */
const PROBE_PATH = '.portcullis/probe';
const PROBE_LIFETIME_SECONDS = 60;

/** What a probe is made of. */
interface Probing {
  /** Path before the token, begins and ends with a slash. */
  tokenPrefix: string;
  /** For how long to wait until the edge has the key, in seconds. */
  patienceSeconds: number;
  /** Seconds since the epoch. */
  now: () => number;
  sleep: (milliseconds: number) => Promise<unknown>;
}

/** Of an edge that answers requests. */
export interface ProbeOptions extends Probing {
  /** Base URL of the published edge, `https://media.example.com`. */
  edgeUrl: string;
}

/** Of a function that is published, while no distribution is known that it answers for. */
export interface FunctionProbeOptions extends Probing {
  /** Its name. */
  name: string;
  /** Runs it on a viewer-request event; resolves to the denial reason, '' when the request goes on. */
  ask: (event: ReturnType<typeof viewerRequest>) => Promise<string>;
}

/**
 * Makes the test of a new key: the published edge must let a token of it through, whatever the origin then says, and deny
 * the same token with another signature, or it would prove nothing. Rejects with `ERR_ROTATION_PROBE`.
 */
export function edgeProbe({ edgeUrl, ...probing }: ProbeOptions): (key: MintingKey) => Promise<void> {
  return keyProbe(edgeUrl, probing, async (path) => {
    const url = `${edgeUrl}${path}`;
    const answer = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(10_000) }).catch(() => undefined);
    await answer?.body?.cancel();
    if (!answer) return 'no answer';
    return answer.headers.get('x-portcullis-reason') ?? (answer.status >= 500 ? `status ${answer.status}` : '');
  });
}

/** The same test of the published function itself. Rejects with `ERR_ROTATION_PROBE`, and with what `ask` rejects with. */
export function functionProbe({ name, ask, ...probing }: FunctionProbeOptions): (key: MintingKey) => Promise<void> {
  return keyProbe(`function ${name}`, probing, (path) => ask(viewerRequest(path)));
}

function keyProbe(
  edge: string,
  { tokenPrefix, patienceSeconds, now, sleep }: Probing,
  ask: (path: string) => Promise<string>,
): (key: MintingKey) => Promise<void> {
  const refuse = (message: string): never => {
    throw new RotationError('ERR_ROTATION_PROBE', message);
  };
  const reasonFor = (token: string) => ask(`${tokenPrefix}${token}/${PROBE_PATH}`);
  return async (key) => {
    const deadline = now() + patienceSeconds;
    for (;;) {
      const token = probeToken(key, `${tokenPrefix}.portcullis/`, now());
      const reason = await reasonFor(token);
      if (reason === '') {
        const control = await reasonFor(withOtherSignature(token));
        if (control === 'token-signature-invalid') return;
        const mode = `portcullis edge mode enforce --prefix ${tokenPrefix}.portcullis/`;
        refuse(`${edge} lets a token with a wrong signature through (${control || 'no denial'}): run ${mode}`);
      }
      if (now() >= deadline) refuse(`${edge} does not accept a token of the new key '${key.kid}': ${reason}`);
      await sleep(1000);
    }
  };
}

/**
 * The same questions as viewer-request events, for a function that is tried before it is published: one with a token of each
 * key, which must go on; and one that must be denied, by a function that does not enforce too: its path is unsafe.
 */
export function probeEvents(
  keys: Record<string, VerificationKey>,
  tokenPrefix: string,
  now: number,
): { allowed: object[]; denied: object[] } {
  const tokens = Object.entries(keys).map(([kid, key]) =>
    probeToken({ kid, ...key }, `${tokenPrefix}.portcullis/`, now),
  );
  return {
    allowed: tokens.map((token) => viewerRequest(`${tokenPrefix}${token}/${PROBE_PATH}`)),
    denied: tokens.slice(0, 1).map((token) => viewerRequest(`${tokenPrefix}${token}/../${PROBE_PATH}`)),
  };
}

/** CloudFront event structure of type viewer-request (Developer Guide, "CloudFront Functions event structure"). */
function viewerRequest(uri: string) {
  return {
    version: '1.0',
    context: { eventType: 'viewer-request' },
    viewer: { ip: '192.0.2.1' },
    request: { method: 'GET', uri, querystring: {}, headers: {}, cookies: {} },
  };
}

/** A token of `key` that opens the probe path for a minute. */
function probeToken(key: MintingKey, path: string, now: number): string {
  const claims = { sid: sessionIds()(12), aid: PROBE_ASSET, iat: now, exp: now + PROBE_LIFETIME_SECONDS, sst: now };
  const nobody = { viewer: { ip: '' }, request: { method: 'GET', headers: {}, querystring: {} } };
  return mint({ ...claims, paths: [path] }, key, nobody, nodeCrypto);
}

/** The token with the first character of its signature exchanged: its last may hold bits that do not count. */
function withOtherSignature(token: string): string {
  const at = token.lastIndexOf('.') + 1;
  return `${token.slice(0, at)}${token[at] === 'A' ? 'B' : 'A'}${token.slice(at + 1)}`;
}
