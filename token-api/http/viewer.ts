import type { Context } from 'hono';
import { knownViewer, type ViewerAttributes } from '../minting/policy.ts';
import { isSameSecret } from './secret.ts';

/** Header by which the edge proves to an origin that a request came through it. */
export const ORIGIN_SECRET_HEADER = 'x-origin-secret';

const DEVICES = ['mobile', 'tablet', 'smarttv', 'desktop'];

/**
 * What the edge says of the viewer who asks. Only with the right origin secret: anyone else could claim to be anywhere,
 * so a direct call has no attributes and a policy that binds any of them refuses it.
 */
export function viewerOf(c: Context, originSecret: string): ViewerAttributes {
  if (!isSameSecret(c.req.header(ORIGIN_SECRET_HEADER) ?? '', originSecret)) return {};
  const address = c.req.header('cloudfront-viewer-address') ?? '';
  const device = DEVICES.find((kind) => c.req.header(`cloudfront-is-${kind}-viewer`) === 'true');
  return knownViewer({
    ip: address.slice(0, address.lastIndexOf(':')) || undefined,
    country: c.req.header('cloudfront-viewer-country'),
    region: c.req.header('cloudfront-viewer-country-region'),
    city: c.req.header('cloudfront-viewer-city'),
    asn: c.req.header('cloudfront-viewer-asn'),
    ja4: c.req.header('cloudfront-viewer-ja4-fingerprint'),
    device,
    userAgent: c.req.header('user-agent'),
    referer: c.req.header('referer'),
  });
}
