import { MasterJobError } from './job-error.ts';

/** An object, or with a trailing `/` a prefix, in S3. */
export interface S3Location {
  bucket: string;
  key: string;
}

/** A key of AWS KMS: `arn` in full, and the parts of it that jobs and policies name. */
export interface KmsKeyArn {
  arn: string;
  partition: string;
  region: string;
}

// The pattern of MediaConvert for regions (KmsKeyRegion), which has room for those to come.
const REGION = '[a-z-]{2,6}-(?:east|west|central|(?:(?:north|south)(?:east|west)?))-[1-9]{1,2}';
const REGION_NAME = new RegExp(`^${REGION}$`);
const UUID = '[a-fA-F0-9]{8}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{12}';
const KEY_ARN = new RegExp(`^arn:(aws(?:-us-gov|-cn)?):kms:(${REGION}):\\d{12}:key/(?:${UUID}|mrk-[a-fA-F0-9]{32})$`);
const ROLE_ARN = /^arn:aws(?:-us-gov|-cn)?:iam::\d{12}:role\/[\w+=,.@/-]{1,577}$/;
// Names of buckets: Amazon S3, "General purpose bucket naming rules".
const S3_URL = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\/(.*)$/s;

/**
 * Parses `s3://bucket/key`. A `key` that would mean something else in a job is refused: controls, empty steps, and in a
 * destination (`isPrefix`) also `$`, by which MediaConvert inserts values into names. Throws `ERR_MASTER_JOB_LOCATION`.
 */
export function parseS3Location(url: string, isPrefix: boolean): S3Location {
  const [, bucket, key] = S3_URL.exec(url) ?? [];
  const expected = isPrefix ? 's3://bucket/folder/, with a slash at its end' : 's3://bucket/path/to/object';
  if (bucket === undefined || key === undefined || (isPrefix ? !/^$|\/$/.test(key) : /^$|\/$/.test(key))) {
    throw new MasterJobError('ERR_MASTER_JOB_LOCATION', `${url} is no location for a job: give ${expected}`);
  }
  // MediaConvert takes 2,048 characters; S3 takes 1,024 bytes of key.
  if (/\p{Cc}/u.test(key) || key.startsWith('/') || key.includes('//') || Buffer.byteLength(key) > 1024) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_LOCATION',
      'the key of an object in a job has at most 1,024 bytes, no control characters and no empty step (//)',
    );
  }
  if (isPrefix && key.includes('$')) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_LOCATION',
      `${url} holds a $, by which MediaConvert inserts dates and names: the job role could then not be kept to one folder`,
    );
  }
  return { bucket, key };
}

/** Parses the ARN of a KMS key. Throws `ERR_MASTER_JOB_KMS_KEY`. */
export function parseKmsKeyArn(arn: string): KmsKeyArn {
  const [, partition, region] = KEY_ARN.exec(arn) ?? [];
  if (partition === undefined || region === undefined) {
    throw new MasterJobError(
      'ERR_MASTER_JOB_KMS_KEY',
      `${arn} is not the ARN of a key of AWS KMS (arn:aws:kms:<region>:<account>:key/<id>), and a service on AWS can use no ` +
        'other: put the master under such a key with portcullis master rewrap, or give the ARN instead of an alias',
    );
  }
  return { arn, partition, region };
}

/** Checks the ARN of a role. Throws `ERR_MASTER_JOB_ROLE`. */
export function checkRoleArn(arn: string | undefined): string {
  if (arn !== undefined && ROLE_ARN.test(arn)) return arn;
  throw new MasterJobError(
    'ERR_MASTER_JOB_ROLE',
    `${arn ? `${arn} is not the ARN of a role` : 'a job needs the role that the service assumes'}: give ` +
      'arn:aws:iam::<account>:role/<name>; the role itself may be made later, from the policy that comes with the job',
  );
}

/** Checks the name of a region. Throws `ERR_MASTER_JOB_INVALID`. */
export function checkRegion(region: string): string {
  if (REGION_NAME.test(region)) return region;
  throw new MasterJobError('ERR_MASTER_JOB_INVALID', `${region} is not an AWS region, such as eu-central-1`);
}
