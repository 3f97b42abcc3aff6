import { createHash } from 'node:crypto';
import { GetObjectCommand, PutObjectCommand, paginateListObjectsV2, S3Client } from '@aws-sdk/client-s3';
import { DetectionError } from './detection-engine.ts';
import type { LogObject, LogObjects } from './log-objects.ts';

/** Where CloudFront puts the standard logs of a distribution. */
export interface S3Logs {
  bucket: string;
  /** What the keys of the logs begin with, `''` or `cdn-logs/`. */
  prefix: string;
  distributionId: string;
  /**
   * `v1`: `<prefix><distribution>.YYYY-MM-DD-HH.<unique>.gz` (AWS, "Standard log file name format"). `v2`:
   * `<prefix><distribution>/YYYY/MM/DD/HH/…`, the suffix path `{DistributionId}/{yyyy}/{MM}/{dd}/{HH}`.
   */
  layout: 'v1' | 'v2';
}

/** A client of the account and region of the environment. */
export function s3Client(): S3Client {
  return new S3Client({});
}

const HOUR_SECONDS = 3600;
const LAYOUTS = {
  v1: { separator: '.', hour: /^(\d{4})-(\d{2})-(\d{2})-(\d{2})\./, format: (iso: string) => iso.replace('T', '-') },
  v2: {
    separator: '/',
    hour: /^(\d{4})\/(\d{2})\/(\d{2})\/(\d{2})\//,
    format: (iso: string) => iso.replaceAll(/[T-]/g, '/'),
  },
};

/**
 * The log objects in a bucket. Keys are in the order of their hours, so that listing begins where it is asked to and reads
 * nothing of what was before. Rejects with `DetectionError`: `ERR_DETECTION_ACCESS` or `ERR_DETECTION_LOGS`.
 */
export function s3LogObjects(client: S3Client, { bucket, prefix, distributionId, layout }: S3Logs): LogObjects {
  const { separator, hour, format } = LAYOUTS[layout];
  const base = `${prefix}${distributionId}${separator}`;
  return {
    async list(from) {
      const firstHour = Math.max(Math.floor(from / HOUR_SECONDS), 0) * HOUR_SECONDS;
      const start = format(new Date(firstHour * 1000).toISOString().slice(0, 13));
      const objects: LogObject[] = [];
      const pages = paginateListObjectsV2({ client }, { Bucket: bucket, Prefix: base, StartAfter: `${base}${start}` });
      try {
        for await (const { Contents = [] } of pages) {
          for (const { Key = '', Size = 0, ETag = '' } of Contents) {
            const [, ...parts] = hour.exec(Key.slice(base.length)) ?? [];
            const [year, month, day, hours] = parts.map(Number);
            // A folder marker holds nothing; what has no hour in its name is none of CloudFront's objects.
            if (Key.endsWith('/') || year === undefined) continue;
            const time = Date.UTC(year, (month ?? 1) - 1, day, hours) / 1000;
            objects.push({ name: `s3://${bucket}/${Key}`, bytes: Size, version: ETag, hour: time });
          }
        }
      } catch (error) {
        throw asDetectionError(error as Error, bucket);
      }
      return objects;
    },
  };
}

/** What keeps a bucket from being listed, and what to do. */
function asDetectionError(error: Error, bucket: string): DetectionError {
  if (/^(?:AccessDenied|AllAccessDisabled|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken)/.test(error.name)) {
    const message = `the logs in s3://${bucket} may not be listed (${error.name}); allow s3:ListBucket on the bucket`;
    return new DetectionError('ERR_DETECTION_ACCESS', message);
  }
  if (error.name === 'NoSuchBucket') {
    return new DetectionError('ERR_DETECTION_ACCESS', `there is no bucket ${bucket}; check its name and its region`);
  }
  return new DetectionError('ERR_DETECTION_LOGS', `the logs in s3://${bucket} could not be listed: ${error.name}`);
}

/** What a step of a run hands on to the next by reference. */
export interface StepResults {
  /** Keeps a value, which JSON can carry; resolves to the key under which it is. The same value has the same key. */
  put(run: string, name: string, value: unknown): Promise<string>;
  /** The value under a key that `put` gave. Rejects with `ERR_DETECTION_LOGS` when it is not there. */
  get<Value>(key: string): Promise<Value>;
}

/**
 * The results of steps in a bucket, as `detection/<run>/<name>-<hash>.json`. The hash is that of the content: a step that is
 * repeated, and finds something else, changes nothing that others were told of. Let them expire after a day.
 */
export function s3StepResults(client: S3Client, bucket: string): StepResults {
  return {
    async put(run, name, value) {
      const Body = JSON.stringify(value);
      const hash = createHash('sha256').update(Body).digest('hex').slice(0, 32);
      const Key = `detection/${run}/${name}-${hash}.json`;
      await client.send(new PutObjectCommand({ Bucket: bucket, Key, Body, ContentType: 'application/json' }));
      return Key;
    },
    async get<Value>(key: string) {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key })).catch((error: Error) => {
        const message = `the result ${key} of a step could not be read from ${bucket} (${error.name}); run detection again`;
        throw new DetectionError('ERR_DETECTION_LOGS', message);
      });
      return JSON.parse((await Body?.transformToString()) ?? 'null') as Value;
    },
  };
}
