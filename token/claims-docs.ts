import type { ClaimsSet } from './claims.ts';

/** One row a claim; the table in docs/token.md is made from it. */
export const CLAIMS_DOCS: Record<keyof ClaimsSet, { type: string; required: boolean; meaning: string }> = {
  sid: {
    type: 'string',
    required: true,
    meaning: 'Session id, `[A-Za-z0-9]{12,64}`; equal to the prefix of the token.',
  },
  aid: { type: 'string', required: true, meaning: 'Asset id, 1–128 characters.' },
  iat: { type: 'integer', required: true, meaning: 'Issued at, seconds (RFC 7519 §4.1.6).' },
  exp: { type: 'integer', required: true, meaning: 'Expiry, seconds (RFC 7519 §4.1.4); denied from this second on.' },
  sst: { type: 'integer', required: true, meaning: 'Session start, seconds; ≤ `iat`, kept when a token is renewed.' },
  paths: {
    type: 'string[]',
    required: true,
    meaning: 'Path scope, at least one entry: each opens itself and everything below it, on segment boundaries.',
  },
  files: {
    type: 'string[]',
    required: false,
    meaning: 'Exact files opened beside `paths`, at least one; each opens itself alone.',
  },
  nbf: { type: 'integer', required: false, meaning: 'Not before, seconds (RFC 7519 §4.1.5).' },
  sub: {
    type: 'string',
    required: false,
    meaning: 'Subject: an opaque viewer id, 1–128 characters (RFC 7519 §4.1.2).',
  },
  cty: {
    type: 'string[]',
    required: false,
    meaning: 'Allowed countries, ISO 3166-1 alpha-2 in upper case, at least one; without it all are.',
  },
  bnd: { type: 'string[]', required: false, meaning: 'The bindings, in the order in which `bmac` covers them.' },
  bmac: { type: 'string', required: false, meaning: 'Binding MAC, base64url; present exactly when `bnd` is.' },
  btol: {
    type: 'string[]',
    required: false,
    meaning:
      'Bindings that are skipped when the request lacks the value, each with a MAC of its own: `<binding>=<base64url>`.',
  },
};
