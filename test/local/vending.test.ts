import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ApiCall, callApi } from '../harness/api.ts';
import {
  type RunningStack,
  rawRequest,
  removeDirectory,
  requestPlayback,
  revocation,
  startStack,
  temporaryDirectory,
} from '../harness/stack.ts';

let data: string;
let stack: RunningStack;

beforeAll(async () => {
  data = temporaryDirectory();
  stack = await startStack(data);
});
afterAll(async () => {
  await stack.stop();
  removeDirectory(data);
});

const call = (method: string, path: string, options?: ApiCall) => callApi(stack, method, path, options);
const renew = (token: string, options: ApiCall = {}) =>
  call('POST', '/v1/tokens/renewal', { ...options, body: { token, ...(options.body as object) } });
/** Waits for the next second: a token renewed in the second it was minted in would not be later. */
const aged = () => new Promise((resolve) => setTimeout(resolve, 1050));
/** What the edge answers to a request for a playback URL. */
const opened = async (url: string, headers: Record<string, string> = {}, from = '127.0.0.1') => {
  const path = url.slice(new URL(url).origin.length);
  const answer = await rawRequest(stack.edge, path, { headers, localAddress: from });
  return [answer.status, answer.headers['x-portcullis-reason'] ?? ''];
};
const BERLIN = { ip: '127.0.0.1', country: 'DE', region: 'BE', city: 'Berlin', asn: '3320', userAgent: 'Player/1.0' };

describe('renewal', () => {
  test('of a playback URL: the same session, a later expiry, and it opens', async () => {
    const first = await requestPlayback(stack);
    await aged();
    const { status, body, headers } = await renew(first.playbackUrl);
    expect([status, headers['cache-control']]).toEqual([200, 'no-store']);
    expect(Object.keys(body).sort()).toEqual(['expiresAt', 'playbackUrl', 'sessionId', 'token']);
    expect(body.sessionId).toBe(first.sessionId);
    expect(body.expiresAt).toBeGreaterThan(first.expiresAt);
    expect(body.playbackUrl).not.toBe(first.playbackUrl);
    expect(await opened(body.playbackUrl)).toEqual([200, '']);
    const alone = await renew(body.token, { role: 'backend' });
    expect([alone.status, alone.body.code]).toEqual([409, 'ERR_RENEWAL_NOT_LATER']);
  });
});
