import type { Context } from 'hono';
import { DEVICES } from '../../token/index.ts';
import { ATTRIBUTE_HEADERS, knownViewer, type ViewerAttributes } from '../minting/policy.ts';
import { isSameSecret } from './secret.ts';

/** Header by which the edge proves to an origin that a request came through it. */
export const ORIGIN_SECRET_HEADER = 'x-origin-secret';

/**
 * What the edge says of the viewer who asks. Only with the right origin secret: anyone else could claim to be anywhere,
 * so a direct call has no attributes and a policy that binds any of them refuses it.
 */
export function viewerOf(c: Context, originSecret: string): ViewerAttributes {
  if (!isSameSecret(c.req.header(ORIGIN_SECRET_HEADER) ?? '', originSecret)) return {};
  const address = c.req.header('cloudfront-viewer-address') ?? '';
  const shown = Object.entries(ATTRIBUTE_HEADERS).map(([attribute, name]) => [attribute, c.req.header(name)]);
  return knownViewer({
    ...Object.fromEntries(shown),
    ip: address.slice(0, address.lastIndexOf(':')) || undefined,
    device: DEVICES.find((kind) => c.req.header(`cloudfront-is-${kind}-viewer`) === 'true'),
  });
}
