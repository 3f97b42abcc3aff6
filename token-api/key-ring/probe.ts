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
export interface ProbeOptions {
  /** Base URL of the published edge, `https://media.example.com`. */
  edgeUrl: string;
  /** Path before the token, begins and ends with a slash. */
  tokenPrefix: string;
  /** For how long to wait until the edge has the key, in seconds. */
  patienceSeconds: number;
  /** Seconds since the epoch. */
  now: () => number;
  sleep: (milliseconds: number) => Promise<unknown>;
}

/**
 * Makes the test of a new key: the published edge must let a token of it through, whatever the origin then says, and deny
 * the same token with another signature, or it would prove nothing. Rejects with `ERR_ROTATION_PROBE`.
 */
export function edgeProbe(options: ProbeOptions): (key: MintingKey) => Promise<void> {
  const { edgeUrl, tokenPrefix, patienceSeconds, now, sleep } = options;
  const refuse = (message: string): never => {
    throw new RotationError('ERR_ROTATION_PROBE', message);
  };
  /** The denial reason for a token; '' when it was let through. */
  const ask = async (token: string): Promise<string> => {
    const url = `${edgeUrl}${tokenPrefix}${token}/${PROBE_PATH}`;
    const answer = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(10_000) }).catch(() => undefined);
    await answer?.body?.cancel();
    if (!answer) return 'no answer';
    return answer.headers.get('x-portcullis-reason') ?? (answer.status >= 500 ? `status ${answer.status}` : '');
  };
  return async (key) => {
    const deadline = now() + patienceSeconds;
    for (;;) {
      const token = probeToken(key, `${tokenPrefix}.portcullis/`, now());
      const reason = await ask(token);
      if (reason === '') {
        const control = await ask(withOtherSignature(token));
        if (control === 'token-signature-invalid') return;
        const mode = `portcullis edge mode enforce --prefix ${tokenPrefix}.portcullis/`;
        refuse(`${edgeUrl} lets a token with a wrong signature through (${control || 'no denial'}): run ${mode}`);
      }
      if (now() >= deadline) refuse(`${edgeUrl} does not accept a token of the new key '${key.kid}': ${reason}`);
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
  const event = (uri: string) => ({
    version: '1.0',
    context: { eventType: 'viewer-request' },
    viewer: { ip: '192.0.2.1' },
    request: { method: 'GET', uri, querystring: {}, headers: {}, cookies: {} },
  });
  const tokens = Object.entries(keys).map(([kid, key]) =>
    probeToken({ kid, ...key }, `${tokenPrefix}.portcullis/`, now),
  );
  return {
    allowed: tokens.map((token) => event(`${tokenPrefix}${token}/${PROBE_PATH}`)),
    denied: tokens.slice(0, 1).map((token) => event(`${tokenPrefix}${token}/../${PROBE_PATH}`)),
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
