import * as v from 'valibot';
import { DEVICES } from '../../token/index.ts';
import { StackError } from '../errors.ts';

const ViewerAttributesSchema = v.strictObject({
  /** Address that the function sees instead of the loopback one. */
  ip: v.optional(v.string()),
  country: v.optional(v.string()),
  region: v.optional(v.string()),
  city: v.optional(v.string()),
  asn: v.optional(v.string()),
  ja4: v.optional(v.string()),
  device: v.optional(v.picklist(DEVICES)),
});

const ViewersSchema = v.record(v.string(), ViewerAttributesSchema);

/** What CloudFront would know of the viewer at an address. */
export type EdgeViewer = v.InferOutput<typeof ViewerAttributesSchema>;

/** Viewers by loopback source address: a client that connects from 127.0.0.2 is another viewer than one from 127.0.0.1. */
export type Viewers = v.InferOutput<typeof ViewersSchema>;

/** The viewers of a new stack; edit `viewers.json` in the data directory for others. */
export const DEFAULT_VIEWERS: Viewers = {
  '127.0.0.1': { country: 'DE', region: 'BE', city: 'Berlin', asn: '3320', device: 'desktop' },
  '127.0.0.2': { ip: '198.51.100.7', country: 'FR', region: 'IDF', city: 'Paris', asn: '3215', device: 'mobile' },
  '127.0.0.3': { ip: '2001:db8:7::1', country: 'US', region: 'NY', city: 'New York', asn: '7018', device: 'smarttv' },
};

/** Checks the viewers file. Throws `ERR_STACK_DATA`. */
export function parseViewers(input: unknown): Viewers {
  const result = v.safeParse(ViewersSchema, input);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new StackError('ERR_STACK_DATA', `viewers.json: ${v.getDotPath(issue) ?? 'file'}: ${issue.message}`);
}

/** The headers that CloudFront generates for a viewer, by name. Only those an origin request policy names are added. */
export function generatedHeaders(viewer: EdgeViewer, ip: string, port: number): Record<string, string | undefined> {
  const is = (device: string) => (viewer.device === undefined ? undefined : String(viewer.device === device));
  return {
    'cloudfront-viewer-address': `${ip}:${port}`,
    'cloudfront-viewer-country': viewer.country,
    'cloudfront-viewer-country-region': viewer.region,
    'cloudfront-viewer-city': viewer.city,
    'cloudfront-viewer-asn': viewer.asn,
    'cloudfront-viewer-ja4-fingerprint': viewer.ja4,
    'cloudfront-is-desktop-viewer': is('desktop'),
    'cloudfront-is-mobile-viewer': is('mobile'),
    'cloudfront-is-tablet-viewer': is('tablet'),
    'cloudfront-is-smarttv-viewer': is('smarttv'),
  };
}
