/** `error`: playback breaks, or goes without the token. `warning`: some players, or some day. */
export type Severity = 'error' | 'warning';

/** One row a rule of the linter: how bad a breach is, and what it means for whoever has one. */
export const RULES = {
  'limit-reached': {
    severity: 'error',
    words: 'longer, larger or slower than the linter follows: what comes after it was not looked at',
  },
  'not-a-manifest': {
    severity: 'error',
    words: 'what was fetched is neither an HLS playlist nor a DASH MPD',
  },
  unreachable: {
    severity: 'error',
    words: 'a playlist, segment or initialization segment cannot be fetched',
  },
  'absolute-uri': {
    severity: 'error',
    words: 'an absolute URI leaves the path that holds the token: the request goes without one',
  },
  'root-relative-uri': {
    severity: 'error',
    words: 'a URI that begins with a slash replaces the path that holds the token: the request goes without one',
  },
  'cross-domain': {
    severity: 'error',
    words: 'another host serves this: the token is not for it, and browsers need its consent (CORS)',
  },
  'query-uri': {
    severity: 'warning',
    words: 'a URI with a query: caches may keep one object for each, and nothing here needs one',
  },
  'key-missing': {
    severity: 'error',
    words: 'a key cannot be fetched, or is not 16 bytes: nothing under it plays',
  },
  'key-without-uri': {
    severity: 'error',
    words: 'EXT-X-KEY says encrypted and has no URI for the key',
  },
  'key-method': {
    severity: 'warning',
    words: 'a METHOD other than AES-128 or NONE: players need a DRM system, and the token does not guard the key',
  },
  'iv-invalid': {
    severity: 'error',
    words: 'IV is not 0x and 32 hexadecimal digits',
  },
  'mixed-encryption': {
    severity: 'error',
    words: 'some segments are encrypted and others in clear: either a mistake, or a gift to whoever rips',
  },
  'init-encrypted-without-iv': {
    severity: 'error',
    words: 'EXT-X-MAP after EXT-X-KEY is encrypted and needs an explicit IV: put it before the key',
  },
  'map-missing': {
    severity: 'error',
    words: 'segments of fragmented MP4 without EXT-X-MAP cannot be decoded',
  },
  'target-duration-missing': {
    severity: 'error',
    words: 'a media playlist without EXT-X-TARGETDURATION',
  },
  'target-duration-exceeded': {
    severity: 'error',
    words: 'a segment lasts longer than EXT-X-TARGETDURATION, rounded to seconds: players that count on it stall',
  },
  'duration-missing': {
    severity: 'error',
    words: 'a segment without EXTINF',
  },
  'media-sequence-late': {
    severity: 'error',
    words: 'EXT-X-MEDIA-SEQUENCE or EXT-X-DISCONTINUITY-SEQUENCE comes after a segment, or twice',
  },
  'renditions-out-of-step': {
    severity: 'error',
    words: 'renditions differ in media sequence, discontinuities or number of segments: changing between them breaks',
  },
  'attribute-missing': {
    severity: 'error',
    words: 'EXT-X-STREAM-INF without BANDWIDTH, or EXT-X-MEDIA without TYPE, GROUP-ID or NAME',
  },
  'codecs-missing': {
    severity: 'warning',
    words: 'EXT-X-STREAM-INF without CODECS: players have to try what they cannot decode',
  },
  'group-missing': {
    severity: 'error',
    words: 'EXT-X-STREAM-INF refers to a group that no EXT-X-MEDIA is in',
  },
} as const satisfies Record<string, { severity: Severity; words: string }>;

export type RuleId = keyof typeof RULES;

/** A breach of a rule: `where` is URL or path, with the line after `:` where there is one. */
export interface Finding {
  rule: RuleId;
  severity: Severity;
  where: string;
  /** What it is about here: a URI, a number. Never a token. */
  detail: string;
  words: string;
}

/** A breach of a rule, with the words of its row. */
export function finding(rule: RuleId, where: string, detail: string): Finding {
  return { rule, severity: RULES[rule].severity, where, detail, words: RULES[rule].words };
}
