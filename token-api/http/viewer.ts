import type { Context } from 'hono';
import type { ViewerAttributes } from '../minting/policy.ts';
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
  return {
    ip: address.slice(0, address.lastIndexOf(':')) || undefined,
    country: c.req.header('cloudfront-viewer-country'),
    userAgent: c.req.header('user-agent'),
  };
}
