import type { Context } from 'hono';
import { DEVICES } from '../../token/index.ts';
import { ATTRIBUTE_HEADERS, knownViewer, type ViewerAttributes } from '../minting/policy.ts';
import { isSameSecret } from './secret.ts';

/** Header by which the edge proves to an origin that a request came through it. */
export const ORIGIN_SECRET_HEADER = 'x-origin-secret';

/** A shorter secret can be guessed, or was never set: it proves nothing, so that nobody is anywhere. */
const SHORTEST_SECRET = 16;

function isFromEdge(c: Context, originSecrets: readonly string[]): boolean {
  const presented = c.req.header(ORIGIN_SECRET_HEADER) ?? '';
  return originSecrets.some((secret) => secret.length >= SHORTEST_SECRET && isSameSecret(presented, secret));
}

/**
 * What the edge says of the viewer who asks. Only with one of the origin secrets: anyone else could claim to be anywhere,
 * so a direct call has no attributes and a policy that binds any of them refuses it.
 */
export function viewerOf(c: Context, originSecrets: readonly string[]): ViewerAttributes {
  if (!isFromEdge(c, originSecrets)) return {};
  const address = c.req.header('cloudfront-viewer-address') ?? '';
  const shown = Object.entries(ATTRIBUTE_HEADERS).map(([attribute, name]) => [attribute, c.req.header(name)]);
  return knownViewer({
    ...Object.fromEntries(shown),
    ip: address.slice(0, address.lastIndexOf(':')) || undefined,
    device: DEVICES.find((kind) => c.req.header(`cloudfront-is-${kind}-viewer`) === 'true'),
  });
}

/** Headers of a request to the API that a player does not send with its media requests, or that are secrets. */
const NOT_OF_MEDIA = new Set(['authorization', 'cookie', 'content-type', 'content-length', ORIGIN_SECRET_HEADER]);

/**
 * As `viewerOf`, with the headers that the viewer itself sent: what a token that it presents may be bound to. Not at
 * minting, where a token would be bound to headers that its media requests may not have.
 */
export function requestingViewerOf(c: Context, originSecrets: readonly string[]): ViewerAttributes {
  const viewer = viewerOf(c, originSecrets);
  const own = Object.entries(c.req.header()).filter(
    ([name, value]) => !name.startsWith('cloudfront-') && !NOT_OF_MEDIA.has(name) && /^[ -~]+$/.test(value),
  );
  return isFromEdge(c, originSecrets) ? { ...viewer, headers: Object.fromEntries(own) } : viewer;
}
