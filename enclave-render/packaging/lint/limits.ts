/**
 * How far the linter goes: what it is given may come from anybody, and may have no end. One row a limit; the help of the command and
 * docs/packaging.md name them.
 */
export const LIMITS = {
  /** Bytes of a manifest. */
  manifestBytes: 16 << 20,
  /** Lines of a manifest: a day in segments of two seconds with a key each has 130,000. */
  manifestLines: 200_000,
  /** Characters of a URI: what servers take of a request line. */
  uriCharacters: 8192,
  /** Manifests, keys and segments that are fetched, each once. */
  fetches: 5000,
  /** Bytes of all that is fetched. */
  totalBytes: 256 << 20,
  /** Seconds for one answer with its body. */
  answerSeconds: 15,
  /** Seconds for everything. */
  totalSeconds: 300,
  findings: 1000,
};

export type Limits = typeof LIMITS;
