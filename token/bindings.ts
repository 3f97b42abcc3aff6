import { canonicalIp } from './ip.ts';
import { type Fields, fieldValue, type Viewing } from './viewer.ts';

/** The network of a canonical address: its first 24 (IPv4) or 48 bits (IPv6); '' when there is no address. */
function networkOf(ip: string): string {
  if (ip === '') return '';
  const groups = ip.split('.');
  return groups.length === 4 ? groups.slice(0, 3).join('.') + '.0/24' : ip.split(':').slice(0, 3).join(':') + '::/48';
}

/** The kinds of device that CloudFront tells apart, in the order in which they count when it says several. */
export const DEVICES = ['mobile', 'tablet', 'smarttv', 'desktop'] as const;

/** What CloudFront takes the device for; '' when its headers say nothing. */
function deviceOf(headers: Fields): string {
  for (let i = 0; i < DEVICES.length; i++) {
    if (fieldValue(headers, 'cloudfront-is-' + DEVICES[i] + '-viewer') === 'true') return DEVICES[i] as string;
  }
  return '';
}

/**
 * The bindings: each row reads the canonical value of a request, '' when there is none. Both sides use the same row, so
 * they cannot drift. A row's documentation is in `binding-docs.ts`; keyed by name, so that a missing one does not
 * compile, and apart, so that it never reaches the edge bundle.
 */
export const BINDINGS = {
  ip: (viewing: Viewing) => canonicalIp(viewing.viewer.ip),
  network: (viewing: Viewing) => networkOf(canonicalIp(viewing.viewer.ip)),
  country: (viewing: Viewing) => fieldValue(viewing.request.headers, 'cloudfront-viewer-country').toUpperCase(),
  region: (viewing: Viewing) => fieldValue(viewing.request.headers, 'cloudfront-viewer-country-region').toUpperCase(),
  city: (viewing: Viewing) => fieldValue(viewing.request.headers, 'cloudfront-viewer-city'),
  asn: (viewing: Viewing) => fieldValue(viewing.request.headers, 'cloudfront-viewer-asn'),
  ja4: (viewing: Viewing) => fieldValue(viewing.request.headers, 'cloudfront-viewer-ja4-fingerprint'),
  device: (viewing: Viewing) => deviceOf(viewing.request.headers),
  'user-agent': (viewing: Viewing) => fieldValue(viewing.request.headers, 'user-agent'),
  referer: (viewing: Viewing) => fieldValue(viewing.request.headers, 'referer'),
  method: (viewing: Viewing) => viewing.request.method,
  header: (viewing: Viewing, name: string) => fieldValue(viewing.request.headers, name),
  query: (viewing: Viewing, name: string) => fieldValue(viewing.request.querystring, name),
};

export type BindingName = keyof typeof BINDINGS;

/** The canonical value of `binding` (`ip`, `header:x-device`, …) for a request; '' when absent or the binding is unknown. */
export function bindingValue(binding: string, viewing: Viewing): string {
  const colon = binding.indexOf(':');
  const name = colon < 0 ? binding : binding.slice(0, colon);
  if (!BINDINGS.hasOwnProperty(name)) return '';
  return BINDINGS[name as BindingName](viewing, binding.slice(colon + 1));
}

/**
 * What the binding MAC is computed over: a line `sid=<session id>`, then a line `<binding>=<value>` for each binding in
 * order, each ended by a line feed. The name is on the line and a value cannot hold a line feed, so no value can move
 * from one field to another. '' when a bound value is absent.
 */
export function bindingInput(sid: string, bindings: string[], viewing: Viewing): string {
  let input = 'sid=' + sid + '\n';
  for (let i = 0; i < bindings.length; i++) {
    const binding = bindings[i] as string;
    const value = bindingValue(binding, viewing);
    if (value === '' || value.indexOf('\n') >= 0) return '';
    input += binding + '=' + value + '\n';
  }
  return input;
}
