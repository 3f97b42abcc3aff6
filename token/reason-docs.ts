import type { Reason } from './reasons.ts';

/** What each denial reason means and what a player should do; the table in docs/token.md is made from it. */
export const REASON_DOCS: Record<Reason, { meaning: string; player: string }> = {
  'path-unsafe': {
    meaning: 'The path has dot segments, empty segments, a backslash, or an escape that could be decoded into one.',
    player: 'Fix the URL; a new token does not help.',
  },
  'token-missing': { meaning: 'No token where the URL should have one.', player: 'Ask for a playback URL.' },
  'token-malformed': {
    meaning: 'The segment does not have the shape of a token, is too long, or its header is not ours.',
    player: 'Ask for a playback URL.',
  },
  'token-key-unknown': {
    meaning: 'The edge has no key with this key id: retired, or never published.',
    player: 'Ask for a playback URL.',
  },
  'token-signature-invalid': { meaning: 'The signature does not match.', player: 'Ask for a playback URL.' },
  'token-claims-invalid': {
    meaning: 'Correctly signed, but a required claim is missing or has the wrong type.',
    player: 'Stop and report: the minting side is at fault.',
  },
  'token-session-mismatch': {
    meaning: 'The session id in the path is not the signed one.',
    player: 'Ask for a playback URL.',
  },
  'token-lifetime-exceeded': {
    meaning: 'The token lives longer than the edge allows.',
    player: 'Stop and report: the minting side is at fault.',
  },
  'token-not-yet-valid': { meaning: 'The time in `nbf` has not come.', player: 'Retry at the time of the premiere.' },
  'token-expired': { meaning: 'The time in `exp` has passed.', player: 'Renew, or ask for a playback URL.' },
  'store-unavailable': {
    meaning: 'The edge could not read whether the session is revoked, and refuses to guess.',
    player: 'Retry after a few seconds.',
  },
  'session-revoked': { meaning: 'The session was revoked.', player: 'Stop; tell the viewer.' },
  'session-cutoff': {
    meaning: 'The session began before the time up to which all sessions were revoked.',
    player: 'Ask for a new playback URL once.',
  },
  'path-not-allowed': { meaning: 'The path is outside the path scope of the token.', player: 'Stop.' },
  'country-not-allowed': {
    meaning: 'The viewer is in no country that the token allows, or in none that is known.',
    player: 'Stop; tell the viewer.',
  },
  'binding-missing': {
    meaning: 'The request lacks a value that the token is bound to, or has it more than once.',
    player: 'Send the value, or ask for a playback URL.',
  },
  'binding-mismatch': {
    meaning: 'A bound value (address, country, …) differs from the one at minting.',
    player: 'Ask for a new playback URL from where the viewer is now.',
  },
  'asset-withdrawn': {
    meaning: 'The asset is withdrawn, or blacked out where the viewer is at this time.',
    player: 'Stop; tell the viewer that the title is not available here.',
  },
};
