/** A job that came in: the owner's manifest, still to be verified by the enclave that renders it. */
export interface IngestedJob {
  /** Compact JWS (RFC 7515 §7.1). */
  manifest: string;
  /** Where it came from, for the log: a file name, or bucket and key. */
  name: string;
}

/**
 * Takes a job: resolves when it is kept, not when it is rendered. It may be called again with a job that it has taken. Rejects with
 * `ERR_INGEST_REFUSED` for a job that will never be taken, and with anything else for one that may be offered again.
 */
export type OnJob = (job: IngestedJob) => Promise<void>;

export type IngestErrorCode =
  /** No signature, one of another key, body or time. */
  | 'ERR_INGEST_SIGNATURE'
  /** Neither a manifest nor a notification of S3. */
  | 'ERR_INGEST_BODY'
  /** Longer than a manifest may be. */
  | 'ERR_INGEST_TOO_LARGE'
  /** A job that will never be taken. */
  | 'ERR_INGEST_REFUSED'
  /** Not just now. */
  | 'ERR_INGEST_UNAVAILABLE';

/** Why a job was not taken. */
export class IngestError extends Error {
  readonly code: IngestErrorCode;
  constructor(code: IngestErrorCode, message: string) {
    super(message);
    this.name = 'IngestError';
    this.code = code;
  }
}

/** Most bytes of a manifest as it comes in. */
export const MOST_MANIFEST_BYTES = 1 << 20;

/** A JWS with a signature of Ed25519, which is always 64 bytes: what is cut off is none. */
const MANIFEST = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$/;

/** The manifest in a text, undefined when there is none or not all of it. Whose it is, and whether it is genuine, the enclave finds out. */
export function wholeManifest(text: string): string | undefined {
  const trimmed = text.trim();
  return trimmed.length <= MOST_MANIFEST_BYTES && MANIFEST.test(trimmed) ? trimmed : undefined;
}
