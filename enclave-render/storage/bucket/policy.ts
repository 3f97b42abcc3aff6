import { checkBucketName, StorageError } from '../object-store.ts';

export interface PolicyRequest {
  bucket: string;
  /** ARN of the only KMS key that objects may be encrypted with; without one, whatever S3 offers but SSE-C. */
  kmsKey?: string | undefined;
  /** ARNs of roles that may put objects; ones that may read and list them. */
  writers?: string[] | undefined;
  readers?: string[] | undefined;
  /** Lets SSE-C through, which needs no permission of ours to read what is stored, nor leaves us any. */
  allowSseC?: boolean | undefined;
}

export interface Statement {
  Sid: string;
  Effect: 'Allow' | 'Deny';
  Principal: '*' | { AWS: string[] };
  Action: string[];
  Resource: string[];
  Condition?: Record<string, Record<string, string | string[]>>;
}

/** A bucket policy as S3 takes it (IAM, "Grammar of the IAM JSON policy language"). */
export interface BucketPolicy {
  Version: '2012-10-17';
  Statement: Statement[];
}

const SSE = 's3:x-amz-server-side-encryption';
const SSE_KMS_KEY = 's3:x-amz-server-side-encryption-aws-kms-key-id';
const SSE_C = 's3:x-amz-server-side-encryption-customer-algorithm';

/**
 * A policy under which a bucket takes and gives objects over TLS 1.2 and later only, and only under the encryption that is asked for.
 * What S3 encrypts an object with when the request says nothing is the bucket's default: a request without the header is let through,
 * because the keys of these conditions are missing in it, and in the parts of a multipart upload ("Null" tests for that). Who asks
 * for SSE-KMS and names no key gets the key `aws/s3` of the account, so that this is refused when a key is given.
 *
 * The same request gives the same text. Throws `StorageError` `ERR_STORAGE_INVALID`.
 */
export function bucketPolicy(request: PolicyRequest): BucketPolicy {
  const { bucket, kmsKey, writers = [], readers = [], allowSseC = false } = request;
  checkRequest(request);
  const [, partition = 'aws'] = /^arn:([\w-]+):/.exec(kmsKey ?? writers[0] ?? readers[0] ?? '') ?? [];
  const root = `arn:${partition}:s3:::${bucket}`;
  const objects = [`${root}/*`];
  const everybody = { Effect: 'Deny', Principal: '*' } as const;
  const denyPut = (Sid: string, Condition: Statement['Condition'] & object): Statement => ({
    Sid,
    ...everybody,
    Action: ['s3:PutObject'],
    Resource: objects,
    Condition,
  });
  const denyAll = (Sid: string, Condition: Statement['Condition'] & object): Statement => ({
    Sid,
    ...everybody,
    Action: ['s3:*'],
    Resource: [root, ...objects],
    Condition,
  });
  const allow = (Sid: string, principals: string[], Action: string[], Resource: string[]): Statement[] =>
    principals.length === 0
      ? []
      : [{ Sid, Effect: 'Allow', Principal: { AWS: [...new Set(principals)].sort() }, Action, Resource }];

  return {
    Version: '2012-10-17',
    Statement: [
      denyAll('DenyPlainHttp', { Bool: { 'aws:SecureTransport': 'false' } }),
      denyAll('DenyTlsBefore12', { NumericLessThan: { 's3:TlsVersion': '1.2' } }),
      ...(allowSseC ? [] : [denyPut('DenySseC', { Null: { [SSE_C]: 'false' } })]),
      ...(kmsKey
        ? [
            denyPut('DenyOtherEncryption', {
              Null: { [SSE]: 'false' },
              StringNotEquals: { [SSE]: ['aws:kms', 'aws:kms:dsse'] },
            }),
            denyPut('DenyOtherKmsKey', {
              Null: { [SSE_KMS_KEY]: 'false' },
              StringNotEquals: { [SSE_KMS_KEY]: kmsKey },
            }),
            denyPut('DenyKmsWithoutKey', { Null: { [SSE]: 'false', [SSE_KMS_KEY]: 'true' } }),
          ]
        : []),
      ...allow('AllowWrite', writers, ['s3:AbortMultipartUpload', 's3:PutObject'], objects),
      ...allow('AllowRead', readers, ['s3:GetObject'], objects),
      ...allow('AllowList', readers, ['s3:ListBucket'], [root]),
    ],
  };
}

function checkRequest({ bucket, kmsKey, writers = [], readers = [], allowSseC }: PolicyRequest): void {
  const refuse = (message: string) => {
    throw new StorageError('ERR_STORAGE_INVALID', message);
  };
  checkBucketName(bucket);
  // S3 compares with the ARN of the key whatever the request named it by: an alias would match nothing.
  if (kmsKey !== undefined && !/^arn:[\w-]+:kms:[a-z0-9-]+:\d{12}:key\/[\w-]+$/.test(kmsKey)) {
    refuse(
      `${JSON.stringify(kmsKey)} is not the ARN of a KMS key: arn:aws:kms:<region>:<account>:key/<id>, not an alias`,
    );
  }
  if (kmsKey && allowSseC) refuse('a bucket for one KMS key cannot let SSE-C through: leave one of the two out');
  for (const arn of [...writers, ...readers]) {
    if (!/^arn:[\w-]+:iam::\d{12}:(?:role|user)\/[\w+=,.@/-]+$/.test(arn)) {
      refuse(`${JSON.stringify(arn)} is not the ARN of a role: arn:aws:iam::<account>:role/<name>, without wildcards`);
    }
  }
}
