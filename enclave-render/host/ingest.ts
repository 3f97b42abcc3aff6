import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** A job that came in. */
export interface IngestedJob {
  /** Names it for good: one that comes in again has the same. */
  id: string;
  /** The job file, JSON (docs/render-jobs.md). */
  text: string;
}

/**
 * Takes a job: resolves when it is kept, not when it is rendered. It may be called again with a job that it has taken. Rejects with
 * `ERR_INGEST_REFUSED` for a job that will never be taken, and with anything else for one that may be offered again.
 */
export type OnJob = (job: IngestedJob) => Promise<void>;

export type IngestErrorCode =
  /** No signature, one of another key, body or time. */
  | 'ERR_INGEST_SIGNATURE'
  /** Neither a job nor a notification of S3. */
  | 'ERR_INGEST_BODY'
  /** Longer than a job may be. */
  | 'ERR_INGEST_TOO_LARGE'
  /** A job that will never be taken. */
  | 'ERR_INGEST_REFUSED'
  /** The folder cannot be used, or another process uses it. */
  | 'ERR_INGEST_FOLDER'
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

/** Most bytes of a job file. */
export const MOST_JOB_BYTES = 1 << 20;
/** How a job file is called: manifests of masters, which end with `.json` too, lie beside them. */
export const JOB_SUFFIX = '.job.json';

/** The id of a job: letters, digits, `.`, `_`, `-` of its name, and 16 digits that tell it from another of that name. */
export function jobId(name: string, digits: string): string {
  const plain = name
    .replace(/\.job\.json$/, '')
    .replaceAll(/[^A-Za-z0-9._-]/g, '_')
    .slice(-80);
  return `${/^[A-Za-z0-9]/.test(plain) ? plain : `job${plain}`}-${digits}`;
}

/** 16 digits that are the same for the same origin. */
export function originDigits(...origin: readonly string[]): string {
  return createHash('sha256').update(JSON.stringify(origin)).digest('hex').slice(0, 16);
}

/** Whether a text is all of a job file: a JSON object, which none is that was cut off. */
export function isWholeJob(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

/** The text of a job file. Rejects with `ERR_INGEST_BODY` for a link and what is no file, with `ERR_INGEST_TOO_LARGE`, and as `open`. */
export async function readJobFile(path: string): Promise<string> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ELOOP') throw error;
      throw new IngestError('ERR_INGEST_BODY', 'it is a link: move the file itself here');
    },
  );
  try {
    const found = await file.stat();
    if (!found.isFile()) throw new IngestError('ERR_INGEST_BODY', 'it is no file');
    if (found.size > MOST_JOB_BYTES) throw tooLarge();
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}

export function tooLarge(): IngestError {
  return new IngestError('ERR_INGEST_TOO_LARGE', `a job has ${MOST_JOB_BYTES} bytes at most`);
}
