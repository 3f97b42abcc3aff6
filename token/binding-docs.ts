import type { BindingName } from './bindings.ts';

/** What code off the edge and readers need to know of a binding. */
export interface BindingDoc {
  /** Header that CloudFront generates only when an origin request policy asks for it. */
  generatedHeader?: string;
  /** Header that the viewer sends and the edge function only reads. */
  viewerHeader?: string;
  /** What must follow the name and a colon (`header:x-device`); absent when the binding takes none. */
  argument?: { meaning: string; pattern: RegExp };
  /** How the value is spelled on both sides. */
  canonical: string;
  /** What binding to it breaks. */
  breaks: string;
}

export const BINDING_DOCS: Record<BindingName, BindingDoc> = {
  ip: {
    canonical:
      'IPv4 in dotted decimal; IPv6 as eight lower-case groups without leading zeros or `::`; IPv4-mapped IPv6 as IPv4',
    breaks: 'mobile viewers whose address changes, and households that switch between IPv4 and IPv6',
  },
  country: {
    generatedHeader: 'cloudfront-viewer-country',
    canonical: 'ISO 3166-1 alpha-2, upper case',
    breaks: 'viewers who cross a border or turn on a VPN',
  },
  'user-agent': {
    viewerHeader: 'user-agent',
    canonical: 'as sent',
    breaks: 'AirPlay and casting, and players that fetch manifests and segments with different clients',
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
