import type { BindingName } from './bindings.ts';

/** What code off the edge and readers need to know of a binding. */
export interface BindingDoc {
  /** Headers that CloudFront generates only when an origin request policy asks for them. */
  generatedHeaders?: string[];
  /** Header that the viewer sends and the edge function only reads. */
  viewerHeader?: string;
  /** What must follow the name and a colon (`header:x-device`); absent when the binding takes none. */
  argument?: { meaning: string; pattern: RegExp };
  /** How the value is spelled on both sides. */
  canonical: string;
  /** What binding to it breaks. */
  breaks: string;
  /** Whether a policy that asks for it is warned of that. */
  warns?: true;
}

export const BINDING_DOCS: Record<BindingName, BindingDoc> = {
  ip: {
    canonical:
      'IPv4 in dotted decimal; IPv6 as eight lower-case groups without leading zeros or `::`; IPv4-mapped IPv6 as IPv4',
    breaks: 'mobile viewers whose address changes, and households that switch between IPv4 and IPv6',
    warns: true,
  },
  network: {
    canonical: 'of the address above: `203.0.113.0/24`, or the first three groups as in `2001:db8:7::/48`',
    breaks: 'households that switch between IPv4 and IPv6, and viewers who change networks',
  },
  country: {
    generatedHeaders: ['cloudfront-viewer-country'],
    canonical: 'ISO 3166-1 alpha-2, upper case',
    breaks: 'viewers who cross a border or turn on a VPN',
  },
  region: {
    generatedHeaders: ['cloudfront-viewer-country-region'],
    canonical: 'the part of ISO 3166-2 after the country, upper case (`BE`)',
    breaks: 'viewers on the move; regions of mobile networks are coarse and change',
  },
  city: {
    generatedHeaders: ['cloudfront-viewer-city'],
    canonical: 'as CloudFront spells it',
    breaks: 'as region, and more often',
  },
  asn: {
    generatedHeaders: ['cloudfront-viewer-asn'],
    canonical: 'autonomous system number, digits only',
    breaks: 'viewers who change between mobile network and Wi-Fi',
  },
  ja4: {
    generatedHeaders: ['cloudfront-viewer-ja4-fingerprint'],
    canonical: 'JA4 fingerprint of the TLS client hello, as CloudFront computes it; absent without TLS',
    breaks: 'AirPlay and casting, and players that fetch manifests and segments with different clients',
  },
  device: {
    generatedHeaders: [
      'cloudfront-is-desktop-viewer',
      'cloudfront-is-mobile-viewer',
      'cloudfront-is-smarttv-viewer',
      'cloudfront-is-tablet-viewer',
    ],
    canonical: 'the first that CloudFront says is true of `mobile`, `tablet`, `smarttv`, `desktop`',
    breaks: 'casting from a phone to a television',
  },
  'user-agent': {
    viewerHeader: 'user-agent',
    canonical: 'as sent',
    breaks: 'AirPlay and casting, and players that fetch manifests and segments with different clients',
    warns: true,
  },
  referer: {
    viewerHeader: 'referer',
    canonical: 'as sent',
    breaks: 'players outside a browser, and pages with a strict referrer policy',
  },
  method: {
    canonical: 'upper case',
    breaks: 'players that ask with HEAD first',
  },
  header: {
    argument: {
      meaning: 'header name in lower case',
      pattern: /^(?!(?:cookie|cloudfront-.*)$)[!#$%&'*+.^_`|~0-9a-z-]{1,64}$/,
    },
    canonical: 'as sent',
    breaks: 'players that cannot set headers on media requests, Safari and iOS among them',
  },
  query: {
    argument: { meaning: 'parameter name as it stands in the URL', pattern: /^[A-Za-z0-9._~%-]{1,64}$/ },
    canonical: 'as sent, percent escapes untouched',
    breaks: 'players that do not repeat the parameter on every request under the manifest',
  },
};
