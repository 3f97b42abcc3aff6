import { canonicalIp } from './ip.ts';
import { fieldValue, type Viewing } from './viewer.ts';

/** The value of the header `name`; '' when there is none. */
function headerOf(viewing: Viewing, name: string): string {
  return fieldValue(viewing.request.headers, name);
}

/** The address of the viewer, canonical; '' when there is none. */
function addressOf(viewing: Viewing): string {
  return viewing.viewer ? canonicalIp(viewing.viewer.ip) : '';
}

/** The network of the viewer's address: its first 24 (IPv4) or 48 bits (IPv6); '' when there is no address. */
function networkOf(viewing: Viewing): string {
  return addressOf(viewing)
    .replace(/\.\d+$/, '.0/24')
    .replace(/^(\w+:\w+:\w+):.*/, '$1::/48');
}

/** The kinds of device that CloudFront tells apart, in the order in which they count when it says several. */
export const DEVICES = ['mobile', 'tablet', 'smarttv', 'desktop'] as const;

/** What CloudFront takes the device for; '' when its headers say nothing. */
function deviceOf(viewing: Viewing): string {
  for (let i = 0; i < DEVICES.length; i++) {
    if (headerOf(viewing, 'cloudfront-is-' + DEVICES[i] + '-viewer') === 'true') return DEVICES[i] as string;
  }
  return '';
}

/** The country of the viewer, ISO 3166-1 alpha-2 in upper case; '' when none is known. */
export function countryOf(viewing: Viewing): string {
  return headerOf(viewing, 'cloudfront-viewer-country').toUpperCase();
}

/** Reads the canonical value of a binding off a request, '' when there is none; `argument` is what follows its colon. */
type Row = string | ((viewing: Viewing, argument: string) => string);

const ROWS = {
  ip: addressOf,
  network: networkOf,
  country: countryOf,
  region: (viewing: Viewing) => headerOf(viewing, 'cloudfront-viewer-country-region').toUpperCase(),
  city: 'cloudfront-viewer-city',
  asn: 'cloudfront-viewer-asn',
  ja4: 'cloudfront-viewer-ja4-fingerprint',
  device: deviceOf,
  'user-agent': 'user-agent',
  referer: 'referer',
  method: (viewing: Viewing) => viewing.request.method,
  header: headerOf,
  query: (viewing: Viewing, name: string) => fieldValue(viewing.request.querystring, name),
};

export type BindingName = keyof typeof ROWS;

/**
 * The bindings, a row each: the name of the header whose value it is as sent, or what reads it. Both sides use the same
 * row, so they cannot drift. A row's documentation is in `binding-docs.ts`; keyed by name, so that a missing one does not
 * compile, and apart, so that it never reaches the edge bundle. Inherits nothing, so that only rows are found in it.
 */
export const BINDINGS: Record<BindingName, Row> = Object.setPrototypeOf(ROWS, null);

/** The row of a binding, by its name or what stands before its colon; undefined when there is none. */
export function rowOf(binding: string): Row | undefined {
  return BINDINGS[binding as BindingName] || BINDINGS[binding.split(':')[0] as BindingName];
}

/** The canonical value of `binding` (`ip`, `header:x-device`, …) for a request; '' when absent or the binding is unknown. */
export function bindingValue(binding: string, viewing: Viewing): string {
  const row = rowOf(binding);
  if (typeof row === 'string') return headerOf(viewing, row);
  return row ? row(viewing, binding.slice(binding.indexOf(':') + 1)) : '';
}

const LINE_FEED = /\n/;

/**
 * What the binding MAC is computed over: a line `sid=<session id>`, then a line `<binding>=<value>` for each binding in
 * order, each ended by a line feed. The name is on the line and a value cannot hold a line feed, so no value can move
 * from one field to another. '' when a bound value is absent or has one.
 */
export function bindingInput(sid: string, bindings: string[], viewing: Viewing): string {
  let input = 'sid=' + sid + '\n';
  let values = '';
  for (let i = 0; i < bindings.length; i++) {
    const binding = bindings[i] as string;
    const value = bindingValue(binding, viewing);
    if (value === '') return '';
    values += value;
    input += binding + '=' + value + '\n';
  }
  return values.search(LINE_FEED) < 0 ? input : '';
}
